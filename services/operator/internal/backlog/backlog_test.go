package backlog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/order"
	logicgate "github.com/peppasync/peppasync/services/logic-gate"
	"github.com/peppasync/peppasync/services/operator/internal/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shards = 2

// world is a NATS with all streams.
type world struct {
	t   *testing.T
	bus *bus.Bus
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := bustest.NewServer(t, bustest.WithTopology(bus.Topology{Replicas: 1, IngestShards: 1, OrderShards: shards}))
	return &world{t: t, bus: server.Bus(t)}
}

func (w *world) publish(subject string, message proto.Message) {
	w.t.Helper()
	data, err := proto.Marshal(message)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err = w.bus.Publish(w.t.Context(), bus.Message{Subject: subject, Data: data}); err != nil {
		w.t.Fatal(err)
	}
}

// state writes what became of an order's deliveries.
func (w *world) state(key string, deliveries ...*orderv1.Delivery) {
	w.t.Helper()
	w.publish(bus.OrderStateSubject(key), &orderv1.State{Key: key, Deliveries: deliveries})
}

func (w *world) hold(connector, key, delivery, requester string) {
	w.t.Helper()
	d := &orderv1.Delivery{Id: delivery}
	h := &dispatchv1.Hold{Delivery: &dispatchv1.Delivery{
		Id: order.DispatchIDOf(key, d), Connector: connector, Key: key, Requester: requester, Content: &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{Flow: "orders", Step: "erp"}},
	}}
	w.publish(bus.HoldSubject(connector, key, h.GetDelivery().GetId()), h)
}

func (w *world) count(counter *Counter) map[string]status.Counts {
	w.t.Helper()
	counts, err := counter.Count(w.t.Context(), time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return counts
}

func (w *world) of(connector string) status.Counts {
	w.t.Helper()
	counts, err := Of(w.t.Context(), w.bus, connector)
	if err != nil {
		w.t.Fatal(err)
	}
	return counts
}

const (
	isHeld = orderv1.DeliveryStatus_DELIVERY_STATUS_HELD
	isOpen = orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN
	isDone = orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED
)

// What lies in lanes, waits for its time or is on hold is counted where it belongs, both
// again and again and at once; what was settled since, or no order asked for, is not.
func TestWhatIsOwedIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	counter := NewCounter(w.bus)
	if got := w.count(counter); len(got) != 0 {
		t.Errorf("nothing is there, and it counts %v", got)
	}
	w.publish(bus.DispatchSubject("erp", "standard", "shop_1", "a"), &dispatchv1.Delivery{})
	w.publish(bus.DispatchSubject("erp", "bulk", "shop_2", "b"), &dispatchv1.Delivery{})
	w.publish(bus.DispatchSubject("wms", "standard", "shop_1", "c"), &dispatchv1.Delivery{})
	w.publish(bus.WaitingSubject("erp", "shop_3", "d"), &dispatchv1.Delivery{})
	w.state("shop_4", &orderv1.Delivery{Id: "held", Status: isHeld}, &orderv1.Delivery{Id: "open", Status: isOpen}, &orderv1.Delivery{Id: "done", Status: isDone})
	w.hold("erp", "shop_4", "held", logicgate.Role)
	w.hold("erp", "shop_4", "open", logicgate.Role)
	w.hold("erp", "shop_4", "done", logicgate.Role)
	w.hold("erp", "shop_4", "forgotten", logicgate.Role)
	w.hold("erp", "shop_4", "read", "inventory-reconciler")
	w.hold("wms", "shop_4", "done", logicgate.Role)
	want := map[string]status.Counts{"erp": {Queued: 2, Deferred: 1, Held: 2}, "wms": {Queued: 1}}
	if diff := cmp.Diff(want, w.count(counter)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	for name, counts := range want {
		if diff := cmp.Diff(counts, w.of(name)); diff != "" {
			t.Errorf("%s at once (-want +got):\n%s", name, diff)
		}
	}
	if got := w.of("er"); got != (status.Counts{}) {
		t.Errorf("a name that another begins with has %+v", got)
	}
	w.state("shop_4", &orderv1.Delivery{Id: "held", Status: isDone}, &orderv1.Delivery{Id: "open", Status: isHeld})
	if got := w.count(counter)["erp"].Held; got != 1 {
		t.Errorf("%d are on hold after one was settled, want 1", got)
	}
}

// A message that the dispatcher refused waits for a person, and no order for the
// Connector: neither for the one that it was sent to, nor for one that it speaks of. Else
// who floods one could keep every Connector from being deleted.
func TestARefusedMessageIsNotOwed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := &dispatchv1.Delivery{Id: "message-7-1", Connector: "erp", Key: "refused", Requester: "throttle-dispatcher"}
	speaks, err := proto.Marshal(&dispatchv1.Delivery{Id: "x", Connector: "wms", Key: "shop_1", Requester: logicgate.Role})
	if err != nil {
		t.Fatal(err)
	}
	w.publish(bus.HoldSubject("erp", d.GetKey(), d.GetId()), &dispatchv1.Hold{Delivery: d, Refused: &dispatchv1.RefusedMessage{Data: speaks}})
	if got := w.count(NewCounter(w.bus)); len(got) != 0 {
		t.Errorf("it counts %v", got)
	}
	for _, name := range []string{"erp", "wms"} {
		if got := w.of(name); len(Obstacles(name, got, nil)) != 0 {
			t.Errorf("%s cannot be deleted: it has %+v", name, got)
		}
	}
}

// However many were on hold once and were settled since: the first count is right. Else a
// Connector that ever had more than one turn of them could never be deleted.
func TestWhatWasSettledLongAgoIsNotOwed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.state("shop_1", &orderv1.Delivery{Id: "29", Status: isHeld})
	for i := range 30 {
		w.hold("erp", "shop_1", fmt.Sprintf("%02d", i), logicgate.Role)
	}
	holds := newHolds(w.bus, bus.HoldConnectorFilter("erp"))
	holds.looks = 10
	for _, what := range []string{"first", "second"} {
		got, err := holds.count(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]int64{"erp": 1}, got); diff != "" {
			t.Errorf("the %s count (-want +got):\n%s", what, diff)
		}
	}
}

// More on hold than are looked at again in one count: all are counted at once, and what was
// let go or has arrived since is gone after as many counts as there are turns.
func TestHeldOfMoreThanOneTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const all, looks = 25, 10
	for i := range all {
		id := fmt.Sprintf("%02d", i)
		w.hold("erp", "shop_"+id, id, logicgate.Role)
		w.state("shop_"+id, &orderv1.Delivery{Id: id, Status: isHeld})
	}
	holds := newHolds(w.bus, bus.HoldFilter)
	holds.looks = looks
	count := func() int64 {
		t.Helper()
		by, err := holds.count(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return by["erp"]
	}
	if got := count(); got != all {
		t.Fatalf("%d are on hold at first, want %d", got, all)
	}
	for i := range 20 {
		id := fmt.Sprintf("%02d", i)
		after := &orderv1.Delivery{Id: id, Status: isDone}
		if i%2 == 0 {
			after = &orderv1.Delivery{Id: id, Status: isOpen, Released: 1}
		}
		w.state("shop_"+id, after)
	}
	for range all/looks + 1 {
		count()
	}
	if got := count(); got != all-20 {
		t.Errorf("%d are on hold after 20 were let go or arrived, want %d", got, all-20)
	}
	// Held again under its new id.
	w.state("shop_00", &orderv1.Delivery{Id: "00", Status: isHeld, Released: 1})
	h := &dispatchv1.Hold{Delivery: &dispatchv1.Delivery{
		Id: order.DispatchIDOf("shop_00", &orderv1.Delivery{Id: "00", Released: 1}), Connector: "erp", Key: "shop_00", Requester: logicgate.Role,
		Content: &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{}},
	}}
	w.publish(bus.HoldSubject("erp", "shop_00", h.GetDelivery().GetId()), h)
	if got := count(); got != all-19 {
		t.Errorf("%d are on hold after one was refused again, want %d", got, all-19)
	}
}

func TestObstacles(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		counts status.Counts
		names  []string
		want   []string
	}{
		"none":                {want: nil},
		"one that waits":      {counts: status.Counts{Queued: 1}, want: []string{"1 order waits to be delivered there"}},
		"what is put off too": {counts: status.Counts{Queued: 1, Deferred: 2}, want: []string{"3 orders wait to be delivered there"}},
		"on hold":             {counts: status.Counts{Held: 2}, want: []string{"2 orders are on hold there"}},
		"all at once": {
			counts: status.Counts{Queued: 1, Held: 1}, names: []string{"Flow/orders"},
			want: []string{"1 order waits", "1 order is on hold", "Flow/orders speaks of it"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Obstacles("erp", test.counts, test.names)
			if len(got) != len(test.want) {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], test.want[i]) {
					t.Errorf("got %q, want it to begin with %q", got[i], test.want[i])
				}
			}
		})
	}
}
