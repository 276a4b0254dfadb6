package throttledispatcher_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// backlogSize is how many deliveries wait in BenchmarkStartOverBacklog.
var backlogSize = flag.Int("backlog", 20_000, "how many deliveries wait in BenchmarkStartOverBacklog; 1000000 takes some minutes")

const (
	// backlogDrains is how long it drains until the memory is looked at: by then every
	// lane holds what it ever will.
	backlogDrains = 10 * time.Second
	// backlogOrders is more than is sent meanwhile.
	backlogOrders = 20_000
	// What is promised.
	backlogStart  = 5 * time.Second
	backlogMemory = 300 << 20
)

// BenchmarkStartOverBacklog starts the dispatcher, a process of its own, over a backlog, for
// one connector and spread over 200, each with 100 calls a second, and reports how
// long the first call took and how much memory the process took; NATS stands beside
// it. Only what is sent while it is measured has an order behind it: what waits
// further back is looked at in its turn.
func BenchmarkStartOverBacklog(b *testing.B) {
	for _, connectors := range []int{1, 200} {
		b.Run(fmt.Sprint(connectors, "-connectors"), func(b *testing.B) {
			p := newPart(b, connectors)
			p.fill(*backlogSize)
			started := time.Now()
			nats := p.nats()
			b.ReportMetric(time.Since(started).Seconds(), "nats-start-s")
			for b.Loop() {
				started = time.Now()
				dispatcher := p.run("throttle-dispatcher", "--nats", p.url, "--secrets-dir", p.folder)
				before := len(p.account.seen())
				first := p.calls(before + 1).Sub(started)
				during(backlogDrains)
				peak := dispatcher.peak()
				b.ReportMetric(first.Seconds(), "first-call-s")
				b.ReportMetric(float64(peak)/(1<<20), "dispatcher-peak-MB")
				b.ReportMetric(float64(nats.peak())/(1<<20), "nats-peak-MB")
				b.ReportMetric(float64(*backlogSize), "waiting")
				b.Logf("%d waiting for %d connectors: the first call after %v, %d MB", *backlogSize, connectors, first, peak>>20)
				if first > backlogStart {
					// No failure: on a machine that is busy with other things it says nothing.
					b.Logf("MISSED: the first call came after %v, promised are %v at most", first, backlogStart)
				}
				if peak > backlogMemory {
					b.Errorf("the dispatcher took %d MB, promised are %d MB at most", peak>>20, backlogMemory>>20)
				}
				dispatcher.stop()
			}
		})
	}
}

// part is the product's own binary and what it needs.
type part struct {
	b              *testing.B
	account        *account
	connectors     int
	binary, folder string
	url            string
}

type process struct {
	b       *testing.B
	command *exec.Cmd
	log     string
}

func newPart(b *testing.B, connectors int) *part {
	b.Helper()
	p := &part{b: b, account: newAccount(b), connectors: connectors, folder: b.TempDir()}
	p.binary = filepath.Join(p.folder, "peppasync")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", p.binary, "../peppasync").CombinedOutput(); err != nil {
		b.Fatalf("building the product: %v\n%s", err, out)
	}
	p.config()
	return p
}

func (p *part) connector(i int) string { return fmt.Sprint("wms-", i%p.connectors) }

// config writes the manifests.
func (p *part) config() {
	p.b.Helper()
	const head = "apiVersion: peppasync.io/v1alpha1\nkind: "
	files := map[string]string{"shop": head + `Connector
metadata: {name: shopify}
spec:
  system: Shopify
  endpoint: http://127.0.0.1:1
  auth: {secretRef: {name: token}}
  webhook: {secretRef: {name: token}}
  limits: [{name: per-minute, rollingWindow: {calls: 240, per: 1m}}]
  shopify: {apiVersion: "2026-10"}
`, "flow": head + `Flow
metadata: {name: sell}
spec:
  from: [{connector: shopify, topics: [orders/create]}]
  deliver: [{name: warehouse, connector: wms-0, operation: putOrder, mapping: '{"externalId": externalId, "reference": order.name}'}]
`}
	for i := range p.connectors {
		files[p.connector(i)] = head + `Connector
metadata: {name: ` + p.connector(i) + `}
spec:
  system: HTTP
  endpoint: ` + p.account.URL + `
  auth: {secretRef: {name: token}}
  limits: [{name: window, rollingWindow: {calls: 100, per: 1s}}, {name: parallel, concurrency: {calls: 10}}]
  http:
    operations: [{name: putOrder, method: PUT, path: "/orders/{externalId}", effect: Idempotent}]
`
	}
	for name, text := range files {
		p.write(filepath.Join("config", name+".yaml"), text)
	}
	for _, key := range []string{"token", "accessToken", "secret"} {
		p.write(filepath.Join("token", key), "x")
	}
}

func (p *part) write(name, text string) {
	p.b.Helper()
	path := filepath.Join(p.folder, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		p.b.Fatal(err)
	}
}

// fill writes the backlog by a server that does not sync each write: a million by
// one that does take half an hour.
func (p *part) fill(n int) {
	p.b.Helper()
	nats := p.nats()
	p.run("apply", "-f", filepath.Join(p.folder, "config"), "--nats", p.url).wait()
	nats.stop()
	lazy, err := bustest.Unsynced(p.b.Context(), filepath.Join(p.folder, "data"))
	if err != nil {
		p.b.Fatal(err)
	}
	defer lazy.Stop()
	connection, err := bus.Connect(p.b.Context(), bus.Options{Name: "fill", InProcess: lazy})
	if err != nil {
		p.b.Fatal(err)
	}
	defer connection.Close()
	w := &world{t: p.b, bus: connection}
	var next atomic.Int64
	var writers sync.WaitGroup
	for range 64 {
		writers.Go(func() {
			for i := int(next.Add(1)); i <= n && !p.b.Failed(); i = int(next.Add(1)) {
				if i <= backlogOrders {
					w.publish(bus.OrderStateSubject(keyOf(i)), &orderv1.State{
						Key: keyOf(i), Revision: 3, Order: &orderv1.Order{Source: "shopify", Id: strconv.Itoa(i), Name: "#" + strconv.Itoa(i)},
					})
				}
				d := delivery(i)
				d.Connector = p.connector(i)
				w.ask(d)
			}
		})
	}
	writers.Wait()
	if p.b.Failed() {
		p.b.FailNow()
	}
}

// nats runs the server as it is meant to.
func (p *part) nats() *process {
	p.b.Helper()
	ready := filepath.Join(p.folder, "ready.json")
	_ = os.Remove(ready) // of the server before
	running := p.run("nats", "--data", filepath.Join(p.folder, "data"), "--listen", "127.0.0.1:0", "--ready-file", ready)
	var addresses struct {
		NATS string `json:"nats"`
	}
	p.until("NATS is ready", func() bool {
		data, err := os.ReadFile(ready)
		return err == nil && json.Unmarshal(data, &addresses) == nil
	})
	p.url = addresses.NATS
	return running
}

// run starts the binary; it ends with the benchmark.
func (p *part) run(arguments ...string) *process {
	p.b.Helper()
	r := &process{b: p.b, log: filepath.Join(p.folder, arguments[0]+".log")}
	log, err := os.Create(r.log)
	if err != nil {
		p.b.Fatal(err)
	}
	defer log.Close()
	r.command = exec.CommandContext(context.WithoutCancel(p.b.Context()), p.binary, arguments...)
	r.command.Stdout, r.command.Stderr = log, log
	if err := r.command.Start(); err != nil {
		p.b.Fatal(err)
	}
	p.b.Cleanup(func() {
		if r.command.ProcessState == nil {
			r.stop()
		}
	})
	return r
}

func (r *process) wait() {
	r.b.Helper()
	if err := r.command.Wait(); err != nil {
		log, _ := os.ReadFile(r.log)
		r.b.Errorf("%v: %v\n%s", r.command.Args, err, log)
	}
}

func (r *process) stop() {
	r.b.Helper()
	if err := r.command.Process.Signal(syscall.SIGTERM); err != nil {
		r.b.Error(err)
	}
	r.wait()
}

// peak returns the largest resident size so far, in bytes.
func (r *process) peak() int64 {
	r.b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.command.Process.Pid))
	if err != nil {
		r.b.Skip("the memory of a process is read from /proc: ", err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				r.b.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	r.b.Fatal("no VmHWM in /proc")
	return 0
}

// calls waits until so many were seen, and returns when the last of them was.
func (p *part) calls(n int) time.Time {
	p.b.Helper()
	p.until(fmt.Sprint(n, " calls"), func() bool { return len(p.account.seen()) >= n })
	return p.account.seen()[n-1].at
}

func (p *part) until(what string, holds func() bool) {
	p.b.Helper()
	(&world{t: p.b}).eventually(what, holds)
}
