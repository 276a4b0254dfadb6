package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/operator"
)

const (
	// shutdownGrace is how long the last spans may take to leave.
	shutdownGrace = 3 * time.Second
	readTimeout   = 5 * time.Second
	// namespaceFile is where Kubernetes tells a pod its namespace.
	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// flags are what the command line says beside Config.
type flags struct {
	config                              operator.Config
	bus                                 bus.Options
	service, admission, health, metrics string
	logFormat, logLevel, otlp           string
}

func newCommand() *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   "peppasync-operator --nats URL",
		Short: "Make the custom resources of a namespace the catalog that the roles work by",
		Args:  cobra.NoArgs, SilenceUsage: true, SilenceErrors: true, Version: version(),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	f.register(c)
	return c
}

func (f *flags) register(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.config.Namespace, "namespace", "", "the namespace that it watches and lives in (default: $POD_NAMESPACE, or that of the pod)")
	s.StringVar(&f.bus.URL, "nats", "", "URL of NATS, such as tls://nats:4222; of a cluster all, separated by commas (required)")
	s.StringVar(&f.bus.Credentials, "nats-credentials", "", "file with NATS credentials, where users have them in place of nkeys")
	s.StringVar(&f.bus.CA, "nats-ca", "",
		"file with the certificate, in PEM, that signs those of the servers: connects by TLS 1.3 (default: by what the URL says)")
	s.StringVar(&f.bus.NKey, "nats-nkey", "", "file with the nkey seed to sign in with, as \"peppasync bootstrap\" makes one for each role")
	s.StringVar(&f.bus.MonitorURL, "nats-monitor", "", "base URLs of the HTTP monitoring of all servers, separated by commas")
	s.IntVar(&f.config.Topology.Replicas, "replicas", 3, "copies of each stream; fewer than 3 are refused where NATS has three servers")
	s.IntVar(&f.config.Topology.IngestShards, "ingest-shards", 3, "streams that events are spread over; may grow")
	s.IntVar(&f.config.Topology.OrderShards, "order-shards", 4, "streams that orders are spread over; cannot be changed later")
	s.Int64Var(&f.config.Topology.StoreBytes, "store-bytes", 0, "what NATS may store in all, its max_file_store (default: as told before)")
	s.StringSliceVar(&f.config.Dispatchers, "dispatcher", []string{"peppasync-throttle-dispatcher:9090"},
		"where the throttle-dispatcher serves gRPC; a host name stands for all of its addresses")
	s.DurationVar(&f.config.StatusEvery, "status-every", time.Second, "how often status is looked at; it is written where it changed")
	s.StringVar(&f.config.IngestRole, "ingest-role", "peppasync-ingest-secrets", "the Role by which ingest reads the Secrets that Connectors name for it")
	s.StringVar(&f.config.DispatcherRole, "dispatcher-role", "peppasync-throttle-dispatcher-secrets", "the same of the throttle-dispatcher")
	s.StringSliceVar(&f.config.ReservedSecrets, "reserved-secrets", []string{"peppasync-nats-*"},
		"Secrets of the installation, which no Connector may name; an asterisk ends the beginning of a name")
	s.StringVar(&f.admission, "webhook-listen", ":9443", "where admission is served, over TLS")
	s.StringVar(&f.service, "webhook-service", "peppasync-operator", "the Service in front of it")
	s.StringVar(&f.config.AdmissionSecret, "webhook-secret", "peppasync-operator-webhook", "the Secret that its certificate is kept in")
	s.StringVar(&f.config.AdmissionConfiguration, "webhook-configuration", "",
		"the ValidatingWebhookConfiguration that is to trust it (default: peppasync-NAMESPACE)")
	s.StringVar(&f.health, "health-listen", ":8081", "where /healthz and /readyz are served")
	s.StringVar(&f.metrics, "metrics-listen", "", "where Prometheus reads /metrics, such as :9464 (default: nowhere)")
	s.StringVar(&f.logFormat, "log-format", "text", "text or json")
	s.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	s.StringVar(&f.otlp, "otlp-endpoint", "", "base URL of an OTLP/HTTP collector (default: $OTEL_EXPORTER_OTLP_ENDPOINT, or none)")
	if err := c.MarkFlagRequired("nats"); err != nil {
		panic(err) // the flag is above
	}
}

func (f *flags) run(c *cobra.Command) error {
	ctx := c.Context()
	log, err := f.logger(c)
	if err != nil {
		return err
	}
	if err := f.place(); err != nil {
		return err
	}
	observed, err := telemetry.Setup(ctx, telemetry.Options{
		Service: operator.Name, Version: version(), OTLPEndpoint: f.otlp, Prometheus: f.metrics != "",
	})
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		_ = observed.Shutdown(last) // the collector is away: nobody is left to tell
	}()
	stopMetrics, err := serveMetrics(ctx, f.metrics, observed.Metrics(), log)
	if err != nil {
		return err
	}
	defer stopMetrics()
	if f.config.REST, err = ctrl.GetConfig(); err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	f.config.REST.UserAgent = operator.Name + "/" + version()
	f.bus.Name, f.bus.Logger = operator.BusName, log
	if f.config.Bus, err = bus.Connect(ctx, f.bus); err != nil {
		return err
	}
	defer f.config.Bus.Close()
	if f.config.Admission, err = listen(ctx, "webhook-listen", f.admission); err != nil {
		return err
	}
	if f.config.Health, err = listen(ctx, "health-listen", f.health); err != nil {
		return err
	}
	f.config.Logger, f.config.Telemetry = log, observed
	return operator.Run(ctx, f.config)
}

// logger returns the log of this process, and makes that of the libraries the same.
func (f *flags) logger(c *cobra.Command) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level is %q, it must be debug, info, warn or error", f.logLevel)
	}
	if f.logFormat != "text" && f.logFormat != "json" {
		return nil, fmt.Errorf("--log-format is %q, it must be text or json", f.logFormat)
	}
	log := telemetry.NewLogger(c.ErrOrStderr(), f.logFormat, level).With("role", "operator")
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	klog.SetSlogLogger(log)
	return log, nil
}

// place finds the namespace, and names what is named after it.
func (f *flags) place() error {
	if f.config.Namespace == "" {
		f.config.Namespace = os.Getenv("POD_NAMESPACE")
	}
	if f.config.Namespace == "" {
		data, err := os.ReadFile(namespaceFile)
		if err != nil {
			return errors.New("--namespace is empty, and this is no pod that knows its own: name it")
		}
		f.config.Namespace = strings.TrimSpace(string(data))
	}
	if f.config.AdmissionConfiguration == "" {
		f.config.AdmissionConfiguration = "peppasync-" + f.config.Namespace
	}
	host := f.service + "." + f.config.Namespace
	f.config.AdmissionHosts = []string{host + ".svc", host, host + ".svc.cluster.local"}
	return nil
}

func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, address, err)
	}
	return listener, nil
}

// serveMetrics serves /metrics until the returned function is called; nothing where the
// address is empty.
func serveMetrics(ctx context.Context, address string, metrics http.Handler, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	listener, err := listen(ctx, "metrics-listen", address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: readTimeout}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.ErrorContext(ctx, "metrics are not served any more", "error", err)
		}
	}()
	return func() {
		_ = server.Close() // who reads now reads again elsewhere
		<-served
	}, nil
}

// linkedVersion is what the linker sets it to in images: their tag. Nothing else
// changes it.
var linkedVersion string

func version() string {
	if linkedVersion != "" {
		return linkedVersion
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}
