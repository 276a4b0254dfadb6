// Package bustest gives tests a real bus: an embedded server of their own, on a
// folder of their own, that can be stopped and started again.
package bustest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/embed"
)

// deadline bounds what a test waits for from its own server, on a slow machine.
const deadline = 30 * time.Second

// Option changes what Start and NewServer make.
type Option func(*settings)

type settings struct {
	topology  bus.Topology
	listen    string
	maxStore  int64
	log       *slog.Logger
	configure func(*server.Options)
	security  string
}

// WithTopology replaces the default of two shards each.
func WithTopology(t bus.Topology) Option { return func(s *settings) { s.topology = t } }

// WithMaxStore bounds the server's bytes on disk.
func WithMaxStore(bytes int64) Option { return func(s *settings) { s.maxStore = bytes } }

// WithTCP makes the server listen on a free port of the loopback interface.
func WithTCP() Option { return func(s *settings) { s.listen = "127.0.0.1:0" } }

// WithLogger receives the logs of the server and of the connections.
func WithLogger(log *slog.Logger) Option { return func(s *settings) { s.log = log } }

// WithSecurity serves on a free port of loopback, by TLS, the users of a folder that
// bootstrap made. Bus and Connect sign in as its admin unless they are told otherwise.
func WithSecurity(folder string) Option {
	return func(s *settings) { s.security, s.listen = folder, "127.0.0.1:0" }
}

// WithServerOptions changes the server's own options, such as its users.
func WithServerOptions(change func(*server.Options)) Option {
	return func(s *settings) { s.configure = change }
}

// Unsynced starts a server on a folder without a sync of each write, for those who fill
// it with more than a synced one takes in a reasonable time. The caller stops it.
func Unsynced(ctx context.Context, folder string) (*embed.Server, error) {
	return embed.Start(ctx, embed.Options{DataDir: folder, Configure: func(o *server.Options) { o.SyncAlways = false }})
}

// Start returns a bus on a fresh server with the topology applied. Both end with
// the test.
func Start(t testing.TB, options ...Option) *bus.Bus {
	t.Helper()
	return NewServer(t, options...).Bus(t)
}

// Server is an embedded server that can be stopped and started on its folder.
// Its methods are safe for concurrent use.
type Server struct {
	dir      string
	settings settings

	mu      sync.Mutex
	running *embed.Server
	// address is kept over restarts, so that TCP clients find the server again.
	address string
}

// NewServer returns a running server with the topology applied. It ends with the
// test.
func NewServer(t testing.TB, options ...Option) *Server {
	t.Helper()
	s := &Server{
		dir:      t.TempDir(),
		settings: settings{topology: bus.Topology{IngestShards: 2, OrderShards: 2}},
	}
	for _, option := range options {
		option(&s.settings)
	}
	s.address = s.settings.listen
	s.StartAgain(t)
	t.Cleanup(s.Stop)
	t.Cleanup(func() { s.workedOff(t) })
	b := s.Connect(t, bus.Options{Name: "bustest"})
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := b.Apply(ctx, s.settings.topology); err != nil {
		t.Fatalf("bustest: %v", err)
	}
	b.Close()
	return s
}

// Bus returns a connected bus that ends with the test.
func (s *Server) Bus(t testing.TB) *bus.Bus {
	t.Helper()
	b := s.Connect(t, bus.Options{Name: "test"})
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := b.Healthy(ctx); err != nil {
		t.Fatalf("bustest: %v", err)
	}
	return b
}

// Connect returns a bus with the given options, in process unless they hold a
// URL. It ends with the test.
func (s *Server) Connect(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	switch {
	case s.settings.security != "":
		o.URL, o.CA = cmp.Or(o.URL, "tls://"+s.address), cmp.Or(o.CA, filepath.Join(s.settings.security, "ca", "ca.crt"))
		if o.NKey == "" {
			o.NKey, o.Inbox = filepath.Join(s.settings.security, "admin", "nkey"), "admin"
		}
	case o.URL == "" && o.InProcess == nil:
		o.InProcess = s
	}
	if o.Logger == nil {
		o.Logger = s.settings.log
	}
	b, err := bus.Connect(context.Background(), o)
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	t.Cleanup(b.Close)
	return b
}

// StartAgain starts the server on its folder, where it is stopped.
func (s *Server) StartAgain(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	running, err := embed.Start(ctx, embed.Options{
		DataDir: s.dir, Listen: s.address, MaxStore: s.settings.maxStore,
		Logger: s.settings.log, Configure: s.settings.configure, Security: s.settings.security,
	})
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	s.running = running
	if url := running.URL(); url != "" {
		_, s.address, _ = strings.Cut(url, "://")
	}
}

// Folder returns where the server keeps its files.
func (s *Server) Folder() string { return s.dir }

// Stop stops the server and closes its files. Connections stay and try again.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		s.running.Stop()
		s.running = nil
	}
}

// Restart stops the server and starts it on the same folder.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop()
	s.StartAgain(t)
}

// URL returns the server's TCP address; it needs WithTCP.
func (s *Server) URL() string { return "nats://" + s.address }

// MonitorURL returns the server's HTTP monitoring, where its options turn it on.
func (s *Server) MonitorURL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running.MonitorURL()
}

// InProcessConn returns a connection to the server as it runs now.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return nil, errors.New("bustest: the server is stopped")
	}
	return s.running.InProcessConn()
}

// SyncAlways reports what the server does; it is true while it is stopped.
func (s *Server) SyncAlways() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running == nil || s.running.SyncAlways()
}
