package up

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/ingest"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/secrets"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	inventoryreconciler "github.com/peppasync/peppasync/services/inventory-reconciler"
	logicgate "github.com/peppasync/peppasync/services/logic-gate"
	"github.com/peppasync/peppasync/services/notifier"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// Environment is what a role gets to work with, in the all-in-one and as a
// process of its own alike.
type Environment struct {
	// Owner names this process among its likes, such as the pod's name.
	Owner     string
	Secrets   secrets.Resolver
	Logger    *slog.Logger
	Telemetry *telemetry.Telemetry
	// Webhooks is where ingest listens; nil for other roles.
	Webhooks net.Listener
	// Programs is where ingest takes orders in over gRPC; nil for nowhere.
	Programs net.Listener
	// GRPC is where the throttle-dispatcher tells about its connectors; nil for
	// nowhere.
	GRPC net.Listener
	// Readiness is told of a role that runs by itself; nil where nobody asks.
	Readiness *Readiness
}

// Role is one of the services.
type Role struct {
	Name string
	// Summary is what --help says about it.
	Summary string
	// early: it has something to say before there is a catalog. Senders must get
	// an answer, not a connection that hangs.
	early bool
	run   func(ctx context.Context, b *bus.Bus, store *catalog.Store, e Environment) error
}

// Roles returns all services, in the order in which data goes through them.
func Roles() []Role {
	return []Role{
		{Name: "ingest", Summary: "Take webhooks and what programs hand in, keep them, and only then answer", early: true, run: runIngest},
		{Name: "logic-gate", Summary: "Turn events into orders and orders into deliveries", run: runLogicGate},
		{Name: "throttle-dispatcher", Summary: "Make every call to every external system, within its limits", run: runDispatcher},
		{Name: "inventory-reconciler", Summary: "Keep the stock that shops show in step with the source of truth", run: runReconciler},
		{Name: "notifier", Summary: "Tell people what is on hold", run: runNotifier},
	}
}

// Run connects the role to the bus, waits for the catalog, and works until ctx
// is done. It has ended well as well where that is before there is a catalog.
func (r Role) Run(ctx context.Context, connect bus.Options, e Environment) error {
	e.Logger = e.Logger.With("role", r.Name)
	connect.Name, connect.Logger = r.Name, e.Logger
	b, err := bus.Connect(ctx, connect)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	defer b.Close()
	store, err := r.catalog(ctx, b, e.Logger)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("%s: waiting for the catalog: %w", r.Name, err)
	}
	e.Readiness.begins(b.Healthy)
	if err := r.run(ctx, b, store, e); err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	return nil
}

func (r Role) catalog(ctx context.Context, b *bus.Bus, log *slog.Logger) (*catalog.Store, error) {
	if r.early {
		return catalog.Follow(ctx, b, systems.Set(), log), nil
	}
	return catalog.Watch(ctx, b, systems.Set(), log)
}

func runIngest(ctx context.Context, b *bus.Bus, store *catalog.Store, e Environment) error {
	role, err := ingest.New(ingest.Config{
		Bus: b, Catalog: store, Sources: systems.Sources(), Systems: systems.All(), Secrets: e.Secrets,
		Listener: e.Webhooks, GRPC: e.Programs, Logger: e.Logger, Telemetry: e.Telemetry,
	})
	if err != nil {
		return err
	}
	return role.Run(ctx)
}

func runLogicGate(ctx context.Context, b *bus.Bus, store *catalog.Store, e Environment) error {
	role, err := logicgate.New(logicgate.Config{
		Bus: b, Catalog: store, Sources: systems.Sources(), Systems: systems.All(), Logger: e.Logger, Telemetry: e.Telemetry,
	})
	if err != nil {
		return err
	}
	return role.Run(ctx)
}

func runDispatcher(ctx context.Context, b *bus.Bus, store *catalog.Store, e Environment) error {
	role, err := throttledispatcher.New(throttledispatcher.Config{
		Bus: b, Catalog: store, Systems: systems.All(), Secrets: e.Secrets,
		Owner: e.Owner, Listener: e.GRPC, Logger: e.Logger, Telemetry: e.Telemetry,
	})
	if err != nil {
		return err
	}
	return role.Run(ctx)
}

func runReconciler(ctx context.Context, b *bus.Bus, store *catalog.Store, e Environment) error {
	role, err := inventoryreconciler.New(inventoryreconciler.Config{
		Bus: b, Catalog: store, Logger: e.Logger, Telemetry: e.Telemetry,
	})
	if err != nil {
		return err
	}
	return role.Run(ctx)
}

func runNotifier(ctx context.Context, b *bus.Bus, store *catalog.Store, e Environment) error {
	role, err := notifier.New(notifier.Config{Bus: b, Catalog: store, Logger: e.Logger, Telemetry: e.Telemetry})
	if err != nil {
		return err
	}
	return role.Run(ctx)
}
