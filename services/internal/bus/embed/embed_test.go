package embed

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func started(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func TestServesInProcessOnly(t *testing.T) {
	s := started(t, Options{DataDir: filepath.Join(t.TempDir(), "made", "here")})
	if s.URL() != "" {
		t.Errorf("URL is %q without a listener", s.URL())
	}
	if !s.SyncAlways() {
		t.Error("writes are not synced")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s.InProcess()))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := nc.MaxPayload(); got != maxPayload {
		t.Errorf("max payload is %d, want %d", got, maxPayload)
	}
}

// What counts is what the server's store does, not what this package asked for.
func TestTheStoreSyncsEveryWrite(t *testing.T) {
	s := started(t, Options{DataDir: t.TempDir(), MaxStore: 1 << 30})
	jsz, err := s.ns.Jsz(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !jsz.Config.SyncAlways || jsz.Config.MaxStore != 1<<30 {
		t.Errorf("JetStream runs with %+v, want every write synced and 1 GiB", jsz.Config)
	}
	if limits := s.ns.JetStreamConfig(); limits == nil {
		t.Error("JetStream is off")
	}
}

func TestServesTCP(t *testing.T) {
	s := started(t, Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestOneServerAtATimeOnAFolder(t *testing.T) {
	dir := t.TempDir()
	s, err := Start(t.Context(), Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Options{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "in use by another process") || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second server gave %v, want an error that names the folder and says why", err)
	}
	s.Stop()
	started(t, Options{DataDir: dir})
}

func TestMistakesGetClearErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		"no data folder":          {},
		"not a directory":         {DataDir: filepath.Join(file, "below")},
		"host:port":               {DataDir: t.TempDir(), Listen: "localhost"},
		"not a port number":       {DataDir: t.TempDir(), Listen: "127.0.0.1:http"},
		"address already in use":  {DataDir: t.TempDir(), Listen: taken.Addr().String()},
		"monitoring address":      {DataDir: t.TempDir(), Monitor: "8222"},
		"name of the cluster":     {DataDir: t.TempDir(), Cluster: &Cluster{Member: "a", Listen: "a:1", Routes: []string{"a:1"}}},
		"name of the member":      {DataDir: t.TempDir(), Cluster: &Cluster{Name: "c", Member: "a b", Listen: "a:1", Routes: []string{"a:1"}}},
		"cluster address":         {DataDir: t.TempDir(), Cluster: &Cluster{Name: "c", Member: "a", Listen: "a", Routes: []string{"b:1"}}},
		"route":                   {DataDir: t.TempDir(), Cluster: &Cluster{Name: "c", Member: "a", Listen: "a:1", Routes: []string{"b"}}},
		"address for its clients": {DataDir: t.TempDir(), Cluster: &Cluster{Name: "c", Member: "a", Listen: "127.0.0.1:0", Routes: []string{"127.0.0.1:1"}}},
		"addresses of the others": {DataDir: t.TempDir(), Cluster: &Cluster{Name: "c", Member: "a", Listen: "a:1"}},
	} {
		s, err := Start(t.Context(), o)
		if err == nil {
			s.Stop()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v gave %v, want an error with %q", o, err, want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Start(ended, Options{DataDir: t.TempDir()}); err == nil {
		s.Stop() // it was ready before anybody looked
	}
}

func TestAFailedStartFreesTheFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := Start(t.Context(), Options{DataDir: dir, Listen: "nowhere"}); err == nil {
		t.Fatal("a listen address without a port was taken")
	}
	started(t, Options{DataDir: dir})
}

func TestStoreBudgetCountsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	before, err := storeBudget(dir)
	if err != nil || before <= 0 {
		t.Fatalf("the budget is %d, %v", before, err)
	}
	// 64 MiB without blocks on the disk: the folder holds more, the disk's free
	// space stays.
	f, err := os.Create(filepath.Join(dir, "held"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	after, err := storeBudget(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Others write to this disk too.
	if grown := after - before; grown < 32<<20 {
		t.Errorf("64 MiB in the folder change the budget by %d", grown)
	}
}

func TestConfigureIsTheLastWord(t *testing.T) {
	s := started(t, Options{DataDir: t.TempDir(), Configure: func(o *server.Options) { o.SyncAlways = false }})
	if s.SyncAlways() {
		t.Error("a server that does not sync says that it does")
	}
}

// BenchmarkIdleMemory prints what a server without streams holds.
func BenchmarkIdleMemory(b *testing.B) {
	for b.Loop() {
		before := inUse()
		s, err := Start(b.Context(), Options{DataDir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		<-time.After(time.Second) // let its start-up garbage go
		b.ReportMetric(float64(inUse()-before)/(1<<20), "MiB-heap")
		b.ReportMetric(residentMiB(b), "MiB-resident-process")
		s.Stop()
	}
}

func inUse() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse + stats.StackInuse)
}

func residentMiB(b *testing.B) float64 {
	b.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("no /proc here")
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		b.Fatal(err)
	}
	return float64(resident*int64(os.Getpagesize())) / (1 << 20)
}
