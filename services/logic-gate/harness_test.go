package logicgate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/expr"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const deadline = 30 * time.Second

// connector returns an account of a system.
func connector(name string, system v1alpha1.System) *v1alpha1.Connector {
	c := &v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{System: system}}
	c.Name = name
	return c
}

// flow returns one that sends orders of some topics to the ERP, after the WMS
// where there is one.
func flow(name, when string, withWMS bool, topics ...string) *catalog.Flow {
	compiler, err := expr.NewCompiler()
	if err != nil {
		panic(err)
	}
	condition, err := compiler.Condition(when)
	if err != nil {
		panic(err)
	}
	erp := v1alpha1.DeliverStep{Name: "erp", Connector: "netsuite", Operation: "upsertSalesOrder", Lane: "standard"}
	steps := []v1alpha1.DeliverStep{erp}
	if withWMS {
		steps = []v1alpha1.DeliverStep{{Name: "wms", Connector: "wms", Operation: "createOrder", Lane: "express"}, erp}
		steps[1].After = []string{"wms"}
	}
	f := &catalog.Flow{Name: name, When: condition, Spec: v1alpha1.FlowSpec{
		From: []v1alpha1.EventSource{{Connector: "shopify", Topics: topics}}, When: when, Deliver: steps,
	}}
	for _, step := range steps {
		f.Steps = append(f.Steps, catalog.Step{Name: step.Name, Spec: step})
	}
	return f
}

// snapshot returns a catalog of a shop, a WMS, an ERP and these flows.
func snapshot(flows ...*catalog.Flow) *catalog.Snapshot {
	return &catalog.Snapshot{Flows: flows, Connectors: map[string]*v1alpha1.Connector{
		"shopify":  connector("shopify", v1alpha1.SystemShopify),
		"netsuite": connector("netsuite", v1alpha1.SystemNetSuite),
		"wms":      connector("wms", v1alpha1.SystemHTTP),
	}}
}

// world is a bus with a catalog, and a gate that can be killed and started.
type world struct {
	t      testing.TB
	server *bustest.Server
	bus    *bus.Bus
	store  *catalog.Store
	log    *logs
	// telemetry of the gates; none is exported unless a test sets it.
	telemetry *telemetry.Telemetry
	// published, if set, is the catalog that a gate reads before it gives up.
	published func(context.Context) (*catalog.Snapshot, error)
	// ackWait of the gates; 400 ms unless a test sets it.
	ackWait time.Duration
	// tracer replaces that of telemetry, where it is set.
	tracer trace.Tracer

	events int

	mu     sync.Mutex
	queued map[uint64]bus.Record
	times  map[string]time.Time
}

func newWorld(t testing.TB, flows ...*catalog.Flow) *world {
	t.Helper()
	server := bustest.NewServer(t)
	w := &world{t: t, server: server, bus: server.Bus(t), log: &logs{}, queued: make(map[uint64]bus.Record), times: make(map[string]time.Time)}
	w.store = catalog.NewStore(snapshot(flows...))
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { w.watchDispatch(ctx) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	var err error
	if w.telemetry, err = telemetry.Setup(ctx, telemetry.Options{Service: Role}); err != nil {
		t.Fatal(err)
	}
	return w
}

// start runs a gate, whose records fault may put something before, until the
// returned function is called.
func (w *world) start(fault func(records) records) (*Gate, func()) {
	w.t.Helper()
	config := Config{Bus: w.bus, Catalog: w.store, Sources: w.sources(), Systems: systems.All(), Logger: slog.New(w.log), Telemetry: w.telemetry}
	var r records = w.bus
	if fault != nil {
		r = fault(r)
	}
	gate := newGate(config, r)
	if w.tracer != nil {
		gate.settler.tracer = w.tracer
	}
	if w.published != nil {
		gate.settler.configuration.newest = w.published
	}
	gate.ackWait, gate.shardsEvery = cmp.Or(w.ackWait, 400*time.Millisecond), 20*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- gate.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return gate, stop
}

// sources are the real ones, with one that has bugs.
func (w *world) sources() map[string]connectors.Source {
	sources := systems.Sources()
	sources["Shopify"] = explosive{sources["Shopify"]}
	return sources
}

// explosive misbehaves on two topics, as a parser with a bug would.
type explosive struct{ connectors.Source }

func (e explosive) Order(spec *v1alpha1.ConnectorSpec, topic string, body []byte) (*orderv1.Order, error) {
	switch topic {
	case "orders/explode":
		panic("index out of range")
	case "orders/endless":
		return &orderv1.Order{Id: strings.Repeat("9", 200)}, nil
	default:
		return e.Source.Order(spec, topic, body)
	}
}

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// shopOrder is the webhook of an order, changed a number of seconds after noon.
func shopOrder(id, seconds int, fields map[string]any) []byte {
	at := noon.Add(time.Duration(seconds) * time.Second).Format(time.RFC3339)
	order := map[string]any{
		"id": id, "name": fmt.Sprint("#", id), "created_at": noon.Format(time.RFC3339), "updated_at": at,
		"currency": "USD", "total_price": "10.00", "financial_status": "pending",
		"line_items": []any{map[string]any{"id": 1, "sku": "MUG", "title": "Mug", "quantity": 1, "current_quantity": 1, "price": "10.00"}},
	}
	maps.Copy(order, fields)
	body, err := json.Marshal(order)
	if err != nil {
		panic(err)
	}
	return body
}

// event returns an event with an id of its own.
func (w *world) event(topic string, body []byte) *eventv1.Event {
	w.events++
	return &eventv1.Event{
		Connector: "shopify", Topic: topic, Id: fmt.Sprint("event-", w.events), ReceivedAt: timestamppb.Now(), Body: body,
	}
}

// heldAs is the name of an event in the Error Hold.
func heldAs(e *eventv1.Event) string {
	sum := sha256.Sum256([]byte(e.GetTopic() + "\x00" + string(e.GetBody())))
	return fmt.Sprintf("%s-%x", e.GetId(), sum[:8])
}

// capture stores a pack as ingest does.
func (w *world) capture(shard int, events ...*eventv1.Event) {
	w.t.Helper()
	data, err := proto.Marshal(&eventv1.Pack{Events: events})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.bus.Publish(context.Background(), bus.Message{Subject: bus.IngestSubject(shard), Data: data}); err != nil {
		w.t.Fatal(err)
	}
}

// dispatched returns all deliveries that were put into DISPATCH, by id. They
// stay there, as if no dispatcher was running.
func (w *world) dispatched() map[string]*dispatchv1.Delivery {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	found := make(map[string]*dispatchv1.Delivery)
	for _, r := range w.queued {
		d := &dispatchv1.Delivery{}
		if err := proto.Unmarshal(r.Data, d); err != nil {
			w.t.Fatal(err)
		}
		if found[d.GetId()] != nil {
			w.t.Errorf("delivery %s is in DISPATCH twice", d.GetId())
		}
		found[d.GetId()] = d
	}
	return found
}

// headers returns those of a delivery's message.
func (w *world) headers(delivery string) map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.queued {
		if strings.HasSuffix(r.Subject, "."+delivery) {
			return r.Header
		}
	}
	return nil
}

// queuedAt returns when the server stored a delivery's message; zero before.
func (w *world) queuedAt(delivery string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.times[delivery]
}

// watchDispatch keeps what comes into DISPATCH, without acknowledging it.
func (w *world) watchDispatch(ctx context.Context) {
	options := bus.ConsumerOptions{
		Stream: bus.StreamDispatch, Durable: "test", AckWait: time.Hour, MaxAckPending: 100_000, Prefetch: 256,
	}
	err := w.bus.Consume(ctx, options, func(_ context.Context, m *bus.Incoming) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.queued[m.Sequence] = m.Record
		w.times[m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]] = m.Time
	})
	if err != nil {
		w.t.Error(err)
	}
}

// holds returns what is in the Error Hold, by subject.
func (w *world) holds() map[string]*dispatchv1.Hold {
	w.t.Helper()
	found := make(map[string]*dispatchv1.Hold)
	for record, err := range w.bus.Read(context.Background(), bus.StreamErrorHold, "hold.v1.>", 1) {
		if err != nil {
			w.t.Fatal(err)
		}
		h := &dispatchv1.Hold{}
		if err := proto.Unmarshal(record.Data, h); err != nil {
			w.t.Fatal(err)
		}
		if found[record.Subject] != nil {
			w.t.Errorf("%s is in the Error Hold twice", record.Subject)
		}
		found[record.Subject] = h
	}
	return found
}

// state returns an order's state, nil where there is none.
func (w *world) state(key string) *orderv1.State {
	w.t.Helper()
	record, err := w.bus.Last(context.Background(), bus.OrderStream(bus.OrderShard(key, 2)), bus.OrderStateSubject(key))
	if errors.Is(err, bus.ErrNotFound) || bus.IsUnavailable(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	state := &orderv1.State{}
	if err := proto.Unmarshal(record.Data, state); err != nil {
		w.t.Fatal(err)
	}
	return state
}

// standing is every delivery of an order with its status.
func (w *world) standing(key string) string {
	w.t.Helper()
	var lines []string
	for _, d := range w.state(key).GetDeliveries() {
		lines = append(lines, d.GetId()+" "+strings.TrimPrefix(d.GetStatus().String(), "DELIVERY_STATUS_"))
	}
	return strings.Join(lines, ", ")
}

// answer publishes a result as the dispatcher does.
func (w *world) answer(delivery string, outcome dispatchv1.Outcome, revision int64) {
	w.t.Helper()
	result := &dispatchv1.Result{
		DeliveryId: delivery, Key: strings.Join(strings.Split(delivery, "_")[:2], "_"), Requester: Role,
		Outcome: outcome, Revision: revision, SettledAt: timestamppb.Now(), Reference: "SO-1",
	}
	if outcome == dispatchv1.Outcome_OUTCOME_HELD {
		result.Cause = &dispatchv1.Cause{Code: "unknown-configuration"}
	}
	data, err := proto.Marshal(result)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.bus.Publish(context.Background(), bus.Message{Subject: bus.ResultSubject(Role, delivery), Data: data}); err != nil {
		w.t.Fatal(err)
	}
}

// eventually waits until a condition holds.
func (w *world) eventually(what string, condition func() bool) {
	w.t.Helper()
	end := time.After(deadline)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-end:
			w.t.Fatalf("after %v still not: %s\nlog:\n%s", deadline, what, strings.Join(w.log.lines(), "\n"))
		case <-tick.C:
		}
	}
}

// becomes waits until the deliveries of an order stand as wanted.
func (w *world) becomes(key, want string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s is %q (it is %q)", key, want, w.standing(key)), func() bool { return w.standing(key) == want })
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// logs keeps what was logged.
type logs struct {
	mu   sync.Mutex
	kept []string
}

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }
func (l *logs) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, line)
	return nil
}

func (l *logs) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.kept...)
}

// count returns how many lines have a text.
func (l *logs) count(text string) int {
	n := 0
	for _, line := range l.lines() {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
