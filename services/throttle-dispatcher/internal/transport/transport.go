package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// Errors of an Outcome. Test with errors.Is.
var (
	// ErrNoPermit: a write that no permit covers, such as a repetition by Go's
	// transport; nothing of it was written.
	ErrNoPermit = errors.New("no permit for this write")
	// ErrPermitExpired: the permit ran out before the first byte, for a reason of this
	// side; nothing was written.
	ErrPermitExpired = errors.New("permit expired before the first byte was written")
	// ErrNotConnected: there was no connection before the permit ran out, of which at
	// least half was left; nothing was written.
	ErrNotConnected = errors.New("no connection before the permit expired")
	// ErrRecalled: Recall came before the first byte; nothing was written.
	ErrRecalled = errors.New("recalled before the first byte was written")
	// ErrForeignHost: the request is for another host than the connector's
	// endpoint; nothing was written.
	ErrForeignHost = errors.New("not the connector's endpoint")
	// ErrReplyTooLarge: the body is longer than MaxReplyBytes; status, header and
	// the bytes up to there are in the reply.
	ErrReplyTooLarge = errors.New("reply is too large")
	// ErrSwitched: the server went on in another protocol, which nobody asked for; it
	// says nothing about the request.
	ErrSwitched = errors.New("the server switched to another protocol")
	// ErrDeadline: the reply was not whole at the permit's deadline.
	ErrDeadline = errors.New("no whole reply by the deadline")
)

// Defaults of Config; a zero field means its default.
const (
	DefaultMaxReplyBytes  = 8 << 20
	DefaultMaxConnections = 64
	// DefaultIdleTimeout is below the shortest keep-alive that is usual in front
	// of such APIs (60 s), so that it is nearly always this side that closes an
	// idle connection: a server that closes one while a request is on its way
	// leaves the outcome of that request unknown.
	DefaultIdleTimeout = 45 * time.Second
	// DefaultDialTimeout bounds connecting, TLS included.
	DefaultDialTimeout = 10 * time.Second
)

// Config describes one connector's transport.
type Config struct {
	// Endpoint is the only scheme, host and port that is ever dialed.
	Endpoint string
	// MaxConnections is the connector's concurrency limit.
	MaxConnections int
	// CallTimeout and Grace are those of the budget: how long written bytes may
	// stay unacknowledged, and how long bytes of a cut connection may still be on
	// their way.
	CallTimeout time.Duration
	Grace       time.Duration
	// MaxReplyBytes bounds a reply's body after decompression.
	MaxReplyBytes int64
	IdleTimeout   time.Duration
	DialTimeout   time.Duration
	// TLS is nil for the system's roots.
	TLS *tls.Config
	// Issued, if set, is called once for each permit as soon as its first bytes
	// are with the kernel, with a time after that moment; from any goroutine.
	Issued func(number int64, at time.Time)
	// Short, if set, is called when a call whose time has come waits for long because
	// as many are under way as Allow allows; from any goroutine.
	Short func()
}

// Outcome is what became of a call.
type Outcome struct {
	connectors.Reply
	// FirstByteAt is a time before the first byte was written, zero where none
	// was.
	FirstByteAt time.Time
	// SettledAt is when nothing of the call can arrive any more: now where the
	// server has replied, Grace later where the connection had to be cut.
	SettledAt time.Time
}

// Transport makes the calls of one connector. It is safe for concurrent use.
type Transport struct {
	config Config
	scheme string
	host   string // host:port
	http   *http.Transport
	closed atomic.Bool
	gate   gate

	mu      sync.Mutex
	tickets map[*ticket]struct{} // of the calls that are in Do
}

// New returns a transport that has not dialed yet.
func New(config Config) (*Transport, error) {
	u, err := url.Parse(config.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("transport: endpoint: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return nil, fmt.Errorf("transport: endpoint %q must be http:// or https:// and a host", u.Redacted())
	}
	standard(&config.MaxConnections, DefaultMaxConnections)
	standard(&config.CallTimeout, budget.DefaultCallTimeout)
	standard(&config.Grace, budget.DefaultGrace)
	standard(&config.MaxReplyBytes, DefaultMaxReplyBytes)
	standard(&config.IdleTimeout, DefaultIdleTimeout)
	standard(&config.DialTimeout, DefaultDialTimeout)
	t := &Transport{config: config, scheme: u.Scheme, host: hostPort(u), tickets: make(map[*ticket]struct{})}
	t.gate.most, t.gate.short = config.MaxConnections, config.Short
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t.http = &http.Transport{
		// No proxy: one that buffers would make arrivals later than settlements.
		DialContext:         t.dial,
		DialTLSContext:      t.dialTLS,
		Protocols:           protocols,
		MaxConnsPerHost:     config.MaxConnections,
		MaxIdleConnsPerHost: config.MaxConnections,
		IdleConnTimeout:     config.IdleTimeout,
		// A header beyond this is not an API's.
		MaxResponseHeaderBytes: 1 << 20,
	}
	return t, nil
}

// Close closes idle connections and dials no more. Calls in flight go on.
func (t *Transport) Close() {
	t.closed.Store(true)
	t.http.CloseIdleConnections()
}

// Allow bounds how many calls are under way at a time; the bound is MaxConnections
// until then. It returns how many are now: those beyond a lower bound go on, and no
// call begins until enough have ended. What waits for room is not under way, and
// gives up when its permit expires.
func (t *Transport) Allow(most int) (underWay int) { return t.gate.allow(most) }

// UnderWay returns how many calls are, those included that were cut off and of which
// bytes may still arrive.
func (t *Transport) UnderWay() int { return t.gate.underWay() }

// Recall ends every call of which no byte is written; those under way go on.
func (t *Transport) Recall() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ticket := range t.tickets {
		ticket.recall()
	}
}

func (t *Transport) keep(ticket *ticket) (forget func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tickets[ticket] = struct{}{}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.tickets, ticket)
	}
}

// Do writes the request under the permit and returns what became of it. It may
// be called before the permit's send time: it connects at once and holds the
// first byte back until then. The reply is read whole within the permit's
// deadline. The end of ctx cuts the call off. Where Written is false, the permit
// is void. Redirects are not followed.
func (t *Transport) Do(ctx context.Context, req *http.Request, permit budget.Permit) Outcome {
	return t.DoUnless(ctx, req, permit, nil)
}

// DoUnless does nothing of that where recalled is closed. It is for who calls it from a
// goroutine of its own, closes recalled and then calls Recall: one that has not begun by
// then is none of the calls that Recall ends.
func (t *Transport) DoUnless(ctx context.Context, req *http.Request, permit budget.Permit, recalled <-chan struct{}) Outcome {
	if err := t.foreign(req); err != nil {
		if req.Body != nil {
			// Nothing was read from it; its own error changes nothing here.
			_ = req.Body.Close()
		}
		now := time.Now()
		return Outcome{Reply: connectors.Reply{Err: err, At: now}, SettledAt: now}
	}
	ctx, cancel := context.WithDeadlineCause(ctx, permit.Deadline, ErrDeadline)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ticket := &ticket{permit: permit, issued: t.config.Issued, stop: stop, gate: &t.gate, began: time.Now()}
	defer t.keep(ticket)()
	select {
	case <-recalled:
		ticket.recall()
	default:
	}
	late := time.AfterFunc(time.Until(permit.NotAfter), ticket.expire)
	defer late.Stop()
	var out Outcome
	err := t.exchange(req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			// Every connection comes from dial or dialTLS.
			if c, ok := info.Conn.(*conn); ok {
				ticket.arm(c)
			}
		},
	})), &out.Reply)
	// This ends every chance of a further byte; only then is it settled.
	out.Written = ticket.finish(err == nil)
	out.At = time.Now()
	out.SettledAt = out.At
	if out.Written {
		out.FirstByteAt = ticket.firstByteAt
		if out.Status == 0 {
			out.SettledAt = out.At.Add(t.config.Grace)
		}
	} else {
		if err == nil {
			err = errUnasked
		}
		out.Status, out.Header, out.Body = 0, nil, nil
	}
	if ticket.begun() {
		if wait := time.Until(out.SettledAt); wait > 0 {
			time.AfterFunc(wait, t.gate.leave)
		} else {
			t.gate.leave()
		}
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		out.Err = fmt.Errorf("transport: %s: %w", t.host, err)
	}
	return out
}

// errUnasked: some servers send a reply when they close an idle connection; it
// answers no request.
var errUnasked = errors.New("the server sent a reply before the request was written")

// foreign says what is wrong with a request that is not for the endpoint.
func (t *Transport) foreign(req *http.Request) error {
	if req.URL == nil {
		return fmt.Errorf("transport: the request has no URL: %w %s://%s", ErrForeignHost, t.scheme, t.host)
	}
	if got := hostPort(req.URL); req.URL.Scheme != t.scheme || got != t.host {
		return fmt.Errorf("transport: %s://%s: %w %s://%s", req.URL.Scheme, got, ErrForeignHost, t.scheme, t.host)
	}
	return nil
}

// exchange writes the request and reads the reply whole, or says why not.
func (t *Transport) exchange(req *http.Request, reply *connectors.Reply) error {
	response, err := t.http.RoundTrip(req)
	if err != nil {
		return err
	}
	// Read to its end, or cut off by whoever sees the error.
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusSwitchingProtocols {
		// Its body is the connection itself, whose reading neither ends nor heeds the
		// deadline. It is no reply: whether the request has had its effect is open.
		return fmt.Errorf("%w: status 101", ErrSwitched)
	}
	reply.Status, reply.Header = response.StatusCode, response.Header
	reply.Body, err = io.ReadAll(io.LimitReader(response.Body, t.config.MaxReplyBytes+1))
	if int64(len(reply.Body)) > t.config.MaxReplyBytes {
		reply.Body = reply.Body[:t.config.MaxReplyBytes]
		return fmt.Errorf("%w: more than %d bytes", ErrReplyTooLarge, t.config.MaxReplyBytes)
	}
	return err
}

func (t *Transport) dial(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := t.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return newConn(raw, raw), nil
}

func (t *Transport) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.config.DialTimeout)
	defer cancel()
	raw, err := t.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.config.TLS != nil {
		config = t.config.TLS.Clone()
	}
	config.NextProtos = []string{"http/1.1"}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(t.host)
	}
	secure := tls.Client(raw, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("TLS with %s: %w", t.host, err)
	}
	return newConn(secure, raw), nil
}

// connect dials the endpoint and nothing else.
func (t *Transport) connect(ctx context.Context, network, address string) (*rawConn, error) {
	if !strings.EqualFold(address, t.host) {
		return nil, fmt.Errorf("%s: %w %s", address, ErrForeignHost, t.host)
	}
	ctx, cancel := context.WithTimeout(ctx, t.config.DialTimeout)
	defer cancel()
	connection, err := reach(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tcp, ok := connection.(*net.TCPConn)
	if !ok {
		_ = connection.Close()
		return nil, fmt.Errorf("%s: %T is not a TCP connection", address, connection)
	}
	// Set now and not when the call fails: if this process dies, the kernel drops
	// what it has not sent instead of delivering it after the fact.
	if err := errors.Join(tcp.SetLinger(0), setUserTimeout(tcp, t.config.CallTimeout)); err != nil {
		_ = tcp.Close()
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	if t.closed.Load() {
		_ = tcp.Close()
		return nil, fmt.Errorf("%s: %w", address, net.ErrClosed)
	}
	return &rawConn{TCPConn: tcp}, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func standard[T int | int64 | time.Duration](value *T, otherwise T) {
	if *value <= 0 {
		*value = otherwise
	}
}
