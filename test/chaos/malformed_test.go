package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

const (
	// memoryBound is what ingest may hold at any time.
	memoryBound = 200 << 20
	// cutWithin is how long the server may keep a sender that sends no whole request: 5 s
	// from its beginning, and what a busy machine adds.
	cutWithin = 10 * time.Second
	// logBound is how many lines of its log they may cost: some each ten seconds, for
	// each kind of refusal.
	logBound = 400
)

// TestMalformed sends what no sender should, by the ten thousand, on raw connections:
// broken off, in wrong encodings and signatures, with lies about its length, slow, and
// random bytes. Each is refused, none is stored, and good webhooks beside them are
// answered as always. Afterwards nothing of it is left in ingest.
func TestMalformed(t *testing.T) {
	what := fastERP()
	what.watched = true
	f := open(t, what)
	f.sell(50)
	goroutines := f.goroutines()
	const per = 50
	span := lasting(8*time.Second, 80*time.Second)
	sold := f.begin(shopify.Burst{Count: int(per * span.Seconds()), SKU: sku, Quantity: 1, Over: jsontime.Duration(span)})
	a := newAssault(f)
	begin := time.Now()
	a.run(often(10_000, 100_000))
	t.Logf("%d malformed requests in %v; answers by shape:\n%s", a.sent, time.Since(begin), a.table())
	sold()
	beside := f.world.Shop.Report().Webhooks
	t.Logf("beside them %d webhooks: %v, p50 %.0f ms, p99 %.0f ms, %.0f ms at most", beside.Acknowledged, beside.ByStatus, beside.P50Ms, beside.P99Ms, beside.MaxMs)
	if beside.Retries > 0 || len(beside.ByStatus) != 1 || beside.ByStatus["200"] != beside.Created {
		t.Errorf("good webhooks beside malformed ones were answered %v, want 200 for each of %d at its first attempt", beside.ByStatus, beside.Created)
	}
	left := 0
	f.until(30*time.Second, "no goroutine is left of the malformed requests", func() bool {
		left = f.goroutines()
		return left <= goroutines+20
	})
	f.sell(1000)
	spike := f.world.Shop.Report().Webhooks
	t.Logf("a spike after them: %v, %.0f ms at most; goroutines %d before and %d after", spike.ByStatus, spike.MaxMs, goroutines, left)
	if spike.Retries > 0 {
		t.Errorf("in a spike after malformed requests webhooks were answered %v, want 200 for each at its first attempt", spike.ByStatus)
	}
	f.allTaken(time.Minute)
	events := stored(t, f.product.URL())
	for id := range a.taken {
		if events[id] == nil {
			t.Errorf("lost: %s was answered 2xx and is in no stream", id)
		}
	}
	f.unharmed()
}

// goroutines asks ingest how many it has.
func (f *field) goroutines() int {
	f.t.Helper()
	count, err := f.product.Metric(f.t.Context(), "go_goroutines")
	if err != nil {
		f.t.Fatal(err)
	}
	return int(count)
}

// unharmed judges the product's memory and its log.
func (f *field) unharmed() {
	f.t.Helper()
	used, err := f.product.Ingest(0)
	if err != nil {
		f.t.Fatal(err)
	}
	log, err := os.ReadFile(f.log)
	if err != nil {
		f.t.Fatal(err)
	}
	lines := strings.Count(string(log), "\n")
	f.t.Logf("ingest had %d MB at most, and the product wrote %d lines of its log", used.Peak>>20, lines)
	if used.Peak > memoryBound {
		f.t.Errorf("ingest had %d MB, want %d at most", used.Peak>>20, memoryBound>>20)
	}
	if strings.Contains(string(log), "panic") || strings.Contains(string(log), "goroutine ") {
		f.t.Error("there is a panic in its log")
	}
	if lines > logBound {
		f.t.Errorf("its log has %d lines, want %d at most", lines, logBound)
	}
}

// assault sends malformed requests to the product.
type assault struct {
	f       *field
	address string
	sent    int

	mu sync.Mutex
	// answers are counted by shape and status, taken are the ids that got 2xx.
	answers map[string]map[string]int
	taken   map[string]bool
}

func newAssault(f *field) *assault {
	f.t.Helper()
	target, err := url.Parse(f.product.WebhookURL("shopify"))
	if err != nil {
		f.t.Fatal(err)
	}
	return &assault{f: f, address: target.Host, answers: make(map[string]map[string]int), taken: make(map[string]bool)}
}

// run sends so many, 64 at once and the slow ones beside them.
func (a *assault) run(count int) {
	m := newMangler(rand.New(rand.NewPCG(a.f.random.Uint64(), 0)))
	queue := make(chan mangled)
	var quick, slow sync.WaitGroup
	for range 64 {
		quick.Go(func() {
			for one := range queue {
				a.send(one)
			}
		})
	}
	for range count {
		one := m.next()
		a.sent++
		if one.manner == hold || one.manner == drip {
			slow.Go(func() { a.send(one) })
			continue
		}
		queue <- one
	}
	close(queue)
	quick.Wait()
	slow.Wait()
}

// send sends one on a connection of its own, and counts what is answered.
func (a *assault) send(one mangled) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", a.address)
	if err != nil {
		a.f.t.Errorf("%s: no connection: %v", one.shape, err)
		return
	}
	defer func() { _ = conn.Close() }()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		a.f.t.Errorf("a connection of type %T", conn)
		return
	}
	begin := time.Now()
	_ = conn.SetDeadline(begin.Add(2 * cutWithin))
	write(tcp, one)
	if one.manner == hangUp {
		_ = tcp.SetLinger(0) // as one that breaks off, and not as one that ends
		a.count(one, "hung up")
		return
	}
	reader := bufio.NewReader(conn)
	for answers := 0; ; answers++ {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			if answers == 0 {
				a.count(one, "none")
			}
			if took := time.Since(begin); took > cutWithin {
				a.f.t.Errorf("%s: the connection was kept for %v, want %v at most: %v", one.shape, took, cutWithin, err)
			}
			return
		}
		_, _ = io.Copy(io.Discard, response.Body) // the status is the answer
		_ = response.Body.Close()
		a.judge(one, response.StatusCode)
		if one.manner == whole {
			return
		}
	}
}

// write sends the bytes, as far as the server takes them.
func write(conn *net.TCPConn, one mangled) {
	if one.manner != drip {
		_, _ = conn.Write(one.request) // it may have answered and closed before the end
		if one.manner == half {
			_ = conn.CloseWrite()
		}
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range one.request {
		if _, err := conn.Write(one.request[i : i+1]); err != nil {
			return
		}
		<-tick.C
	}
}

// judge says whether the answer is one that such a request may get: a refusal, or that
// it cannot be done now. Paths with dots or doubled slashes are sent elsewhere, which no
// sender takes for 2xx. 501 and 505 are for transfer encodings and protocols that
// nobody knows.
func (a *assault) judge(one mangled, status int) {
	a.count(one, fmt.Sprint(status))
	switch {
	case status >= 200 && status < 300 && one.taken != "":
		a.mu.Lock()
		a.taken[one.taken] = true
		a.mu.Unlock()
	case status >= 400 && status < 500, status == http.StatusContinue, status == http.StatusMovedPermanently, status == http.StatusTemporaryRedirect,
		status == http.StatusServiceUnavailable,
		status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
	default:
		a.f.t.Errorf("%s was answered %d:\n%.300q", one.shape, status, one.request)
	}
}

func (a *assault) count(one mangled, answer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.answers[one.shape] == nil {
		a.answers[one.shape] = make(map[string]int)
	}
	a.answers[one.shape][answer]++
}

// table lists what was answered.
func (a *assault) table() string {
	var b strings.Builder
	for _, s := range shapes() {
		fmt.Fprintf(&b, "%-24s %v\n", s.name, a.answers[s.name])
		if a.answers[s.name] == nil {
			a.f.t.Errorf("%s was never sent", s.name)
		}
	}
	return b.String()
}
