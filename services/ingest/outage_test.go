package ingest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

func TestAFullStreamIsNeverAcknowledgedAndRecovers(t *testing.T) {
	topology := bus.Topology{IngestShards: 2, OrderShards: 1, IngestMaxBytes: 64 << 10}
	f := start(t, bustest.Start(t, bustest.WithTopology(topology)), nil).ready(t)
	acknowledged := map[string]bool{}
	postponed := 0
	for i := 0; postponed < 20; i++ {
		if i > 2000 {
			t.Fatal("2000 orders fit into two streams of 64 KiB")
		}
		id := fmt.Sprint("w", i)
		body := append(order(i), slices.Repeat([]byte(" "), 2000)...)
		switch got := f.deliver(t, id, body, nil); {
		case got.status == http.StatusOK:
			acknowledged[id] = true
		case got == answer{status: 503, kind: "full", retryAfter: "30"}:
			postponed++
		default:
			t.Fatalf("answer %+v, want 200 or 503", got)
		}
	}
	if counts := byID(stored(t, f.bus)); len(counts) != len(acknowledged) || len(counts) == 0 {
		t.Errorf("%d are stored and %d acknowledged", len(counts), len(acknowledged))
	}
	topology.IngestMaxBytes = 64 << 20
	if err := f.bus.Apply(t.Context(), topology); err != nil {
		t.Fatal(err)
	}
	f.eventually(t, "taking webhooks again", func() bool { return f.deliver(t, "after", order(1), nil).status == http.StatusOK })
	if byID(stored(t, f.bus))["after"] != 1 {
		t.Error("what was acknowledged at last is not stored")
	}
}

// What was taken in must have room to be worked off: ingest stops before the
// store is full, says so, and goes on by itself when there is room.
func TestIngestLeavesRoomForWhatFollows(t *testing.T) {
	const store = 4 << 20
	f := start(t, bustest.Start(t, bustest.WithMaxStore(store), bustest.WithTopology(bus.Topology{StoreBytes: store})), nil).ready(t)
	big := func(i int) []byte { return append(order(i), slices.Repeat([]byte(" "), 60_000)...) }
	for i := 0; ; i++ {
		if i > 2000 {
			t.Fatal("2000 orders fit into 4 MiB")
		}
		got := f.deliver(t, fmt.Sprint("w", i), big(i), nil)
		if got == (answer{status: 503, kind: "full", retryAfter: "30"}) {
			break
		}
		if got.status != http.StatusOK {
			t.Fatalf("answer %+v, want 200 or 503", got)
		}
	}
	f.eventually(t, "not ready because it is full", func() bool {
		response, err := f.client.Get(f.url("/readyz"))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return response.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(text), "full")
	})
	room, err := f.bus.IngestRoom(t.Context(), 1)
	if err != nil || room.Stored > store/2 {
		t.Errorf("%+v, %v: want more than half of the store left for what follows", room, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	worked := make(chan error, 1)
	go func() {
		worked <- f.bus.Consume(ctx, bus.ConsumerOptions{Stream: bus.IngestStream(0), Durable: "gate"}, func(ctx context.Context, m *bus.Incoming) {
			_ = m.Ack(ctx)
			_, _ = f.bus.Trim(ctx, bus.IngestStream(0), "gate", m.Sequence, 0)
		})
	}()
	f.ready(t)
	stop()
	if err := <-worked; err != nil {
		t.Error(err)
	}
	if got := f.deliver(t, "after", big(1), nil); got.status != http.StatusOK {
		t.Errorf("answer %+v once there is room", got)
	}
}

// The disk as a whole may be full, not only the part that ingest may use.
func TestAFullServerIsNeverAcknowledged(t *testing.T) {
	f := start(t, bustest.Start(t, bustest.WithMaxStore(256<<10)), nil).ready(t)
	acknowledged := map[string]bool{}
	postponed := 0
	for i := 0; postponed < 5; i++ {
		if i > 2000 {
			t.Fatal("2000 orders fit into 256 KiB")
		}
		id := fmt.Sprint("w", i)
		body := append(order(i), slices.Repeat([]byte(" "), 2000)...)
		switch got := f.deliver(t, id, body, nil); {
		case got.status == http.StatusOK:
			acknowledged[id] = true
		case got == answer{status: 503, kind: "full", retryAfter: "30"}:
			postponed++
		default:
			t.Fatalf("answer %+v, want 200 or 503", got)
		}
	}
	counts := byID(stored(t, f.bus))
	for id := range acknowledged {
		if counts[id] != 1 {
			t.Errorf("%s was acknowledged and is stored %d times", id, counts[id])
		}
	}
	if len(counts) != len(acknowledged) || len(counts) == 0 {
		t.Errorf("%d are stored and %d acknowledged", len(counts), len(acknowledged))
	}
}

// The streams of a server alone are one disk: what is late on one is late on the other,
// and to write it twice would make both later.
func TestAServerAloneIsNotAskedTwice(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.hedgeAfter = time.Nanosecond }).ready(t)
	var senders sync.WaitGroup
	for i := range 100 {
		senders.Go(func() {
			if got := f.deliver(t, fmt.Sprint("w", i), order(i), nil); got.status != http.StatusOK {
				t.Errorf("answer %+v", got)
			}
		})
	}
	senders.Wait()
	for id, times := range byID(stored(t, f.bus)) {
		if times != 1 {
			t.Errorf("%s is stored %d times", id, times)
		}
	}
}

// Before there is a catalog nobody knows which connectors there are: senders are
// to come again, not to give up.
func TestBeforeThereIsACatalog(t *testing.T) {
	f := startWith(t, bustest.Start(t), catalog.NewStore(nil), nil)
	for _, path := range []string{"/v1/webhooks/shop", "/v1/webhooks/nobody"} {
		got := f.deliver(t, "w1", order(1), func(r *http.Request) { r.URL.Path = path })
		if got != (answer{status: 503, kind: "no-catalog", retryAfter: "2"}) {
			t.Errorf("%s: answer %+v", path, got)
		}
	}
	if f.get(t, "/readyz") != http.StatusServiceUnavailable || f.get(t, "/healthz") != http.StatusOK {
		t.Error("want unready and healthy")
	}
	f.config.Catalog.Replace(snapshot())
	f.ready(t)
	if got := f.deliver(t, "w1", order(1), nil); got.status != http.StatusOK {
		t.Errorf("answer %+v with a catalog", got)
	}
	if counts := byID(stored(t, f.bus)); len(counts) != 1 || counts["w1"] != 1 {
		t.Errorf("stored: %v", counts)
	}
}

// A connector that is added, changed or removed is so at the next request.
func TestACatalogThatChanges(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	status := func(id string, path string, want int) {
		t.Helper()
		if got := f.deliver(t, id, order(1), func(r *http.Request) { r.URL.Path = path }); got.status != want {
			t.Errorf("%s %s: answer %+v, want %d", id, path, got, want)
		}
	}
	status("a", "/v1/webhooks/shop", 200)
	status("a", "/v1/webhooks/shop-eu", 404)
	next := snapshot()
	next.Connectors["shop-eu"] = next.Connectors["shop"].DeepCopy()
	next.Connectors["shop-eu"].Name = "shop-eu"
	next.Connectors["shop"].Spec.Webhook = nil
	f.config.Catalog.Replace(next)
	status("b", "/v1/webhooks/shop", 404)
	status("b", "/v1/webhooks/shop-eu", 200)
	if counts := byID(stored(t, f.bus)); counts["a"] != 1 || counts["b"] != 1 || len(counts) != 2 {
		t.Errorf("stored: %v", counts)
	}
}

func TestServerGoneAndBack(t *testing.T) {
	server := bustest.NewServer(t)
	f := start(t, server.Bus(t), nil).ready(t)
	if got := f.deliver(t, "before", order(1), nil); got.status != http.StatusOK {
		t.Fatalf("answer %+v", got)
	}
	server.Stop()
	for i := range 20 {
		begin := time.Now()
		got := f.deliver(t, fmt.Sprint("during", i), order(i), nil)
		if got.status != http.StatusServiceUnavailable || got.retryAfter == "" {
			t.Errorf("answer %+v while the server is gone", got)
		}
		// Shopify waits for 5 s; a slow machine is given some of the rest.
		if took := time.Since(begin); took > 4500*time.Millisecond {
			t.Errorf("the answer took %v", took)
		}
	}
	f.eventually(t, "unready", func() bool { return f.get(t, "/readyz") == http.StatusServiceUnavailable })
	if status := f.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("healthz is %d: nobody should restart this", status)
	}
	server.StartAgain(t)
	f.ready(t)
	f.eventually(t, "taking webhooks again", func() bool { return f.deliver(t, "after", order(9), nil).status == http.StatusOK })
	counts := byID(stored(t, f.bus))
	if counts["before"] != 1 || counts["after"] == 0 {
		t.Errorf("stored: %v", counts)
	}
}

func TestBeforeThereAreStreams(t *testing.T) {
	// Nobody is at this address.
	b, err := bus.Connect(t.Context(), bus.Options{URL: "nats://127.0.0.1:1", Name: "ingest"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	f := start(t, b, nil)
	if got := f.deliver(t, "w", order(1), nil); got.status != http.StatusServiceUnavailable || got.retryAfter == "" {
		t.Errorf("answer %+v", got)
	}
	if f.get(t, "/readyz") != http.StatusServiceUnavailable || f.get(t, "/healthz") != http.StatusOK {
		t.Error("want unready and healthy")
	}
}

// open sends raw bytes on a connection of its own.
func (f *fixture) open(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patient))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Logf("the server closed early: %v", err)
	}
	return conn
}

func head(body []byte, length int, id string) string {
	return fmt.Sprintf("POST /v1/webhooks/shop HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX-Shopify-Topic: orders/create\r\nX-Shopify-Webhook-Id: %s\r\nX-Shopify-Hmac-Sha256: %s\r\n\r\n",
		length, id, signature(body))
}

func statusOf(t *testing.T, conn net.Conn) int {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Logf("no answer: %v", err)
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestLiesAboutTheLength(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.requestTimeout = time.Second }).ready(t)
	body := order(1)
	// Announced more, and closed: 400 or nothing, as the connection is half shut.
	conn := f.open(t, head(body, len(body)+10, "short")+string(body))
	_ = conn.(*net.TCPConn).CloseWrite()
	if status := statusOf(t, conn); status != http.StatusBadRequest && status != 0 {
		t.Errorf("a short body: status %d", status)
	}
	// Announced more, and never sent.
	if status := statusOf(t, f.open(t, head(body, len(body)+10, "slow")+string(body))); status != http.StatusRequestTimeout {
		t.Errorf("a slow body: status %d, want 408", status)
	}
	// Announced less: the rest is no part of it, and the signature fails.
	if status := statusOf(t, f.open(t, head(body, len(body)-5, "long")+string(body))); status != http.StatusUnauthorized {
		t.Errorf("a long body: status %d, want 401", status)
	}
	// Announced too much: refused before a byte of it is sent.
	if status := statusOf(t, f.open(t, head(body, 1<<40, "huge"))); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a huge body: status %d, want 413", status)
	}
	if events := stored(t, f.bus); len(events) != 0 {
		t.Errorf("stored: %v", events)
	}
}

// A sender that writes all of its body before it reads, as many do, gets the answer
// and no reset. The body is more than the sockets' buffers hold, and so is not sent
// before it is read.
func TestARefusedBodyIsReadToItsEnd(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	body := bytes.Repeat([]byte(" "), 7<<20)
	chunked := strings.Replace(head(body, 0, "chunks"), "Content-Length: 0", "Transfer-Encoding: chunked", 1) +
		fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	for what, request := range map[string]string{
		"announced": head(body, len(body), "announced") + string(body),
		"in chunks": chunked,
		"nobody's":  strings.Replace(head(body, len(body), "nobody"), "/v1/webhooks/shop ", "/v1/webhooks/nobody ", 1) + string(body),
	} {
		conn := f.open(t, "")
		if _, err := io.WriteString(conn, request); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		want := http.StatusRequestEntityTooLarge
		if what == "nobody's" {
			want = http.StatusNotFound
		}
		if status := statusOf(t, conn); status != want {
			t.Errorf("%s: status %d, want %d", what, status, want)
		}
	}
}

// Connections that send the head of a request and a byte of its body, unsigned,
// by the thousand: more than may be open and far more than may be in work.
func TestSlowSendersDoNotKeepOthersOut(t *testing.T) {
	const slow = 300
	f := start(t, bustest.Start(t), func(b *bounds) { b.requests, b.connections = 3, 100 }).ready(t)
	body := order(1)
	for i := range slow {
		f.open(t, head(body, len(body), fmt.Sprint("slow", i))+"{")
		if i%10 == 9 {
			// A sender that means it opens a connection of its own.
			f.client.CloseIdleConnections()
			if got := f.deliver(t, fmt.Sprint("w", i), order(i), nil); got.status != http.StatusOK {
				t.Fatalf("answer %+v beside %d slow senders", got, i+1)
			}
		}
	}
	if free, taken := f.bounds.bodyBytes, f.bounds.connections*2<<10; taken > free {
		t.Errorf("a byte on each connection takes %d of the %d bytes for bodies", taken, free)
	}
}

// A body that is on its way is cut before the sender gives up by itself.
func TestASlowBodyIsCutWithinTheSendersPatience(t *testing.T) {
	if b := defaultBounds(); b.requestTimeout > 5*time.Second || b.headerTimeout > b.requestTimeout {
		t.Errorf("a request may take %v, its head %v", b.requestTimeout, b.headerTimeout)
	}
	f := start(t, bustest.Start(t), func(b *bounds) { b.requestTimeout = 200 * time.Millisecond }).ready(t)
	body := order(1)
	if got := statusOf(t, f.open(t, head(body, len(body), "slow")+"{")); got != http.StatusRequestTimeout {
		t.Errorf("status %d", got)
	}
}

func TestTooMuchInWorkIsPutOff(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.requests = 0 })
	if got := f.deliver(t, "w", order(1), nil); got != (answer{status: 503, kind: "overloaded", retryAfter: "2"}) {
		t.Errorf("answer %+v", got)
	}
}

func TestMemoryForBodiesIsBounded(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.bodyBytes = 40 << 10 }).ready(t)
	big := append(order(1), slices.Repeat([]byte(" "), 50<<10)...)
	if got := f.deliver(t, "big", big, nil); got != (answer{status: 503, kind: "overloaded", retryAfter: "2"}) {
		t.Errorf("answer %+v", got)
	}
	for i := range 100 {
		// What the refused ones held is free again.
		if got := f.deliver(t, fmt.Sprint("w", i), order(i), nil); got.status != http.StatusOK {
			t.Fatalf("answer %+v to a small one", got)
		}
	}
}

// The connections that have kept it waiting longest make room for new ones.
func TestTheSlowestConnectionMakesRoom(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.connections = 4 }).ready(t)
	f.client.CloseIdleConnections()
	first := f.open(t, "")
	for i := range 3 {
		f.open(t, fmt.Sprint(i))
	}
	for i := range 8 {
		f.client.CloseIdleConnections()
		if got := f.deliver(t, fmt.Sprint("w", i), order(i), nil); got.status != http.StatusOK {
			t.Fatalf("answer %+v", got)
		}
	}
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading from the one that said nothing gave %v, want it closed", err)
	}
}

// Nobody is cut off whose request is in work: then the newcomer has to come again.
func TestWorkIsNotCutOffForNewcomers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := newCrowd(listener, 2)
	defer c.Close()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patient))
		return conn
	}
	accept := func() *guest {
		conn, err := c.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn.(*guest)
	}
	working, idle := dial(), dial()
	worked := accept()
	accept()
	worked.arrived()
	dial()
	accept().arrived()
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the idle one read %v, want its end", err)
	}
	refused := dial()
	worked.answered()
	worked.arrived()
	go func() { _, _ = c.Accept() }() // finds nobody to close, until the listener is
	if _, err := refused.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the newcomer read %v, want its end", err)
	}
	if _, err := worked.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := working.Read(make([]byte, 1)); err != nil {
		t.Errorf("the one in work is cut off: %v", err)
	}
}

func TestAThousandMalformedRequestsLeaveItServing(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.requestTimeout, b.headerTimeout = time.Second, time.Second }).ready(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	noise := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return string(b)
	}
	body := order(1)
	forms := []func() string{
		func() string { return noise(200) },
		func() string { return head(body, len(body), "w")[:random.IntN(120)] },
		func() string { return "GET / HTTP/9.9\r\n\r\n" },
		func() string { return "POST /v1/webhooks/shop HTTP/1.1\r\n\r\n" },
		func() string {
			return "POST /v1/webhooks/shop HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n"
		},
		func() string {
			return "POST /v1/webhooks/shop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + noise(20)
		},
		func() string {
			return "POST /v1/webhooks/shop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + noise(20)
		},
		func() string {
			return "POST /v1/webhooks/shop HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nabcdefg"
		},
		func() string {
			return "POST /v1/webhooks/shop HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"
		},
		func() string { return head([]byte("other"), len(body), "w") + string(body) },
		func() string { return head(body, len(body), noise(10)) + noise(len(body)) },
		func() string { return "POST /v1/webhooks/%zz HTTP/1.1\r\nHost: x\r\n\r\n" },
		func() string { return "POST /v1/webhooks/../../etc HTTP/1.1\r\nHost: x\r\n\r\n" },
	}
	requests := make(chan string)
	var senders sync.WaitGroup
	for range 32 {
		senders.Go(func() {
			for text := range requests {
				conn, err := net.Dial("tcp", f.Addr().String())
				if err != nil {
					t.Error(err)
					continue
				}
				_ = conn.SetDeadline(time.Now().Add(patient))
				_, _ = io.WriteString(conn, text)
				_ = conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}
		})
	}
	for i := range 1000 {
		requests <- forms[i%len(forms)]()
	}
	close(requests)
	senders.Wait()
	if events := stored(t, f.bus); len(events) != 0 {
		t.Errorf("stored: %v", events)
	}
	if got := f.deliver(t, "good", body, nil); got.status != http.StatusOK {
		t.Errorf("answer %+v after the storm", got)
	}
	if lines := strings.Count(f.logs.String(), "\n"); lines > 30 || strings.Contains(f.logs.String(), secret) || strings.Contains(f.logs.String(), "panic") {
		t.Errorf("%d lines of log for a thousand bad requests, or more than there should be in them:\n%s", lines, f.logs)
	}
}

func TestStoppingLetsRequestsEnd(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	body := order(1)
	conn := f.open(t, head(body, len(body), "half")+string(body[:10]))
	// The request is in work once its connection is no longer new or idle; a
	// second request that is answered shows that the first was accepted.
	f.deliver(t, "other", order(2), nil)
	f.eventually(t, "taking the first one in", func() bool { return f.door.Working() >= 1 })
	f.stop()
	f.eventually(t, "closed for others", func() bool {
		other, err := net.Dial("tcp", f.Addr().String())
		if err == nil {
			_ = other.Close()
		}
		return err != nil
	})
	// Whoever asks now is told that this instance goes.
	probe := httptest.NewRecorder()
	f.routes().ServeHTTP(probe, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	if probe.Code != http.StatusServiceUnavailable || !strings.Contains(probe.Body.String(), "stopping") {
		t.Errorf("readyz is %d while it stops: %s", probe.Code, probe.Body)
	}
	if _, err := conn.Write(body[10:]); err != nil {
		t.Fatal(err)
	}
	if status := statusOf(t, conn); status != http.StatusOK {
		t.Errorf("status %d, want 200", status)
	}
	f.end(t)
	if counts := byID(stored(t, f.bus)); counts["half"] != 1 {
		t.Errorf("stored: %v", counts)
	}
}

func TestStoppingDoesNotWaitForeverForASlowSender(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.grace = 200 * time.Millisecond }).ready(t)
	body := order(1)
	f.open(t, head(body, len(body), "half")+string(body[:10]))
	f.eventually(t, "taking it in", func() bool { return f.door.Working() >= 1 })
	f.end(t)
	if events := stored(t, f.bus); len(events) != 0 {
		t.Errorf("stored: %v", events)
	}
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty Config is taken")
	}
}
