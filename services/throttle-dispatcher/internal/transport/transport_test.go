package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

func newTransport(t testing.TB, c Config) *Transport {
	t.Helper()
	transport, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.Close)
	return transport
}

var numbers atomic.Int64

// permit is good from now on, for a call that takes up to timeout.
func permit(timeout time.Duration) budget.Permit {
	now := time.Now()
	return budget.Permit{Number: numbers.Add(1), SendAt: now, NotAfter: now.Add(20 * time.Second), Deadline: now.Add(timeout)}
}

func request(t testing.TB, method, url string, body []byte) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func get(t testing.TB, url string) *http.Request {
	t.Helper()
	return request(t, http.MethodGet, url, nil)
}

const minute = time.Minute

func TestCallsShareAConnection(t *testing.T) {
	s := serve(t, always(reply))
	transport := newTransport(t, Config{Endpoint: s.url()})
	for range 5 {
		before := time.Now()
		out := transport.Do(t.Context(), request(t, http.MethodPost, s.url()+"/orders", []byte("{}")), permit(minute))
		if out.Err != nil || out.Status != 200 || string(out.Body) != "ok" || !out.Written {
			t.Fatalf("%+v", out)
		}
		if out.FirstByteAt.Before(before) || out.SettledAt.Before(out.FirstByteAt) || !out.At.Equal(out.SettledAt) {
			t.Errorf("first byte %v, at %v, settled %v", out.FirstByteAt, out.At, out.SettledAt)
		}
	}
	if arrivals, connections := s.count(); arrivals != 5 || connections != 1 {
		t.Errorf("%d arrivals on %d connections, want 5 on 1", arrivals, connections)
	}
}

// TestGoRepeatsByItself is the hazard that the permits are for: it shows that
// the server of the next test does provoke it.
func TestGoRepeatsByItself(t *testing.T) {
	s := serve(t, script(reply, cut, reply))
	plain := &http.Transport{}
	t.Cleanup(plain.CloseIdleConnections)
	for range 2 {
		response, err := plain.RoundTrip(get(t, s.url()))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	if arrivals, _ := s.count(); arrivals != 3 {
		t.Errorf("%d arrivals for two requests, want 3", arrivals)
	}
}

func TestARequestIsNeverRepeated(t *testing.T) {
	for _, how := range []deed{cut, cutInHead} {
		t.Run(string(how), func(t *testing.T) {
			s := serve(t, script(reply, how, reply))
			transport := newTransport(t, Config{Endpoint: s.url(), Grace: 3 * time.Second})
			if out := transport.Do(t.Context(), get(t, s.url()), permit(minute)); out.Err != nil {
				t.Fatal(out.Err)
			}
			out := transport.Do(t.Context(), get(t, s.url()), permit(minute))
			if out.Err == nil || !strings.Contains(out.Err.Error(), "connection lost before the reply") || errors.Is(out.Err, ErrNoPermit) {
				t.Errorf("error %v, want that the connection was lost", out.Err)
			}
			if !out.Written || out.Status != 0 || out.SettledAt.Sub(out.At) != 3*time.Second {
				t.Errorf("written %v, status %d, settled %v after, want true, 0 and the grace", out.Written, out.Status, out.SettledAt.Sub(out.At))
			}
			if arrivals, connections := s.count(); arrivals != 2 || connections != 1 {
				t.Errorf("%d arrivals on %d connections, want 2 on 1", arrivals, connections)
			}
		})
	}
}

// What the kernel knows about a closed connection, the next request learns
// before its first byte.
func TestAClosedConnectionIsSeenBeforeTheFirstByte(t *testing.T) {
	s := serve(t, always(replyClose))
	transport := newTransport(t, Config{Endpoint: s.url()})
	c, err := transport.dial(t.Context(), "tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	raw := c.(*conn).raw
	if hungUp(raw.TCPConn) {
		t.Error("an open connection counts as closed")
	}
	s.stop()
	if runtime.GOOS == "linux" {
		eventually(t, "the close is seen", func() bool { return hungUp(raw.TCPConn) })
	}
	_ = c.Close()
	if runtime.GOOS == "linux" && !hungUp(raw.TCPConn) {
		t.Error("a connection that this side has closed counts as open")
	}
}

// A connection that the server closes while it is idle costs the next call
// nothing, or that call alone where the two cross on the wire.
func TestAnIdleConnectionClosedByTheServer(t *testing.T) {
	s := serve(t, always(replyClose))
	transport := newTransport(t, Config{Endpoint: s.url()})
	const calls = 50
	written, whole := 0, 0
	for range calls {
		out := transport.Do(t.Context(), get(t, s.url()), permit(minute))
		if out.Written {
			written++
		}
		if out.Err == nil {
			whole++
		} else if !out.Written {
			t.Errorf("void: %v", out.Err)
		}
	}
	arrivals, _ := s.count()
	t.Logf("%d of %d calls had a reply, %d were written, %d arrived", whole, calls, written, arrivals)
	if arrivals > written || whole > arrivals {
		t.Errorf("%d arrivals, %d written, %d replies", arrivals, written, whole)
	}
}

func TestASlowReplyEndsAtTheDeadline(t *testing.T) {
	s := serve(t, always(hang))
	transport := newTransport(t, Config{Endpoint: s.url(), Grace: time.Second})
	p := permit(300 * time.Millisecond)
	out := transport.Do(t.Context(), get(t, s.url()), p)
	if !errors.Is(out.Err, ErrDeadline) || !out.Written {
		t.Fatalf("written %v, error %v, want true and ErrDeadline", out.Written, out.Err)
	}
	if out.At.Before(p.Deadline) || out.SettledAt.Sub(out.At) != time.Second {
		t.Errorf("ended %v after the deadline, settled %v after that", out.At.Sub(p.Deadline), out.SettledAt.Sub(out.At))
	}
	eventually(t, "the server sees the connection die", func() bool { return s.resets() == 1 })
}

func TestCancelCutsTheConnection(t *testing.T) {
	arrived := make(chan struct{}, 1)
	s := serve(t, func(int) deed { arrived <- struct{}{}; return hang })
	transport := newTransport(t, Config{Endpoint: s.url()})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	out := transport.Do(ctx, get(t, s.url()), permit(minute))
	if !errors.Is(out.Err, context.Canceled) || !out.Written {
		t.Errorf("written %v, error %v", out.Written, out.Err)
	}
	eventually(t, "the server sees the connection die", func() bool { return s.resets() == 1 })
}

func TestHalfAReplyKeepsItsStatus(t *testing.T) {
	s := serve(t, always(cutInReply))
	out := newTransport(t, Config{Endpoint: s.url()}).Do(t.Context(), get(t, s.url()), permit(minute))
	if !errors.Is(out.Err, io.ErrUnexpectedEOF) || out.Status != 200 || string(out.Body) != "half" || !out.Written || !out.SettledAt.Equal(out.At) {
		t.Errorf("%+v", out)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	s := serve(t, always(redirect))
	out := newTransport(t, Config{Endpoint: s.url()}).Do(t.Context(), get(t, s.url()), permit(minute))
	if out.Err != nil || out.Status != http.StatusTemporaryRedirect || out.Header.Get("Location") != "/elsewhere" {
		t.Errorf("%+v", out)
	}
	if arrivals, _ := s.count(); arrivals != 1 {
		t.Errorf("%d arrivals, want 1", arrivals)
	}
}

// A server that switches protocols has said nothing about the request, and its new
// protocol may be silent for ever: the call is over at once, its outcome unknown.
func TestAnotherProtocolIsNoReply(t *testing.T) {
	for _, how := range []deed{upgrade, upgradeOf} {
		t.Run(string(how), func(t *testing.T) {
			s := serve(t, always(how))
			transport := newTransport(t, Config{Endpoint: s.url(), Grace: time.Second})
			done := make(chan Outcome, 1)
			go func() { done <- transport.Do(t.Context(), get(t, s.url()), permit(5*time.Second)) }()
			var out Outcome
			select {
			case out = <-done:
			case <-time.After(20 * time.Second):
				s.stop() // so that the call ends
				t.Fatal("the call hangs beyond its deadline")
			}
			if !errors.Is(out.Err, ErrSwitched) || out.Status != 0 || !out.Written {
				t.Errorf("status %d, written %v, error %v, want no reply and ErrSwitched", out.Status, out.Written, out.Err)
			}
			if out.SettledAt.Sub(out.At) != time.Second {
				t.Errorf("settled %v after the end, want the grace", out.SettledAt.Sub(out.At))
			}
			eventually(t, "the server sees the connection die", func() bool { return s.resets() == 1 })
		})
	}
}

func TestALongReplyIsCutAtTheCap(t *testing.T) {
	s := serve(t, always(long))
	transport := newTransport(t, Config{Endpoint: s.url(), MaxReplyBytes: 1000})
	out := transport.Do(t.Context(), get(t, s.url()), permit(minute))
	if !errors.Is(out.Err, ErrReplyTooLarge) || out.Status != 200 || len(out.Body) != 1000 || !out.Written {
		t.Errorf("status %d, %d bytes, error %v", out.Status, len(out.Body), out.Err)
	}
}

func TestAnExpiredPermitWritesNothing(t *testing.T) {
	s := serve(t, always(reply))
	transport := newTransport(t, Config{Endpoint: s.url()})
	if out := transport.Do(t.Context(), get(t, s.url()), permit(minute)); out.Err != nil {
		t.Fatal(out.Err)
	}
	p := permit(minute)
	p.SendAt, p.NotAfter = p.SendAt.Add(-time.Second), p.SendAt.Add(-1)
	out := transport.Do(t.Context(), get(t, s.url()), p)
	if out.Written || !out.FirstByteAt.IsZero() || !errors.Is(out.Err, ErrPermitExpired) {
		t.Errorf("written %v, first byte %v, error %v", out.Written, out.FirstByteAt, out.Err)
	}
	if out := transport.Do(t.Context(), get(t, s.url()), permit(minute)); out.Err != nil {
		t.Errorf("the call after it: %v", out.Err)
	}
	if arrivals, _ := s.count(); arrivals != 2 {
		t.Errorf("%d arrivals, want 2", arrivals)
	}
}

func TestTheFirstByteWaitsForTheSendTime(t *testing.T) {
	s := serve(t, always(reply))
	var issued []time.Time
	var number int64
	transport := newTransport(t, Config{Endpoint: s.url(), Issued: func(n int64, at time.Time) { number, issued = n, append(issued, at) }})
	p := permit(minute)
	p.SendAt = p.SendAt.Add(80 * time.Millisecond)
	out := transport.Do(t.Context(), request(t, http.MethodPost, s.url(), make([]byte, 100_000)), p)
	if out.Err != nil {
		t.Fatal(out.Err)
	}
	transport.Close() // its writer has ended, hence no more reports
	if s.at[0].Before(p.SendAt) || out.FirstByteAt.Before(p.SendAt) {
		t.Errorf("arrived %v before the send time", p.SendAt.Sub(s.at[0]))
	}
	if len(issued) != 1 || number != p.Number || issued[0].Before(out.FirstByteAt) {
		t.Errorf("reported as issued: %d at %v, want once, %d, after %v", number, issued, p.Number, out.FirstByteAt)
	}
}

func TestCancelBeforeTheSendTimeIsVoid(t *testing.T) {
	s := serve(t, always(reply))
	transport := newTransport(t, Config{Endpoint: s.url()})
	ctx, cancel := context.WithCancel(t.Context())
	p := permit(minute)
	p.SendAt = p.SendAt.Add(15 * time.Second)
	go func() {
		eventually(t, "it connects", func() bool { _, connections := s.count(); return connections == 1 })
		cancel()
	}()
	out := transport.Do(ctx, get(t, s.url()), p)
	if out.Written || !errors.Is(out.Err, context.Canceled) {
		t.Errorf("written %v, error %v", out.Written, out.Err)
	}
	if arrivals, _ := s.count(); arrivals != 0 {
		t.Errorf("%d arrivals, want 0", arrivals)
	}
}

// A goroutine that a busy machine lets begin only after the recall makes no call.
func TestRecallEndsWhatBeginsAfterIt(t *testing.T) {
	s := serve(t, always(hang))
	transport := newTransport(t, Config{Endpoint: s.url()})
	recalled := make(chan struct{})
	close(recalled)
	transport.Recall()
	if out := transport.DoUnless(t.Context(), get(t, s.url()), permit(time.Second), recalled); out.Written || !errors.Is(out.Err, ErrRecalled) {
		t.Errorf("written %v, error %v, want it recalled", out.Written, out.Err)
	}
	if n, _ := s.count(); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
}

func TestRecallEndsWhatIsNotBegun(t *testing.T) {
	s := serve(t, always(hang))
	transport := newTransport(t, Config{Endpoint: s.url()})
	outcomes := make(chan Outcome, 3)
	under, cancel := context.WithCancel(t.Context())
	defer cancel()
	now, later := permit(minute), permit(minute)
	later.SendAt = later.SendAt.Add(10 * time.Second)
	later.NotAfter = later.SendAt.Add(time.Second)
	go func() { outcomes <- transport.Do(under, get(t, s.url()), now) }()
	arrived := func() int {
		n, _ := s.count()
		return n
	}
	for arrived() == 0 {
		<-time.After(time.Millisecond)
	}
	for range 2 {
		go func() { outcomes <- transport.Do(t.Context(), get(t, s.url()), later) }()
	}
	for transport.waiting() < 3 {
		<-time.After(time.Millisecond)
	}
	transport.Recall()
	for range 2 {
		if out := <-outcomes; out.Written || !errors.Is(out.Err, ErrRecalled) {
			t.Errorf("written %v, error %v, want it recalled", out.Written, out.Err)
		}
	}
	cancel()
	if out := <-outcomes; !out.Written || errors.Is(out.Err, ErrRecalled) {
		t.Errorf("what was under way: written %v, error %v", out.Written, out.Err)
	}
	if n := arrived(); n != 1 {
		t.Errorf("%d requests arrived, want the one that was under way", n)
	}
	if n := transport.waiting(); n != 0 {
		t.Errorf("%d calls are remembered", n)
	}
}

// waiting returns how many calls are in Do.
func (t *Transport) waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.tickets)
}

func TestOnlyTheEndpointIsDialed(t *testing.T) {
	s, other := serve(t, always(reply)), serve(t, always(reply))
	transport := newTransport(t, Config{Endpoint: s.url()})
	for _, url := range []string{other.url(), strings.Replace(s.url(), "http:", "https:", 1), "http://localhost.invalid/"} {
		body := &closeRecorder{Reader: strings.NewReader("x")}
		r := get(t, url)
		r.Body = body
		if out := transport.Do(t.Context(), r, permit(minute)); out.Written || !errors.Is(out.Err, ErrForeignHost) || !body.closed {
			t.Errorf("%s: written %v, error %v, body closed %v", url, out.Written, out.Err, body.closed)
		}
	}
	if out := transport.Do(t.Context(), &http.Request{}, permit(minute)); !errors.Is(out.Err, ErrForeignHost) {
		t.Errorf("no URL: %v", out.Err)
	}
	if _, connections := other.count(); connections != 0 {
		t.Errorf("%d connections to another host", connections)
	}
	for _, bad := range []string{"", "ftp://x", "http://", "http://%zz", "://"} {
		if _, err := New(Config{Endpoint: bad}); err == nil {
			t.Errorf("endpoint %q: no error", bad)
		}
	}
}

type closeRecorder struct {
	io.Reader
	closed bool
}

func (c *closeRecorder) Close() error {
	c.closed = true
	return nil
}

// A server that takes the connection and never answers the TLS hello looks like
// a black hole: the permit comes back as soon as it has run out.
func TestABlackHoleGivesThePermitBack(t *testing.T) {
	silent := silentServer(t, "")
	transport := newTransport(t, Config{Endpoint: "https://" + silent, DialTimeout: 2 * time.Second})
	p := permit(minute)
	p.NotAfter = p.SendAt.Add(40 * time.Millisecond)
	out := transport.Do(t.Context(), get(t, transport.config.Endpoint), p)
	if out.Written || !errors.Is(out.Err, ErrNotConnected) || out.At.Before(p.NotAfter) || out.At.Sub(p.NotAfter) > time.Second {
		t.Errorf("written %v, error %v, %v after the permit", out.Written, out.Err, out.At.Sub(p.NotAfter))
	}
}

// A permit that is late already says nothing of the other side, which counts as down
// otherwise: that it is a black hole is not known before it has had its time.
func TestALatePermitIsNoMissingConnection(t *testing.T) {
	silent := silentServer(t, "")
	for name, late := range map[string]time.Duration{"it has expired": time.Hour, "most of it has": 40 * time.Millisecond} {
		transport := newTransport(t, Config{Endpoint: "https://" + silent, DialTimeout: 2 * time.Second})
		p := permit(minute)
		p.SendAt = p.SendAt.Add(-late)
		p.NotAfter = p.SendAt.Add(50 * time.Millisecond)
		if out := transport.Do(t.Context(), get(t, transport.config.Endpoint), p); out.Written || !errors.Is(out.Err, ErrPermitExpired) {
			t.Errorf("%s: written %v, error %v", name, out.Written, out.Err)
		}
	}
}

func TestARefusedConnectionIsVoid(t *testing.T) {
	s := serve(t, always(reply))
	s.stop()
	out := newTransport(t, Config{Endpoint: s.url()}).Do(t.Context(), get(t, s.url()), permit(minute))
	if out.Written || out.Err == nil {
		t.Errorf("written %v, error %v", out.Written, out.Err)
	}
}

func TestTLSWithoutHTTP2(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Proto)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	transport := newTransport(t, Config{Endpoint: s.URL, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	for range 2 {
		if out := transport.Do(t.Context(), get(t, s.URL+"/x"), permit(minute)); out.Err != nil || string(out.Body) != "HTTP/1.1" || !out.Written {
			t.Errorf("body %q, written %v, error %v", out.Body, out.Written, out.Err)
		}
	}
	// Handshakes write bytes, but none of a request.
	untrusting := newTransport(t, Config{Endpoint: s.URL})
	if out := untrusting.Do(t.Context(), get(t, s.URL), permit(minute)); out.Written || out.Err == nil {
		t.Errorf("unknown authority: written %v, error %v", out.Written, out.Err)
	}
}

// silentServer greets each connection and then only reads; it returns its address.
func silentServer(t *testing.T, greeting string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				_, _ = io.WriteString(c, greeting)
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); group.Wait() })
	return listener.Addr().String()
}

// Some servers send a 408 when they close an idle connection; it must not pass
// for the reply to a request that was not written.
func TestAReplyBeforeTheRequestIsNone(t *testing.T) {
	url := "http://" + silentServer(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	transport := newTransport(t, Config{Endpoint: url})
	p := permit(minute)
	p.SendAt = p.SendAt.Add(15 * time.Second)
	out := transport.Do(t.Context(), get(t, url), p)
	if out.Written || out.Err == nil || out.Status != 0 || out.Body != nil {
		t.Errorf("%+v", out)
	}
}

func TestAReplyBeforeTheBodyIsRead(t *testing.T) {
	s := serve(t, always(early))
	out := newTransport(t, Config{Endpoint: s.url()}).Do(t.Context(), request(t, http.MethodPost, s.url(), make([]byte, 8<<20)), permit(minute))
	// The server's close may overtake its reply; a permit was used either way.
	if !out.Written || out.Err == nil && out.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("written %v, status %d, error %v", out.Written, out.Status, out.Err)
	}
}

func TestAWriteWithoutAPermitKillsTheConnection(t *testing.T) {
	s := serve(t, always(reply))
	transport := newTransport(t, Config{Endpoint: s.url()})
	c, err := transport.dial(t.Context(), "tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); n != 0 || !errors.Is(err, ErrNoPermit) {
		t.Errorf("wrote %d, %v", n, err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v, want that it is closed", err)
	}
	if _, err := transport.dial(t.Context(), "tcp", "127.0.0.1:1"); !errors.Is(err, ErrForeignHost) {
		t.Errorf("dial of another address: %v", err)
	}
	transport.Close()
	if _, err := transport.dial(t.Context(), "tcp", s.listener.Addr().String()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial after Close: %v", err)
	}
}
