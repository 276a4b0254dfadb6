// Package bus is how the roles meet: streams, subjects, publishing with
// compare-and-set, consuming in order, and the classes of what can go wrong, on
// NATS JetStream. It is the only package that knows nats.go. What it guarantees
// is written down in services/docs/adr/0003-bus.md.
package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// requestTimeout bounds what comes without a deadline of its own. A crashed
	// leader is replaced within 4 to 9 s; callers try again.
	requestTimeout = 5 * time.Second
	// Two silent pings end a connection whose other end is gone without a word.
	pingInterval = 3 * time.Second
	maxPings     = 2

	reconnectWait   = 100 * time.Millisecond
	reconnectJitter = 100 * time.Millisecond
)

// Options of Connect.
type Options struct {
	// URL of the server, such as "nats://nats:4222"; several are separated by
	// commas. Ignored where InProcess is set.
	URL string
	// Name of the client; it is also its inbox prefix ("_INBOX_<name>"), so that
	// permissions can be cut by role.
	Name string
	// Inbox takes the place of Name in that prefix, for several programs that one
	// user's permissions are for. Empty for Name.
	Inbox string
	// InProcess connects without a socket, to an embedded server.
	InProcess nats.InProcessConnProvider
	// Credentials is the path of a credentials file (JWT and seed), or empty.
	Credentials string
	// CA is the path of the certificate that signs those of the servers, in PEM; with it
	// nothing but TLS 1.3 is spoken. Empty for what the URL says.
	CA string
	// NKey is the path of a file with the seed of an nkey user, or empty.
	NKey string
	// MonitorURL is the base of the server's HTTP monitoring, such as
	// "http://nats:8222", by which Healthy sees whether it syncs every write; of a
	// cluster those of all its servers, separated by commas. Clients cannot see that
	// over NATS. Empty leaves it unchecked.
	MonitorURL string
	Logger     *slog.Logger
}

// Bus is one connection. It is safe for concurrent use.
type Bus struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	log    *slog.Logger
	sync   syncReporter
	closed chan struct{}
	denied denials
	outage outage
	// clustered: the server that it was connected to last belongs to a cluster.
	clustered atomic.Bool

	// newest are the newest sequences of streams, consumers the names of their
	// consumers.
	newest    shared[uint64]
	consumers shared[[]string]

	mu      sync.Mutex
	streams map[string]jetstream.Stream
	link    *link
}

// Connect returns a bus that connects, and connects again whenever it has to.
// A server that is not there yet is no error: calls fail as unavailable, and
// Healthy says so, until it is. The error is for what waiting cannot heal.
func Connect(ctx context.Context, o Options) (*Bus, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &Bus{
		log:     log.With("component", "bus"),
		closed:  make(chan struct{}),
		streams: make(map[string]jetstream.Stream),
		link:    newLink(),
	}
	b.outage.log, b.outage.servers = b.log, addresses(o.URL)
	if o.MonitorURL != "" {
		b.sync = newMonitors(o.MonitorURL)
	}
	options := []nats.Option{
		nats.Name(o.Name),
		nats.CustomInboxPrefix("_INBOX_" + token(cmp.Or(o.Inbox, o.Name))),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.RetryOnFailedConnect(true),
		// A credential that is refused today may be renewed tomorrow.
		nats.IgnoreAuthErrorAbort(),
		// Nothing is kept for later in memory: a publish that is not on its way
		// to the server fails at once.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.ConnectHandler(b.onConnect),
		nats.ReconnectHandler(b.onConnect),
		nats.DisconnectErrHandler(b.onDisconnect),
		nats.ReconnectErrHandler(b.onFailedConnect),
		nats.ErrorHandler(b.onError),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
	}
	secure, own, err := o.security(b.log)
	if err != nil {
		return nil, err
	}
	options = append(options, secure...)
	if o.InProcess != nil {
		options = append(options, nats.InProcessServer(o.InProcess))
		if local, tells := o.InProcess.(interface{ SyncAlways() bool }); tells {
			b.sync = inProcess{local}
		}
	}
	nc, err := nats.Connect(o.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("bus: connect %s: %w", describeURL(o), withoutAddress(err))
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(requestTimeout))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("bus: connect: %w", err)
	}
	b.nc, b.js = nc, js
	if own != nil {
		own.belongsTo(nc)
	}
	if nc.IsConnected() {
		// The handler says so too, a moment later.
		b.clustered.Store(nc.ConnectedClusterName() != "")
		b.link.up()
	}
	return b, nil
}

// Clustered reports whether the server that the connection is made to, or was the last
// time, belongs to a cluster.
func (b *Bus) Clustered() bool { return b.clustered.Load() }

func (b *Bus) onConnect(nc *nats.Conn) {
	if nc.IsConnected() {
		b.clustered.Store(nc.ConnectedClusterName() != "")
	}
	b.denied.clear() // the server may have been given other permissions
	b.link.up()
	b.outage.end()
	b.log.Debug("connected", "server", nc.ConnectedServerName())
}

func (b *Bus) onDisconnect(nc *nats.Conn, err error) {
	b.link.down(errDisconnected)
	if !nc.IsClosed() {
		b.outage.begin("connection to NATS lost, connecting again", err)
	}
}

func (b *Bus) onError(_ *nats.Conn, _ *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		if !b.denied.add(err) {
			return
		}
		b.log.Error("NATS denies a subject to this role; give its user the permission", "error", err)
		return
	}
	b.log.Warn("NATS reports a problem", "error", err)
}

// Close lets the handlers that run finish, sends what is buffered, and
// disconnects. It returns when that is done, or after a few seconds.
func (b *Bus) Close() {
	if err := b.nc.Drain(); err != nil {
		b.nc.Close()
	}
	timer := time.NewTimer(requestTimeout)
	defer timer.Stop()
	select {
	case <-b.closed:
	case <-timer.C:
		b.nc.Close()
		<-b.closed
	}
	b.link.down(nats.ErrConnectionClosed)
	b.link.up() // wakes who waits for the connection, to find it closed
}

// stream returns a handle of a stream, asked of the server once: handles are
// names, and stay right when the stream is made anew.
func (b *Bus) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	b.mu.Lock()
	s := b.streams[name]
	b.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.streams[name] = s
	b.mu.Unlock()
	return s, nil
}

func describeURL(o Options) string {
	if o.InProcess != nil {
		return "to the embedded server"
	}
	return "to NATS" // the URL may hold a password
}
