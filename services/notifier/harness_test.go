package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	deadline = 30 * time.Second
	boss     = "+15550100002"
	deputy   = "+15550100003"
)

// policy returns one that asks for texts about holds through twilio.
func policy(name string, to ...string) *v1alpha1.NotificationPolicy {
	p := &v1alpha1.NotificationPolicy{Spec: v1alpha1.NotificationPolicySpec{
		Events: []v1alpha1.NotificationEvent{v1alpha1.NotificationEventHeld}, Through: v1alpha1.NotificationRoute{Connector: "twilio"}, To: to,
	}}
	p.Name = name
	p.SetDefaults()
	return p
}

// snapshot returns a catalog of two carriers of texts and these policies.
func snapshot(policies ...*v1alpha1.NotificationPolicy) *catalog.Snapshot {
	s := &catalog.Snapshot{
		Connectors: make(map[string]*v1alpha1.Connector), Policies: make(map[string]*v1alpha1.NotificationPolicy),
	}
	for _, name := range []string{"twilio", "pager"} {
		c := &v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{System: v1alpha1.SystemTwilio}}
		c.Name = name
		c.SetDefaults()
		s.Connectors[name] = c
	}
	for _, p := range policies {
		s.Policies[p.Name] = p
	}
	return s
}

// world is a bus with a catalog, a notifier that can be killed and started, and
// a dispatcher that sends whatever comes.
type world struct {
	t      testing.TB
	server *bustest.Server
	bus    *bus.Bus
	store  *catalog.Store
	log    *logs

	// stops ends the notifiers.
	stops []func()

	mu   sync.Mutex
	sent []sent
}

// sent is a text that was sent.
type sent struct {
	delivery *dispatchv1.Delivery
	record   bus.Record
}

func (s sent) to() string   { return s.delivery.GetArguments().GetFields()["to"].GetStringValue() }
func (s sent) body() string { return s.delivery.GetArguments().GetFields()["body"].GetStringValue() }

func newWorld(t testing.TB, policies ...*v1alpha1.NotificationPolicy) *world {
	t.Helper()
	server := bustest.NewServer(t)
	return &world{t: t, server: server, bus: server.Bus(t), log: &logs{}, store: catalog.NewStore(snapshot(policies...))}
}

// start runs a notifier, which change may alter before, until the returned
// function is called.
func (w *world) start(change ...func(*Notifier)) (stop func()) {
	w.t.Helper()
	quiet, err := telemetry.Setup(context.Background(), telemetry.Options{Service: Role})
	if err != nil {
		w.t.Fatal(err)
	}
	n, err := New(Config{Bus: w.bus, Catalog: w.store, Logger: slog.New(w.log), Telemetry: quiet})
	if err != nil {
		w.t.Fatal(err)
	}
	n.ackWait = 200 * time.Millisecond
	for _, c := range change {
		c(n)
	}
	stop = w.background(n.Run)
	w.stops = append(w.stops, stop)
	return stop
}

// fresh lets a notifier begin at the first hold again, as after the loss of the
// consumer.
func fresh(n *Notifier) { n.durable = "fresh" }

// replayed waits for this many texts, has a notifier read every hold again from
// the first one, alone, and returns what was told of them in the end.
func (w *world) replayed(texts int) map[string]int {
	w.t.Helper()
	w.told(texts)
	for _, stop := range w.stops {
		stop()
	}
	w.start(func(n *Notifier) { n.durable = "replay" })
	w.hold("last") // read after all others
	told := w.told(texts + 1)
	maps.DeleteFunc(told, func(text string, _ int) bool { return strings.HasSuffix(text, " #last") })
	return told
}

// background runs fn until the returned function is called or the test ends.
func (w *world) background(fn func(context.Context) error) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// dispatch sends texts as the dispatcher does, until the returned function is
// called: not what has a result, then the result, then the acknowledgment.
func (w *world) dispatch() (stop func()) {
	w.t.Helper()
	options := bus.ConsumerOptions{Stream: bus.StreamDispatch, Durable: "dispatch", AckWait: time.Second}
	return w.background(func(ctx context.Context) error {
		return w.bus.Consume(ctx, options, func(ctx context.Context, m *bus.Incoming) {
			d := &dispatchv1.Delivery{}
			if err := proto.Unmarshal(m.Data, d); err != nil {
				w.t.Error(err)
				return
			}
			result := bus.ResultSubject(d.GetRequester(), d.GetId())
			switch _, err := w.bus.Last(ctx, bus.StreamResult, result); {
			case err == nil:
				_ = m.AckAsync()
				return
			case !errors.Is(err, bus.ErrNotFound):
				return
			}
			if _, err := w.bus.Publish(ctx, bus.Message{Subject: result, ExpectLast: bus.Sequence(0)}); err != nil {
				return
			}
			w.mu.Lock()
			w.sent = append(w.sent, sent{delivery: d, record: m.Record})
			w.mu.Unlock()
			_ = m.AckAsync()
		})
	})
}

// texts returns what was sent so far.
func (w *world) texts() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]sent(nil), w.sent...)
}

// hold puts a refused step of an order into the Error Hold, changed.
func (w *world) hold(order string, change ...func(*dispatchv1.Hold)) {
	w.t.Helper()
	hold := &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{
			Id: "shopify_" + order + "_orders_warehouse_1", Connector: "wms", Key: "shopify_" + order, Operation: "putOrder", Requester: "logic-gate",
			Content: &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{Flow: "orders", Step: "warehouse", Revision: 1}},
		},
		Cause:     &dispatchv1.Cause{Code: "unknown-configuration", Detail: "configuration 'CFG-X9' is not known", Status: 422},
		OrderName: "#" + order, HeldAt: timestamppb.Now(), Attempts: 1,
	}
	for _, c := range change {
		c(hold)
	}
	d := hold.GetDelivery()
	w.put(bus.Message{Subject: bus.HoldSubject(d.GetConnector(), d.GetKey(), d.GetId())}, hold)
}

// put publishes a message of this content.
func (w *world) put(m bus.Message, content proto.Message) {
	w.t.Helper()
	var err error
	if m.Data, err = proto.Marshal(content); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.bus.Publish(context.Background(), m); err != nil {
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

// told waits until this many texts are sent, and returns how many each
// recipient got of each order.
func (w *world) told(texts int) map[string]int {
	w.t.Helper()
	w.eventually(fmt.Sprint(texts, " texts are sent"), func() bool { return len(w.texts()) >= texts })
	told := make(map[string]int)
	for _, s := range w.texts() {
		told[s.to()+" "+strings.Fields(s.body())[1]]++
	}
	return told
}

// logged waits for a line of the log that has all of these words.
func (w *world) logged(words ...string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("a line with %q", words), func() bool { return w.count(words...) > 0 })
}

// count returns how many lines of the log have all of these words.
func (w *world) count(words ...string) int {
	n := 0
	for _, line := range w.log.lines() {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			n++
		}
	}
	return n
}

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
