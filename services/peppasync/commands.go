package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/ingest"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/secrets"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
	"github.com/peppasync/peppasync/services/up"
)

// shutdownGrace is how long the last spans may take to leave.
const shutdownGrace = 3 * time.Second

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "peppasync",
		Short: "Take every order in at once, feed every system at exactly the pace it can take",
		Long: `Peppasync stands between shops and the systems behind them. It keeps every
order the moment it arrives, runs the business rules, and feeds ERP, warehouse
and shop at exactly the pace that each allows.

Start with:         peppasync up -f deploy/demo
One process a role: peppasync apply -f DIR --nats URL, then each role with --nats URL.`,
		SilenceUsage: true, SilenceErrors: true, Version: version(),
	}
	root.AddCommand(
		newUp(), newApply(), newValidate(), newNATS(), newConnectors(), newHolds(), newRelease(), newReplay(), newImport(), newSources(),
		newCRD(), newBootstrap(),
	)
	for _, role := range up.Roles() {
		root.AddCommand(newRole(role))
	}
	return root
}

// shared are the flags that every process has.
type shared struct {
	secretsDir, logFormat, logLevel, otlp, metrics, owner string
	// kubernetes: secrets are those of the pod's namespace.
	kubernetes bool
	// readiness is told about at the metrics' address; nil in the all-in-one, whose
	// ingest tells.
	readiness *up.Readiness
}

func (s *shared) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&s.secretsDir, "secrets-dir", "",
		"folder with one folder for each secret and one file for each key; the environment (PEPPASYNC_SECRET_<NAME>_<KEY>) is read too")
	flags.BoolVar(&s.kubernetes, "secrets-kubernetes", false,
		"secrets are those of this pod's namespace, each granted to its ServiceAccount by name; read from the API server, at most 10 s old")
	flags.StringVar(&s.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&s.otlp, "otlp-endpoint", "",
		"base URL of an OTLP/HTTP collector for traces and metrics, such as http://localhost:4318 (default: $OTEL_EXPORTER_OTLP_ENDPOINT, or none)")
	flags.StringVar(&s.metrics, "metrics-listen", "",
		"where Prometheus reads /metrics, such as 127.0.0.1:9464; a role by itself answers /healthz and /readyz there, too (default: nowhere)")
	flags.StringVar(&s.owner, "owner", hostname(), "name of this process in the ledger, different for each replica")
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "peppasync"
	}
	return name
}

// environment returns what roles work with, and what ends it.
func (s *shared) environment(ctx context.Context, service string, stderr io.Writer) (up.Environment, func(), error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.logLevel)); err != nil {
		return up.Environment{}, nil, fmt.Errorf("--log-level is %q, it must be debug, info, warn or error", s.logLevel)
	}
	if s.logFormat != "text" && s.logFormat != "json" {
		return up.Environment{}, nil, fmt.Errorf("--log-format is %q, it must be text or json", s.logFormat)
	}
	resolver, err := s.resolver()
	if err != nil {
		return up.Environment{}, nil, err
	}
	observed, err := telemetry.Setup(ctx, telemetry.Options{
		Service: service, Version: version(), OTLPEndpoint: s.otlp, Prometheus: s.metrics != "",
	})
	if err != nil {
		return up.Environment{}, nil, err
	}
	logger := telemetry.NewLogger(stderr, s.logFormat, level)
	stopMetrics, err := serveMetrics(ctx, s.metrics, observed.Metrics(), s.readiness, logger)
	if err != nil {
		return up.Environment{}, nil, err
	}
	end := func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		stopMetrics()
		_ = observed.Shutdown(last) // the collector is away: nobody is left to tell
	}
	return up.Environment{Owner: s.owner, Secrets: resolver, Telemetry: observed, Logger: logger, Readiness: s.readiness}, end, nil
}

// resolver returns where the secrets are read. The environment comes last in any case.
func (s *shared) resolver() (secrets.Resolver, error) {
	environment := secrets.Environment(os.Environ())
	switch {
	case s.kubernetes && s.secretsDir != "":
		return nil, errors.New("--secrets-kubernetes and --secrets-dir are two places for the same secrets; give one")
	case s.kubernetes:
		cluster, err := secrets.InCluster()
		if err != nil {
			return nil, fmt.Errorf("--secrets-kubernetes: %w", err)
		}
		return secrets.Chain(secrets.Kubernetes(cluster), environment), nil
	case s.secretsDir != "":
		return secrets.Chain(secrets.Directory(s.secretsDir), environment), nil
	}
	return environment, nil
}

func newUp() *cobra.Command {
	var (
		flags                                           shared
		files, data, listen, nats, rpc, programs, ready string
		maxStore                                        int64
	)
	c := &cobra.Command{
		Use:   "up -f DIR",
		Short: "Run everything in this process, on an embedded NATS",
		Long: `Runs every role in one process on an embedded NATS that writes through to
disk. DIR holds the Connector, Flow, StockPool and NotificationPolicy files;
edits take effect at once, and a broken edit changes nothing.`,
		Example: `  peppasync up -f deploy/demo --secrets-dir ./secrets
  peppasync up -f ./config --data /var/lib/peppasync --listen :8080`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			e, end, err := flags.environment(c.Context(), "peppasync", c.ErrOrStderr())
			if err != nil {
				return err
			}
			defer end()
			if err := checkStore(maxStore); err != nil {
				return err
			}
			if e.Webhooks, err = new(net.ListenConfig).Listen(c.Context(), "tcp", listen); err != nil {
				return fmt.Errorf("--listen %s: %w", listen, err)
			}
			if e.GRPC, err = listenGRPC(c.Context(), "grpc-listen", rpc); err != nil {
				return err
			}
			if e.Programs, err = listenGRPC(c.Context(), "ingest-grpc-listen", programs); err != nil {
				return err
			}
			return up.Run(c.Context(), up.Config{
				Environment: e, Files: files, Data: data, NATSListen: nats, MaxStore: maxStore,
				Ready: func(webhooks, nats string) {
					e.Logger.Info("up", "webhooks", webhooks+"/v1/webhooks/<connector>", "nats", nats, "grpc", addressOf(e.GRPC),
						"ingest-grpc", addressOf(e.Programs), "data", data)
					bound := addresses{Webhooks: webhooks, NATS: nats, GRPC: addressOf(e.GRPC), IngestGRPC: addressOf(e.Programs)}
					if err := writeReady(ready, bound); err != nil {
						e.Logger.Error("--ready-file could not be written", "error", err)
					}
				},
			})
		},
	}
	flags.register(c)
	f := c.Flags()
	f.StringVarP(&files, "files", "f", "", "folder of YAML files (required)")
	f.StringVar(&data, "data", "./data", "folder of the embedded NATS: orders are kept here")
	f.StringVar(&listen, "listen", "127.0.0.1:8080", "where webhooks are taken in")
	f.StringVar(&nats, "nats-listen", "", "where the embedded NATS serves other processes, such as 127.0.0.1:4222 (default: nobody)")
	registerGRPC(c, &rpc)
	registerPrograms(c, "ingest-grpc-listen", &programs)
	f.Int64Var(&maxStore, "max-store", 0, "most bytes that orders may take on disk; beyond it senders get 503 (default: 80% of what is free)")
	f.StringVar(&ready, "ready-file", "", "file to write the addresses to, as JSON, once everything is started")
	required(c, "files")
	return c
}

// minStore is below what a few orders need with all that follows from them: a
// third of it has to hold the largest event.
const minStore = 4 << 20

func checkStore(bytes int64) error {
	if bytes != 0 && bytes < minStore {
		return fmt.Errorf("--max-store is %d, it must be at least %d bytes, or 0 for 80%% of what is free", bytes, minStore)
	}
	return nil
}

// addresses is what a ready file says; what a process does not serve is empty.
type addresses struct {
	Webhooks string `json:"webhooks"`
	NATS     string `json:"nats"`
	GRPC     string `json:"grpc,omitempty"`
	// IngestGRPC is where programs hand orders in.
	IngestGRPC string `json:"ingestGRPC,omitempty"`
	Monitor    string `json:"monitor,omitempty"`
}

// writeReady writes the file in one step, so that a reader never sees half of
// it.
func writeReady(path string, a addresses) error {
	if path == "" {
		return nil
	}
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".next")
	if err := os.WriteFile(next, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

func newRole(role up.Role) *cobra.Command {
	var (
		flags              = shared{readiness: &up.Readiness{}}
		nats               server
		listen, rpc, ready string
		monitor            string
	)
	c := &cobra.Command{
		Use:   role.Name + " --nats URL",
		Short: role.Summary,
		Long: role.Summary + `.

Runs this role alone. The streams and the catalog must be there: make them with
"peppasync apply".`,
		Example: "  peppasync " + role.Name + " --nats nats://127.0.0.1:4222",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			boundMemory(role.Name)
			e, end, err := flags.environment(c.Context(), role.Name, c.ErrOrStderr())
			if err != nil {
				return err
			}
			defer end()
			bound, err := bind(c.Context(), role, &e, listen, rpc)
			if err != nil {
				return err
			}
			if bound != (addresses{}) {
				if err := writeReady(ready, bound); err != nil {
					return fmt.Errorf("--ready-file: %w", err)
				}
			}
			connect := nats.options()
			connect.MonitorURL = monitor
			return role.Run(c.Context(), connect, e)
		},
	}
	flags.register(c)
	nats.register(c)
	switch role.Name {
	case ingest.Role:
		registerPrograms(c, "grpc-listen", &rpc)
		c.Flags().StringVar(&listen, "listen", ":8080", "where webhooks are taken in; /healthz and /readyz tell how it does")
		c.Flags().StringVar(&ready, "ready-file", "", "file to write the address to, as JSON, once it is bound")
		c.Flags().StringVar(&monitor, "nats-monitor", "",
			"URL of NATS's HTTP monitoring, such as http://127.0.0.1:8222; of a cluster all, separated by commas: "+
				"/readyz says no where a server does not sync every write (default: not looked at)")
	case throttledispatcher.Role:
		registerGRPC(c, &rpc)
		c.Flags().StringVar(&ready, "ready-file", "", "file to write the address of gRPC to, as JSON, once it is bound")
	}
	return c
}

// bind opens what a role listens on, and returns where.
func bind(ctx context.Context, role up.Role, e *up.Environment, listen, rpc string) (addresses, error) {
	var bound addresses
	var err error
	if listen != "" {
		if e.Webhooks, err = new(net.ListenConfig).Listen(ctx, "tcp", listen); err != nil {
			return bound, fmt.Errorf("--listen %s: %w", listen, err)
		}
		bound.Webhooks = "http://" + e.Webhooks.Addr().String()
		e.Logger.InfoContext(ctx, "listening", "webhooks", bound.Webhooks)
	}
	listener, err := listenGRPC(ctx, "grpc-listen", rpc)
	if err != nil {
		return bound, err
	}
	switch {
	case listener == nil:
		return bound, nil
	case role.Name == ingest.Role:
		e.Programs, bound.IngestGRPC = listener, addressOf(listener)
	default:
		e.GRPC, bound.GRPC = listener, addressOf(listener)
	}
	e.Logger.InfoContext(ctx, "listening", "grpc", addressOf(listener))
	return bound, nil
}

// dispatcherMemory is from where on the collector of the throttle-dispatcher works
// harder rather than let the process grow, which is to stay under 300 MB with its
// program. By default the heap grows to twice what lives in it before it is looked at:
// over a backlog spread over 200 connectors the process took 390 MB, and with this 260.
const dispatcherMemory = 200 << 20

// ingestMemory is the same for ingest, which is to stay under 200 MB with its program and
// 512 senders (170 MB with a bound of 190, and a third less without any), and ingestGarbage the
// percentage of what lives that may be garbage before it is looked at, 100 by default. What
// lives is a few MB until the index of ids is full, and was looked at all the time in
// a spike, for a twentieth of the work of taking a webhook.
const (
	ingestMemory  = 150 << 20
	ingestGarbage = 400
)

// boundMemory bounds the memory of this process, unless GOMEMLIMIT and GOGC, the runtime's
// own variables, say how. It is no hard bound: what is needed is taken all the same.
func boundMemory(role string) {
	limit, garbage := map[string]int64{
		throttledispatcher.Role: dispatcherMemory, ingest.Role: ingestMemory,
	}[role], map[string]int{ingest.Role: ingestGarbage}[role]
	if limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
	if garbage > 0 && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
}

func newValidate() *cobra.Command {
	var files string
	c := &cobra.Command{
		Use:     "validate -f DIR",
		Short:   "Check a folder of YAML without starting anything",
		Example: "  peppasync validate -f deploy/demo",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			resources, err := load(files)
			if err != nil {
				return err
			}
			if err := advise(c, resources); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%d resources are fine\n", len(resources))
			return err
		},
	}
	c.Flags().StringVarP(&files, "files", "f", "", "folder of YAML files (required)")
	required(c, "files")
	return c
}

func load(files string) ([]catalog.Resource, error) {
	resources, problems := catalog.LoadDir(files)
	_, more := catalog.Compile(resources, systems.Set())
	problems = append(problems, more...)
	if len(problems) > 0 {
		return nil, fmt.Errorf("%d problem(s) in %s:\n%w", len(problems), files, problems)
	}
	return resources, nil
}

// advise says on the standard error what may be a mistake in resources that compile.
func advise(c *cobra.Command, resources []catalog.Resource) error {
	for _, advice := range catalog.Advice(resources, systems.Set()) {
		if _, err := fmt.Fprintf(c.ErrOrStderr(), "warning: %s\n", advice); err != nil {
			return err
		}
	}
	return nil
}

// required marks a flag; that it exists is certain here.
func required(c *cobra.Command, flag string) {
	if err := c.MarkFlagRequired(flag); err != nil {
		panic(err)
	}
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
