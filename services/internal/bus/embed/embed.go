// Package embed runs a NATS server inside this process, on a data folder, with
// every write synced to disk before it is acknowledged. It is the only package
// that knows nats-server.
package embed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	maxPayload = 8 << 20
	// Records live on disk; memory is for ephemeral consumers only.
	maxMemory = 64 << 20
	// The server's default of 50 open atomic batches per stream refuses a busy
	// order shard.
	batchesPerStream = 200
	batchesInAll     = 2000

	readyTimeout = 30 * time.Second
)

// Options of Start.
type Options struct {
	// DataDir is made where it is missing. One server at a time may use it; what a
	// member has used is that member's for ever, and nobody else is started on it.
	DataDir string
	// Listen is the TCP address to serve on, such as "127.0.0.1:4222"; port 0
	// takes a free one. Empty serves connections of this process only.
	Listen string
	// Monitor is where the server's HTTP monitoring listens, such as
	// "127.0.0.1:8222". Empty for nowhere.
	Monitor string
	// Cluster makes it a member of one; nil for a server alone. A member is ready
	// before it has met the others: streams are served once most of them are there.
	Cluster *Cluster
	// Security is the folder of "peppasync bootstrap --dir": it is served over TLS, to its
	// users alone. Empty for everybody.
	Security string
	// MaxStore bounds the bytes on disk; 0 takes 80% of what the disk has free,
	// together with what the folder holds already.
	MaxStore int64
	Logger   *slog.Logger
	// Configure changes the server's own options last, for what tests need
	// (users and their permissions). nil outside them.
	Configure func(*server.Options)
}

// Server is a running server.
type Server struct {
	ns    *server.Server
	lock  *os.File
	sync  bool
	store int64
}

// Start returns a server that is ready for JetStream. An error says which of the
// options to change.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.DataDir == "" {
		return nil, errors.New("embedded NATS: no data folder is named")
	}
	if err := os.MkdirAll(o.DataDir, 0o750); err != nil {
		return nil, fmt.Errorf("embedded NATS: data folder: %w", err)
	}
	lock, err := lockFolder(o.DataDir)
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, o)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	return s, nil
}

func start(ctx context.Context, o Options) (*Server, error) {
	options, err := serverOptions(o)
	if err != nil {
		return nil, err
	}
	if err := claimFolder(o.DataDir, o.Cluster); err != nil {
		return nil, err
	}
	ns, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	problems := newLogAdapter(o.Logger)
	ns.SetLoggerV2(problems, false, false, false)
	ns.Start()
	if err := awaitReady(ctx, ns, options, problems); err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, err
	}
	s := &Server{ns: ns, sync: options.SyncAlways, store: options.JetStreamMaxStore}
	if err := s.checkStore(ctx, o); err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, err
	}
	return s, nil
}

// checkStore says so where more is stored than may be: nothing could be written.
// Only where the bound was asked for can whoever asked give more.
func (s *Server) checkStore(ctx context.Context, o Options) error {
	jsz, err := s.ns.Jsz(nil)
	if err != nil {
		return fmt.Errorf("embedded NATS: asking how much is stored: %w", err)
	}
	if jsz.Store <= uint64(s.store) { //nolint:gosec // never negative
		return nil
	}
	if o.MaxStore > 0 {
		return fmt.Errorf("embedded NATS: %s holds %d bytes and may hold %d: nothing could be written; allow more", o.DataDir, jsz.Store, s.store)
	}
	if o.Logger != nil {
		o.Logger.WarnContext(ctx, "nothing can be stored: the folder holds more than 80% of what the disk would have without it; free some of the disk",
			"folder", o.DataDir, "bytes", jsz.Store, "allowed", s.store)
	}
	return nil
}

// MaxStore returns how many bytes may be stored.
func (s *Server) MaxStore() int64 { return s.store }

// Reserved returns how many bytes the bounds of the streams add up to. Where that
// is more than MaxStore, the server refuses every change of a stream.
func (s *Server) Reserved() int64 {
	jsz, err := s.ns.Jsz(nil)
	if err != nil {
		return 0
	}
	return int64(jsz.ReservedStore) //nolint:gosec // no disk has 2^63 bytes
}

func serverOptions(o Options) (*server.Options, error) {
	maxStore := o.MaxStore
	if maxStore <= 0 {
		var err error
		if maxStore, err = storeBudget(o.DataDir); err != nil {
			return nil, err
		}
	}
	options := &server.Options{
		ServerName: "peppasync-embedded",
		StoreDir:   o.DataDir,
		JetStream:  true,
		// What "sync_interval: always" of the configuration file sets.
		SyncAlways:         true,
		SyncInterval:       2 * time.Minute,
		JetStreamMaxStore:  maxStore,
		JetStreamMaxMemory: maxMemory,
		JetStreamLimits: server.JSLimitOpts{
			MaxBatchInflightPerStream: batchesPerStream,
			MaxBatchInflightTotal:     batchesInAll,
		},
		MaxPayload: maxPayload,
		NoSigs:     true,
		DontListen: o.Listen == "",
	}
	if o.Listen != "" {
		var err error
		if options.Host, options.Port, err = splitAddress("listen address", o.Listen); err != nil {
			return nil, err
		}
	}
	if o.Monitor != "" {
		var err error
		if options.HTTPHost, options.HTTPPort, err = splitAddress("monitoring address", o.Monitor); err != nil {
			return nil, err
		}
	}
	if o.Cluster != nil {
		if err := o.Cluster.join(options); err != nil {
			return nil, err
		}
		if o.Listen == "" {
			// It would wait for its clients' listener before it listens to members.
			return nil, errors.New("embedded NATS: a member of a cluster needs a listen address for its clients")
		}
	}
	if o.Security != "" {
		if err := secure(options, o.Security); err != nil {
			return nil, err
		}
	}
	if o.Configure != nil {
		o.Configure(options)
	}
	return options, nil
}

// awaitReady waits until clients are served and JetStream is up. The server
// tells of a port that is taken or a store that cannot be read only in its log.
func awaitReady(ctx context.Context, ns *server.Server, options *server.Options, problems *logAdapter) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout,
		fmt.Errorf("not ready after %v", readyTimeout))
	defer cancel()
	for {
		if ns.ReadyForConnections(10*time.Millisecond) && ns.JetStreamEnabled() {
			return nil
		}
		if reason := problems.fatal(); reason != "" {
			return fmt.Errorf("embedded NATS: %s", reason)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("embedded NATS in %s: %w", options.StoreDir, context.Cause(ctx))
		}
	}
}

// InProcessConn returns a connection without a socket. With it a Server is the
// provider that the bus connects by.
func (s *Server) InProcessConn() (net.Conn, error) { return s.ns.InProcessConn() }

// InProcess returns the provider of connections without a socket.
func (s *Server) InProcess() *Server { return s }

// SyncAlways reports whether every write is on disk before it is acknowledged.
func (s *Server) SyncAlways() bool { return s.sync }

// URL returns where TCP clients connect, or "" where there is no listener.
func (s *Server) URL() string {
	if s.ns.Addr() == nil {
		return ""
	}
	return s.ns.ClientURL()
}

// MonitorURL returns the base of the HTTP monitoring, or "" where it is off.
func (s *Server) MonitorURL() string {
	address := s.ns.MonitorAddr()
	if address == nil {
		return ""
	}
	return "http://" + address.String()
}

// Stop ends the server, waits until its files are closed, and frees the folder.
func (s *Server) Stop() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	_ = s.lock.Close() // frees the lock; nothing was written to it
}

// lockName is the file that says who uses a folder.
const lockName = "peppasync.lock"

func lockPath(dir string) string { return filepath.Join(dir, lockName) }
