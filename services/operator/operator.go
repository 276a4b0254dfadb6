package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/run"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/operator/internal/access"
)

// Name is that of the program: its lease, its client on the bus and its events have it.
const Name = "peppasync-operator"

// BusName is its client's name on the bus, and so its inbox prefix.
const BusName = "operator"

const (
	defaultStatusEvery = time.Second
	// defaultLease is how long a leader that is silent is waited for.
	defaultLease = 15 * time.Second
)

// Config is what an operator needs. All is required but what has a default.
type Config struct {
	// Namespace is the one that it watches and lives in.
	Namespace string
	// REST is how it reaches the API server.
	REST *rest.Config
	// Bus is a connection of its own.
	Bus *bus.Bus
	// Topology is what the streams are to be.
	Topology bus.Topology
	// Dispatchers are where the throttle-dispatcher serves gRPC.
	Dispatchers []string
	// IngestRole and DispatcherRole are the Roles whose rules it keeps.
	IngestRole, DispatcherRole string
	// Admission is where admission is served; its certificate is for AdmissionHosts, kept
	// in AdmissionSecret, and trusted by AdmissionConfiguration.
	Admission              net.Listener
	AdmissionHosts         []string
	AdmissionSecret        string
	AdmissionConfiguration string
	// ReservedSecrets are Secrets of the installation beside AdmissionSecret, which no
	// Connector may name: names, or beginnings of names that an asterisk ends.
	ReservedSecrets []string
	// Health is where probes are answered; nil for nowhere.
	Health net.Listener
	// StatusEvery is how often status is looked at; 1s where it is 0.
	StatusEvery time.Duration
	// Lease is how long a silent leader is waited for; 15s where it is 0.
	Lease  time.Duration
	Logger *slog.Logger
	// Telemetry takes the metrics; nil for none.
	Telemetry *telemetry.Telemetry
}

// reserved are all Secrets of the installation.
func (c *Config) reserved() access.Reserved {
	return append(access.Reserved{c.AdmissionSecret}, c.ReservedSecrets...)
}

// operator is one process of possibly several. What the leader alone does is in
// configure.go and observe.go, what each does in admission.go, serving.go and ending.go.
type operator struct {
	config Config
	log    *slog.Logger
	// client reads the four kinds from the cache; reader reads what is not watched.
	client client.Client
	reader client.Reader
	events events.EventRecorder

	// changed and look wake the leader's two loops, ended the one that lets go.
	changed, look, ended chan struct{}
	ready                readiness
	verdicts             verdicts
	// onHold is what the Error Hold has of each Connector, as the leader counted last.
	onHold atomic.Pointer[map[string]onHold]
}

// Run works until ctx is done, or the lease is lost; then it returns an error, and the
// process is to end: what it was about to write is another's to write now.
func Run(ctx context.Context, c Config) error {
	if c.StatusEvery == 0 {
		c.StatusEvery = defaultStatusEvery
	}
	if c.Lease == 0 {
		c.Lease = defaultLease
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("operator: %w", err)
	}
	renew, retry := c.Lease*2/3, c.Lease/8
	mgr, err := manager.New(c.REST, manager.Options{
		Scheme: scheme, Logger: logr.FromSlogHandler(c.Logger.Handler()),
		Cache:          watched(c.Namespace),
		LeaderElection: true, LeaderElectionID: Name, LeaderElectionNamespace: c.Namespace, LeaderElectionReleaseOnCancel: true,
		LeaseDuration: &c.Lease, RenewDeadline: &renew, RetryPeriod: &retry,
		// Probes, metrics and admission are served here, on listeners that are told.
		Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
	})
	if err != nil {
		return fmt.Errorf("operator: reach the API server: %w", err)
	}
	o := &operator{
		config: c, log: c.Logger, client: mgr.GetClient(), reader: mgr.GetAPIReader(), events: mgr.GetEventRecorder(Name),
		changed: make(chan struct{}, 1), look: make(chan struct{}, 1), ended: make(chan struct{}, 1),
	}
	if err := errors.Join(o.watch(ctx, mgr.GetCache()), o.watchEnd(ctx, mgr.GetCache())); err != nil {
		return err
	}
	stopMeasuring, err := o.measure()
	if err != nil {
		return err
	}
	defer stopMeasuring()
	serving := newServing(o)
	for _, part := range []manager.Runnable{
		onLeader(o.configure), onLeader(o.observe), onAll(o.letGo), onAll(serving.keep), onAll(serving.serve), onAll(o.serveHealth),
	} {
		if err := mgr.Add(part); err != nil {
			return fmt.Errorf("operator: %w", err)
		}
	}
	return mgr.Start(ctx)
}

// onLeader runs on the leader alone, onAll everywhere.
type (
	onLeader func(ctx context.Context) error
	onAll    func(ctx context.Context) error
)

func (f onLeader) Start(ctx context.Context) error { return f(ctx) }

func (f onAll) Start(ctx context.Context) error { return f(ctx) }

func (onAll) NeedLeaderElection() bool { return false }

// supervised runs a part again when it fails.
func (o *operator) supervised(ctx context.Context, what string, part func(ctx context.Context) error) error {
	return run.Supervise(ctx, o.log, what, part)
}

// wake makes a loop run once more; it never waits.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
