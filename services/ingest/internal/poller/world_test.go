package poller

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/connectors/shopify"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/order"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	deadline = 30 * time.Second
	address  = "https://orders.example.com/v1/webhooks/shop"
	pageSize = 5
)

// world is a shop behind a dispatcher, and a gate, on a real bus. It is the judge.
type world struct {
	t     *testing.T
	bus   *bus.Bus
	store *catalog.Store
	logs  *logs

	mu      sync.Mutex
	changed chan struct{}
	orders  map[string]*orderv1.Order
	hooks   []listing.Webhook
	// big orders are listed in part.
	big map[string]bool
	// open: the pages are, and complete through that time when all are read.
	open    bool
	through time.Time
	// leads says which page some pages name as their next.
	leads map[string]string
	// repeats: a page begins with the last order of the one before.
	repeats bool
	// index is by which time some orders are listed, where they show another.
	index map[string]time.Time
	// between changes an order of which another part is to be asked for.
	between func(*orderv1.Order)
	// refuse is why the shop refuses each operation, and refused how its dispatcher tells:
	// as a conflict where that is not said.
	refuse  map[string]string
	refused dispatchv1.Outcome
	// unreadable orders are refused for themselves, and the answer of those that are lost
	// does not come.
	unreadable, lost map[string]bool
	// firstPageOnly is why no other page of orders is answered; nil where it is.
	firstPageOnly error
	// asked counts calls by operation, events those that the gate has read.
	asked map[string]int
	// askedAt is when each question came, of whatever operation.
	askedAt []time.Time
	events  []*eventv1.Event
	// asleep: the gate reads nothing.
	asleep bool
	lanes  map[string]bool
	now    int
	// source reads the shop's webhooks.
	source connectors.Source
}

type logs struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.out.Bytes(), []byte(text))
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, bus: bustest.Start(t, bustest.WithTopology(bus.Topology{IngestShards: 2, OrderShards: 2})), logs: new(logs),
		changed: make(chan struct{}), orders: map[string]*orderv1.Order{}, big: map[string]bool{}, refuse: map[string]string{}, unreadable: map[string]bool{}, lost: map[string]bool{},
		asked: map[string]int{}, lanes: map[string]bool{}, source: shopify.Shopify{},
	}
	w.store = catalog.NewStore(w.snapshot(50*time.Millisecond, ""))
	ctx, stop := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { w.dispatch(ctx) })
	for shard := range 2 {
		parts.Go(func() { w.gate(ctx, shard) })
	}
	t.Cleanup(func() {
		stop()
		parts.Wait()
	})
	return w
}

func (w *world) snapshot(every time.Duration, address string) *catalog.Snapshot {
	c := &v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{
		System: v1alpha1.SystemShopify, Endpoint: "https://shop.example",
		Webhook:   &v1alpha1.Webhook{SecretRef: v1alpha1.SecretReference{Name: "shop"}, Address: address},
		Reconcile: &v1alpha1.Reconcile{Every: &metav1.Duration{Duration: every}},
		Limits: []v1alpha1.Limit{{Name: "points", Bucket: &v1alpha1.Bucket{
			Capacity: 1_000_000, Refill: v1alpha1.Refill{Points: 1_000_000, Per: metav1.Duration{Duration: time.Second}},
		}}},
	}}
	c.Name = "shop"
	c.SetDefaults()
	return &catalog.Snapshot{
		Revision: 1, Connectors: map[string]*v1alpha1.Connector{"shop": c},
		Flows: []*catalog.Flow{{Name: "orders", Spec: v1alpha1.FlowSpec{From: []v1alpha1.EventSource{{Connector: "shop", Topics: []string{"orders/create", "orders/paid"}}}}}},
	}
}

// start runs a poller; more than one may run.
func (w *world) start() *Poller {
	p := w.prepare()
	w.run(p)
	return p
}

func (w *world) prepare() *Poller {
	p, err := New(Config{
		Bus: w.bus, Catalog: w.store, Commit: w.commit, MaxEventBytes: 1 << 20,
		Set:    connectors.Set{Systems: map[string]connectors.System{"Shopify": shopify.Shopify{}}, Sources: map[string]connectors.Source{"Shopify": w.source}},
		Logger: slog.New(slog.NewTextHandler(w.logs, nil)), Meter: noop.NewMeterProvider().Meter("test"),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	p.grace, p.sealAfter = 300*time.Millisecond, 100*time.Millisecond
	return p
}

// run runs a poller until the test ends, or until stop, which waits for its end.
func (w *world) run(p *Poller) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	w.t.Cleanup(stop)
	return stop
}

// commit is ingest's.
func (w *world) commit(ctx context.Context, event []byte) error {
	e := &eventv1.Event{}
	if err := proto.Unmarshal(event, e); err != nil {
		return err
	}
	pack, err := proto.Marshal(&eventv1.Pack{Events: []*eventv1.Event{e}})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.now++
	shard := w.now % 2
	w.mu.Unlock()
	_, err = w.bus.Publish(ctx, bus.Message{Subject: bus.IngestSubject(shard), ExpectStream: bus.IngestStream(shard), Data: pack})
	return err
}

// publish stores a record.
func (w *world) publish(subject string, m proto.Message) {
	w.t.Helper()
	data, err := proto.Marshal(m)
	if err == nil {
		_, err = w.bus.Publish(w.t.Context(), bus.Message{Subject: subject, Data: data})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// webhook brings an order as its webhook does.
func (w *world) webhook(o *orderv1.Order) {
	w.t.Helper()
	data, err := proto.Marshal(&eventv1.Event{Connector: "shop", Topic: "orders/create", Id: "w-" + o.GetId(), Order: o, ReceivedAt: timestamppb.Now()})
	if err == nil {
		err = w.commit(w.t.Context(), data)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// sell makes an order, changed that long ago.
func (w *world) sell(id string, ago time.Duration) *orderv1.Order {
	o := &orderv1.Order{Id: id, UpdatedAt: timestamppb.New(time.Now().Add(-ago).Truncate(time.Second)), Lines: []*orderv1.Line{{Id: "1", Quantity: 1}}}
	w.change(func() { w.orders[id] = o })
	return o
}

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
}

// await waits until ok holds.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	end := time.After(deadline)
	for {
		w.mu.Lock()
		holds, changed := ok(), w.changed
		w.mu.Unlock()
		if holds {
			return
		}
		tick := time.NewTimer(20 * time.Millisecond)
		select {
		case <-changed:
		case <-tick.C:
		case <-end:
			w.t.Fatalf("waited in vain for this: %s\n%s", what, w.logs)
		}
		tick.Stop()
	}
}

// record is what is known of the shop as a source.
func (w *world) record() *sourcev1.Source {
	found, err := w.bus.Get(w.t.Context(), bus.BucketSource, bus.SourceKey("shop"))
	s := &sourcev1.Source{}
	if err == nil {
		err = proto.Unmarshal(found.Data, s)
	}
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		w.t.Error(err)
	}
	return s
}

// topics are those that the gate has read of an order, and how often.
func (w *world) topics(id string) []string {
	var topics []string
	for _, e := range w.events {
		if e.GetOrder().GetId() == id {
			topics = append(topics, e.GetTopic())
		}
	}
	return topics
}

// gate reads a shard of INGEST as the logic-gate does.
func (w *world) gate(ctx context.Context, shard int) {
	err := w.bus.Consume(ctx, bus.ConsumerOptions{Stream: bus.IngestStream(shard), Durable: bus.Consumer(Gate)}, func(ctx context.Context, m *bus.Incoming) {
		for {
			w.mu.Lock()
			asleep, changed := w.asleep, w.changed
			w.mu.Unlock()
			if !asleep {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
		pack := &eventv1.Pack{}
		if err := proto.Unmarshal(m.Data, pack); err != nil {
			w.t.Error(err)
		}
		for _, e := range pack.GetEvents() {
			w.apply(ctx, e)
		}
		_ = m.AckAsync()
	})
	if err != nil {
		w.t.Error(err)
	}
}

func (w *world) apply(ctx context.Context, e *eventv1.Event) {
	key := order.Key("shop", e.GetOrder().GetId())
	stream := bus.OrderStream(bus.OrderShard(key, 2))
	for ctx.Err() == nil {
		var before *orderv1.State
		record, err := w.bus.Last(ctx, stream, bus.OrderStateSubject(key))
		if err == nil {
			before = &orderv1.State{}
			err = proto.Unmarshal(record.Data, before)
		}
		if err != nil && !errors.Is(err, bus.ErrNotFound) {
			continue
		}
		o := proto.CloneOf(e.GetOrder())
		o.Source = "shop"
		after, _ := order.Fold(before, o, order.Event{ID: e.GetTopic() + " " + e.GetId(), Now: time.Now()})
		data, _ := proto.Marshal(after)
		if _, err := w.bus.Publish(ctx, bus.Message{Subject: bus.OrderStateSubject(key), Data: data, ExpectLast: bus.Sequence(record.Sequence), ExpectStream: stream}); err == nil {
			break
		}
	}
	w.change(func() { w.events = append(w.events, e) })
}

// dispatch plays the throttle-dispatcher and the shop behind it.
func (w *world) dispatch(ctx context.Context) {
	err := w.bus.Consume(ctx, bus.ConsumerOptions{Stream: bus.StreamDispatch, Durable: "dispatcher"}, func(ctx context.Context, m *bus.Incoming) {
		d := &dispatchv1.Delivery{}
		if err := proto.Unmarshal(m.Data, d); err != nil {
			w.t.Error(err)
			return
		}
		if d.GetEvent() != nil {
			return // the account has no room for what the gate asks
		}
		if !d.GetHeldByRequester() {
			w.t.Errorf("%s is held by the dispatcher, for each try", d.GetOperation())
		}
		result := &dispatchv1.Result{
			DeliveryId: d.GetId(), Connector: d.GetConnector(), Key: d.GetKey(), Operation: d.GetOperation(), Requester: d.GetRequester(),
			Outcome: dispatchv1.Outcome_OUTCOME_DELIVERED, SettledAt: timestamppb.Now(),
		}
		w.change(func() {
			w.asked[d.GetOperation()]++
			w.askedAt = append(w.askedAt, time.Now())
			w.lanes[d.GetLane()] = true
			var err error
			if code := w.refuse[d.GetOperation()]; code != "" {
				result.Outcome, result.Cause = cmp.Or(w.refused, dispatchv1.Outcome_OUTCOME_CONFLICT), &dispatchv1.Cause{Code: code}
			} else if result.Value, result.Reference, err = w.answer(d.GetOperation(), d.GetArguments()); err != nil {
				result.Outcome, result.Cause = dispatchv1.Outcome_OUTCOME_HELD, &dispatchv1.Cause{Code: "no", Detail: err.Error()}
				if errors.Is(err, errAnswerLost) {
					result.Outcome = dispatchv1.Outcome_OUTCOME_EXPIRED
				}
			}
		})
		data, _ := proto.Marshal(result)
		if _, err := w.bus.Publish(ctx, bus.Message{Subject: bus.ResultSubject(d.GetRequester(), d.GetId()), Data: data}); err != nil && ctx.Err() == nil {
			w.t.Error(err)
		}
		_ = m.AckAsync()
	})
	if err != nil {
		w.t.Error(err)
	}
}

var (
	errAnswerLost = errors.New("the answer is lost")
	errNoSuchPage = errors.New("there is no such page")
)

// answer is the shop's; it needs the lock.
func (w *world) answer(operation string, arguments *structpb.Struct) (*structpb.Struct, string, error) {
	switch operation {
	case connectors.OperationListOrders:
		asked, err := listing.ParseOrders(arguments)
		if err != nil {
			return nil, "", err
		}
		if w.firstPageOnly != nil && asked.Page != "" {
			return nil, "", w.firstPageOnly
		}
		value, err := w.list(asked).Value()
		return value, "", err
	case connectors.OperationReadOrder:
		asked, parts, err := listing.ParseOrderPart(arguments)
		o := w.orders[asked.ID]
		if err != nil || o == nil {
			return nil, "", fmt.Errorf("no order %q (%w)", asked.ID, err)
		}
		if w.unreadable[asked.ID] {
			return nil, "", errors.New("this one cannot be read")
		}
		if w.lost[asked.ID] {
			return nil, "", errAnswerLost
		}
		if !parts {
			return nil, "", fmt.Errorf("order %q is not asked for in parts", asked.ID)
		}
		return w.part(o, asked.Page)
	case connectors.OperationListWebhooks:
		return listing.WebhookPage{Webhooks: w.hooks}.Value(), "", nil
	case connectors.OperationPutWebhook:
		put, err := listing.ParseWebhook(arguments)
		put.Active = true
		if put.ID == "" {
			put.ID = fmt.Sprint("hook-", len(w.hooks))
		}
		w.hooks = append(slices.DeleteFunc(w.hooks, func(h listing.Webhook) bool { return h.ID == put.ID }), put)
		return nil, put.ID, err
	}
	return nil, "", fmt.Errorf("no operation %q", operation)
}

// linesPerPart is how many lines of an order one answer has.
const linesPerPart = 2

// part answers with some lines of an order, and lets it be changed meanwhile.
func (w *world) part(o *orderv1.Order, page string) (*structpb.Struct, string, error) {
	from, _ := strconv.Atoi(page)
	part := proto.CloneOf(o)
	part.Lines = part.GetLines()[from:]
	next := ""
	if len(part.GetLines()) > linesPerPart {
		part.Lines, next = part.GetLines()[:linesPerPart], strconv.Itoa(from+linesPerPart)
	}
	value, err := listing.OrderPartValue(part, listing.OrderPart{ID: o.GetId(), Page: page}, next)
	if edit := w.between; edit != nil && next != "" {
		edit(o)
	}
	return value, "", err
}

// at is by which time an order is listed.
func (w *world) at(o *orderv1.Order) time.Time {
	if at, other := w.index[o.GetId()]; other {
		return at
	}
	return o.GetUpdatedAt().AsTime()
}

func (w *world) list(asked listing.Orders) listing.OrderPage {
	found := slices.SortedFunc(maps.Values(w.orders), func(a, b *orderv1.Order) int {
		// Those of one moment have their places too, or a page would miss what another had.
		return cmp.Or(w.at(a).Compare(w.at(b)), strings.Compare(a.GetId(), b.GetId()))
	})
	found = slices.DeleteFunc(found, func(o *orderv1.Order) bool { return w.at(o).Before(asked.Since) })
	skip := 0
	_, _ = fmt.Sscan(asked.Page, &skip) // none is 0
	page := listing.OrderPage{Open: w.open}
	for _, o := range found[min(skip, len(found)):min(skip+pageSize, len(found))] {
		if w.big[o.GetId()] {
			page.Partial = append(page.Partial, listing.Partial{ID: o.GetId(), UpdatedAt: o.GetUpdatedAt().AsTime()})
		} else {
			page.Orders = append(page.Orders, o)
		}
	}
	if skip+pageSize < len(found) {
		page.Next = fmt.Sprint(skip + pageSize)
		if w.repeats {
			page.Next = fmt.Sprint(skip + pageSize - 1)
		}
	} else {
		page.Through = w.through
	}
	if next, leads := w.leads[asked.Page]; leads {
		page.Next = next
	}
	return page
}
