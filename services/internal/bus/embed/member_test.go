package embed

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// memberOn returns the options of a member whose fellow is not there.
func memberOn(t *testing.T, dir, cluster, member string) Options {
	t.Helper()
	routes := []string{freeAddress(t), freeAddress(t)}
	return Options{
		DataDir: dir, Listen: "127.0.0.1:0", MaxStore: 1 << 30,
		Cluster: &Cluster{Name: cluster, Member: member, Listen: routes[0], Routes: routes},
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func startedOnce(t *testing.T, o Options) {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
}

// refused checks that a server does not start, and that the error has each of wants.
func refused(t *testing.T, who string, o Options, wants ...string) {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err == nil {
		s.Stop()
		t.Errorf("%s was started on %s", who, o.DataDir)
		return
	}
	for _, want := range append(wants, o.DataDir) {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s gave %v, want an error with %q", who, err, want)
		}
	}
}

// alone has stored a record on the returned folder.
func alone(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := Start(t.Context(), Options{DataDir: dir, MaxStore: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	js := streamsOf(t, s)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDER-0", Subjects: []string{"o.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "o.1", []byte("an order")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func streamsOf(t *testing.T, s *Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s.InProcess()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// A cluster deletes every stream that it has not made.
func TestWhatAServerAloneHasStoredIsNotGivenToACluster(t *testing.T) {
	dir := alone(t)
	refused(t, "a member", memberOn(t, dir, "orders", "a"), "server alone", "empty folders")
	if _, err := os.Stat(filepath.Join(dir, memberName)); err == nil {
		t.Error("a member that was refused has put its name on the folder")
	}
	js := streamsOf(t, started(t, Options{DataDir: dir, MaxStore: 1 << 30}))
	stream, err := js.Stream(t.Context(), "ORDER-0")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("the stream holds %d records, want the one that was stored", n)
	}
}

func TestAServerAloneWithoutStreamsMayJoin(t *testing.T) {
	dir := t.TempDir()
	startedOnce(t, Options{DataDir: dir, MaxStore: 1 << 30})
	startedOnce(t, memberOn(t, dir, "orders", "a"))
}

// A cluster deletes what a member stored by another name.
func TestAMembersFolderKeepsItsName(t *testing.T) {
	dir := t.TempDir()
	startedOnce(t, memberOn(t, dir, "orders", "a"))
	text, err := os.ReadFile(filepath.Join(dir, memberName))
	if err != nil || string(text) != "orders/a\n" {
		t.Errorf("the folder says %q, %v; want its cluster and member", text, err)
	}
	refused(t, "another name", memberOn(t, dir, "orders", "b"), "belongs to orders/a", "--cluster orders --name a", "orders/b")
	refused(t, "another cluster", memberOn(t, dir, "returns", "a"), "belongs to orders/a", "--cluster orders --name a")
	refused(t, "a server alone", Options{DataDir: dir, MaxStore: 1 << 30}, "belongs to orders/a", "--cluster orders --name a")
	startedOnce(t, memberOn(t, dir, "orders", "a"))
}

// A member's folder of before the name was written down.
func TestAMemberWithoutItsNameWrittenDown(t *testing.T) {
	dir := t.TempDir()
	startedOnce(t, memberOn(t, dir, "orders", "a"))
	file := filepath.Join(dir, memberName)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	// It may have streams, which are the cluster's.
	if err := os.MkdirAll(filepath.Join(dir, "jetstream", "$G", "streams", "ORDER-0"), 0o750); err != nil {
		t.Fatal(err)
	}
	refused(t, "a server alone", Options{DataDir: dir, MaxStore: 1 << 30}, "belongs to a member of a cluster", "--name as before")
	startedOnce(t, memberOn(t, dir, "orders", "a"))
	if text, err := os.ReadFile(file); err != nil || string(text) != "orders/a\n" {
		t.Errorf("the folder says %q, %v; want its cluster and member", text, err)
	}
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "a name that nobody can read", memberOn(t, dir, "orders", "a"), "should be cluster/member")
}

// Wrong options leave no name on an empty folder.
func TestAWrongNameIsNotWrittenDown(t *testing.T) {
	dir := t.TempDir()
	o := memberOn(t, dir, "orders", "a b")
	if s, err := Start(t.Context(), o); err == nil {
		s.Stop()
		t.Fatal("a name with a blank was taken")
	}
	startedOnce(t, memberOn(t, dir, "orders", "a"))
}
