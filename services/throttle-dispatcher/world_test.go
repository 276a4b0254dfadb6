package throttledispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/expr"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/internal/secrets"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

func TestMain(m *testing.M) {
	bustest.RunNode()
	if err := manyAtOnce(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// patience bounds what a test waits for on a slow machine.
const patience = time.Minute

// catalog is a catalog of one flow, which the test changes.
type catalog struct {
	mu         sync.Mutex
	connectors map[string]*v1alpha1.Connector
	mapping    *expr.Mapping
	when       *expr.Condition
	// gone: the flow has no such step.
	gone    bool
	changed chan struct{}
}

func (c *catalog) Connectors() map[string]*v1alpha1.Connector {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.connectors)
}

func (c *catalog) Step(string, string) (*expr.Condition, *expr.Mapping, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.when, c.mapping, !c.gone
}

func (c *catalog) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// change makes a change known.
func (c *catalog) change(how func(c *catalog)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	how(c)
	close(c.changed)
	c.changed = make(chan struct{})
}

// respec changes the connector's spec.
func (c *catalog) respec(how func(spec *v1alpha1.ConnectorSpec)) {
	c.change(func(c *catalog) {
		connector := c.connectors["wms"].DeepCopy()
		how(&connector.Spec)
		c.connectors["wms"] = connector
	})
}

func mappingOf(t testing.TB, source string) *expr.Mapping {
	t.Helper()
	compiler, err := expr.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := compiler.Mapping(source)
	if err != nil {
		t.Fatal(err)
	}
	return mapping
}

func conditionOf(t testing.TB, source string) *expr.Condition {
	t.Helper()
	compiler, err := expr.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	condition, err := compiler.Condition(source)
	if err != nil {
		t.Fatal(err)
	}
	return condition
}

// window is a limit of calls in any span of length per.
func window(calls int64, per time.Duration) v1alpha1.Limit {
	limit := v1alpha1.Limit{Name: "window", RollingWindow: &v1alpha1.RollingWindow{Calls: calls, Per: metav1.Duration{Duration: per}}}
	connector := v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{Limits: []v1alpha1.Limit{limit}}}
	connector.SetDefaults()
	return connector.Spec.Limits[0]
}

func connectorAt(endpoint string, calls int64, per time.Duration) *v1alpha1.Connector {
	c := &v1alpha1.Connector{ObjectMeta: metav1.ObjectMeta{Name: "wms"}, Spec: v1alpha1.ConnectorSpec{
		System: v1alpha1.SystemHTTP, Endpoint: endpoint,
		HTTP: &v1alpha1.HTTPSettings{
			Operations: []v1alpha1.HTTPOperation{
				{Name: "putOrder", Method: http.MethodPut, Path: "/orders/{externalId}", Effect: v1alpha1.HTTPEffectIdempotent},
				{Name: "ship", Method: http.MethodPost, Path: "/shipments/{externalId}", Effect: v1alpha1.HTTPEffectOnce},
				{Name: "read", Method: http.MethodGet, Path: "/stock", Effect: v1alpha1.HTTPEffectNone},
			},
			ProbePath: "/health",
		},
		Limits: []v1alpha1.Limit{
			window(calls, per),
			{Name: "parallel", Concurrency: &v1alpha1.Concurrency{Calls: 10}},
		},
	}}
	c.SetDefaults()
	return c
}

// world is a bus, an external system, a catalog, and dispatchers between them.
type world struct {
	t       testing.TB
	server  *bustest.Server
	bus     *bus.Bus
	account *account
	catalog *catalog
	secrets secrets.Resolver
	// listener is where the next dispatcher serves; nil for nowhere.
	listener net.Listener
	// metrics are those of the newest dispatcher.
	metrics http.Handler
	owner   string // of the next dispatcher
	log     *logs
}

const plainMapping = `{"externalId": externalId, "reference": order.name, "configuration": order.note}`

func newWorld(t testing.TB, calls int64, per time.Duration) *world {
	t.Helper()
	needs(t, roomToWait)
	server := bustest.NewServer(t, bustest.WithTCP())
	w := newWorldOn(t, server.Bus(t), calls, per)
	w.server = server
	return w
}

// newWorldOn works on a bus that is there; it has no server of its own.
func newWorldOn(t testing.TB, b *bus.Bus, calls int64, per time.Duration) *world {
	t.Helper()
	needs(t, roomToWait)
	w := &world{t: t, bus: b, account: newAccount(t), secrets: secrets.Environment(nil), owner: "test", log: &logs{out: t.Output()}}
	w.catalog = &catalog{
		connectors: map[string]*v1alpha1.Connector{"wms": connectorAt(w.account.URL, calls, per)},
		mapping:    mappingOf(t, plainMapping), changed: make(chan struct{}),
	}
	return w
}

// start runs a dispatcher until the test ends or stop is called.
func (w *world) start(options ...func(*throttledispatcher.Dispatcher)) (stop func()) {
	w.t.Helper()
	return w.startAs(w.owner, w.bus, options...)
}

// startAs runs a dispatcher under a name of its own, on a connection of its own.
func (w *world) startAs(owner string, b *bus.Bus, options ...func(*throttledispatcher.Dispatcher)) (stop func()) {
	w.t.Helper()
	traces, err := telemetry.Setup(w.t.Context(), telemetry.Options{Service: "test", Prometheus: true})
	if err != nil {
		w.t.Fatal(err)
	}
	w.metrics = traces.Metrics()
	dispatcher, err := throttledispatcher.New(throttledispatcher.Config{
		Bus: b, Catalog: w.catalog, Systems: systems.All(),
		Secrets: w.secrets, Owner: owner, Logger: slog.New(w.log), Telemetry: traces, Listener: w.listener,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.listener = nil
	for _, option := range options {
		option(dispatcher)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- dispatcher.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the dispatcher ended with %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

func keyOf(number int) string { return order.Key("shopify", fmt.Sprint(number)) }

// store writes the order's state.
func (w *world) store(number int, note string) {
	w.t.Helper()
	id := fmt.Sprint(number)
	w.publish(bus.OrderStateSubject(keyOf(number)), &orderv1.State{
		Key: keyOf(number), Revision: 3, Order: &orderv1.Order{Source: "shopify", Id: id, Name: "#" + id, Note: note},
	})
}

// cancel stores the order as the shop's cancellation leaves it.
func (w *world) cancel(number int) {
	w.t.Helper()
	id := fmt.Sprint(number)
	w.publish(bus.OrderStateSubject(keyOf(number)), &orderv1.State{
		Key: keyOf(number), Revision: 4, Order: &orderv1.Order{Source: "shopify", Id: id, Name: "#" + id, CancelledAt: timestamppb.Now()},
	})
}

// publish may be called from any goroutine.
func (w *world) publish(subject string, message proto.Message) {
	w.t.Helper()
	data, err := proto.Marshal(message)
	if err == nil {
		_, err = w.bus.Publish(w.t.Context(), bus.Message{Subject: subject, Data: data})
	}
	if err != nil {
		w.t.Error(err)
	}
}

// delivery is a step of the order with that number.
func delivery(number int) *dispatchv1.Delivery {
	return &dispatchv1.Delivery{
		Id: keyOf(number) + "_sell_warehouse_3", Connector: "wms", Lane: "standard", Key: keyOf(number), Operation: "putOrder",
		Requester: "test", CreatedAt: timestamppb.Now(),
		Content: &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{Flow: "sell", Step: "warehouse", Revision: 3}},
	}
}

// query is a call without an order, under a key of its own.
func query(id string) *dispatchv1.Delivery {
	return &dispatchv1.Delivery{
		Id: id, Connector: "wms", Lane: "express", Key: id, Operation: "read", Requester: "test", CreatedAt: timestamppb.Now(),
	}
}

func (w *world) ask(d *dispatchv1.Delivery) {
	w.t.Helper()
	w.publish(bus.DispatchSubject(d.GetConnector(), d.GetLane(), d.GetKey(), d.GetId()), d)
}

// want stores an order and asks for its delivery.
func (w *world) want(number int, note string) {
	w.t.Helper()
	w.store(number, note)
	w.ask(delivery(number))
}

// results waits for the results of n deliveries, by key.
func (w *world) results(n int) map[string]*dispatchv1.Result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*patience)
	defer cancel()
	found := map[string]*dispatchv1.Result{}
	err := w.bus.Consume(ctx, bus.ConsumerOptions{Stream: bus.StreamResult, Ephemeral: true, Filters: []string{bus.ResultFilter("test")}},
		func(_ context.Context, m *bus.Incoming) {
			result := &dispatchv1.Result{}
			if err := proto.Unmarshal(m.Data, result); err != nil {
				w.t.Error(err)
			}
			if found[result.GetKey()] != nil {
				w.t.Errorf("a second result for %s: %v", result.GetKey(), result)
			}
			found[result.GetKey()] = result
			if len(found) >= n {
				cancel()
			}
		})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(found) < n {
		w.t.Fatalf("%d results, want %d", len(found), n)
	}
	return found
}

// resultOf returns a delivery's result, nil where there is none yet.
func (w *world) resultOf(d *dispatchv1.Delivery) *dispatchv1.Result {
	w.t.Helper()
	record, err := w.bus.Last(w.t.Context(), bus.StreamResult, bus.ResultSubject(d.GetRequester(), d.GetId()))
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	result := &dispatchv1.Result{}
	if err == nil {
		err = proto.Unmarshal(record.Data, result)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

// delivered waits for n results and demands that all say delivered.
func (w *world) delivered(n int) {
	w.t.Helper()
	for key, result := range w.results(n) {
		if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
			w.t.Errorf("%s: %v because of %v, want delivered", key, result.GetOutcome(), result.GetCause())
		}
	}
}

// hold reads the entry of the Error Hold that belongs to a result.
func (w *world) hold(result *dispatchv1.Result) *dispatchv1.Hold {
	w.t.Helper()
	record, err := w.bus.Last(w.t.Context(), bus.StreamErrorHold, bus.HoldSubject(result.GetConnector(), result.GetKey(), result.GetDeliveryId()))
	if err != nil {
		w.t.Fatalf("no entry in the Error Hold for %v: %v", result, err)
	}
	hold := &dispatchv1.Hold{}
	if err := proto.Unmarshal(record.Data, hold); err != nil {
		w.t.Fatal(err)
	}
	return hold
}

// eventually waits until the condition holds.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// during lets an amount of time pass in which nothing else is to happen.
func during(d time.Duration) { <-time.After(d) }
