package throttledispatcher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// warehouse is an external system that records when each request came and what
// was in it.
type warehouse struct {
	*httptest.Server
	mu       sync.Mutex
	arrivals []time.Time
	bodies   map[string][]map[string]any
	down     bool
	backAt   time.Time
	firstOK  time.Time
}

func newWarehouse(t *testing.T) *warehouse {
	w := &warehouse{bodies: map[string][]map[string]any{}}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	return w
}

func (w *warehouse) serve(reply http.ResponseWriter, request *http.Request) {
	now := time.Now()
	data, _ := io.ReadAll(request.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrivals = append(w.arrivals, now)
	if w.down {
		reply.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if w.firstOK.IsZero() && !w.backAt.IsZero() {
		w.firstOK = now
	}
	if request.Method == http.MethodGet {
		return
	}
	body := map[string]any{}
	if json.Unmarshal(data, &body) != nil {
		reply.WriteHeader(http.StatusBadRequest)
		return
	}
	if body["configuration"] == "unknown" {
		reply.Header().Set("Content-Type", "application/problem+json")
		reply.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(reply, `{"type":"https://wms.example/problems/unknown-configuration","detail":"configuration 'unknown' is not known"}`)
		return
	}
	w.bodies[request.URL.Path] = append(w.bodies[request.URL.Path], body)
	reply.WriteHeader(http.StatusCreated)
}

func (w *warehouse) setDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
	if !down {
		w.backAt = time.Now()
	}
}

// largestWindow returns the most arrivals in any closed window of this length.
func (w *warehouse) largestWindow(length time.Duration) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	most, first := 0, 0
	for last := range w.arrivals {
		for w.arrivals[last].Sub(w.arrivals[first]) > length {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// fixed is a catalog of one connector and one flow that does not change.
type fixed struct {
	connector *v1alpha1.Connector
	mapping   *expr.Mapping
	changed   chan struct{}
}

func (f fixed) Connectors() map[string]*v1alpha1.Connector {
	return map[string]*v1alpha1.Connector{f.connector.Name: f.connector}
}

func (f fixed) Step(string, string) (*expr.Condition, *expr.Mapping, bool) {
	return nil, f.mapping, true
}

func (f fixed) Changed() <-chan struct{} { return f.changed }

func connectorAt(endpoint string, calls int64, per time.Duration) *v1alpha1.Connector {
	c := &v1alpha1.Connector{ObjectMeta: metav1.ObjectMeta{Name: "wms"}, Spec: v1alpha1.ConnectorSpec{
		System: v1alpha1.SystemHTTP, Endpoint: endpoint,
		HTTP: &v1alpha1.HTTPSettings{
			Operations: []v1alpha1.HTTPOperation{{Name: "putOrder", Method: http.MethodPut, Path: "/orders/{externalId}", Effect: v1alpha1.HTTPEffectIdempotent}},
			ProbePath:  "/health",
		},
		Limits: []v1alpha1.Limit{
			{Name: "window", RollingWindow: &v1alpha1.RollingWindow{Calls: calls, Per: metav1.Duration{Duration: per}}},
			{Name: "parallel", Concurrency: &v1alpha1.Concurrency{Calls: 10}},
		},
	}}
	c.SetDefaults()
	return c
}

// start runs a dispatcher until the test ends or stop is called.
func start(t *testing.T, b *bus.Bus, connector *v1alpha1.Connector) (stop func()) {
	t.Helper()
	compiler, err := expr.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := compiler.Mapping(`{"externalId": externalId, "reference": order.name, "configuration": order.note}`)
	if err != nil {
		t.Fatal(err)
	}
	traces, err := telemetry.Setup(t.Context(), telemetry.Options{Service: "test"})
	if err != nil {
		t.Fatal(err)
	}
	dispatcher, err := throttledispatcher.New(throttledispatcher.Config{
		Bus: b, Catalog: fixed{connector: connector, mapping: mapping, changed: make(chan struct{})}, Systems: systems.All(),
		Secrets: secrets.Environment(nil), Owner: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Telemetry: traces,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- dispatcher.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the dispatcher ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// want stores an order and asks for its delivery.
func want(t *testing.T, b *bus.Bus, number int, note string) {
	t.Helper()
	id := fmt.Sprint(number)
	key := order.Key("shopify", id)
	state, err := proto.Marshal(&orderv1.State{Key: key, Revision: 3, Order: &orderv1.Order{Source: "shopify", Id: id, Name: "#" + id, Note: note}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.OrderStateSubject(key), Data: state}); err != nil {
		t.Fatal(err)
	}
	ask(t, b, number)
}

func ask(t *testing.T, b *bus.Bus, number int) {
	t.Helper()
	key := order.Key("shopify", fmt.Sprint(number))
	d := &dispatchv1.Delivery{
		Id: key + ".sell.warehouse.3", Connector: "wms", Lane: "standard", Key: key, Operation: "putOrder", Requester: "test",
		CreatedAt: timestamppb.Now(),
		Content:   &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{Flow: "sell", Step: "warehouse", Revision: 3}},
	}
	data, err := proto.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.DispatchSubject("wms", "standard", key, d.GetId()), Data: data}); err != nil {
		t.Fatal(err)
	}
}

// results reads n results, by order number.
func results(t *testing.T, b *bus.Bus, n int) map[string]*dispatchv1.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	found := map[string]*dispatchv1.Result{}
	_ = b.Consume(ctx, bus.ConsumerOptions{Stream: bus.StreamResult, Ephemeral: true, Filters: []string{bus.ResultFilter("test")}}, func(_ context.Context, m *bus.Incoming) {
		result := &dispatchv1.Result{}
		if err := proto.Unmarshal(m.Data, result); err != nil {
			t.Error(err)
		}
		found[result.GetKey()] = result
		if len(found) >= n {
			cancel()
		}
	})
	if len(found) < n {
		t.Fatalf("%d results within a minute, want %d", len(found), n)
	}
	return found
}

func TestDeliversWithinTheLimitAndHoldsOnlyTheBadOne(t *testing.T) {
	t.Parallel()
	b, w := bustest.Start(t), newWarehouse(t)
	const orders = 120
	for i := range orders {
		note := ""
		if i == 50 {
			note = "unknown"
		}
		want(t, b, i, note)
	}
	start(t, b, connectorAt(w.URL, 40, time.Second))
	for key, result := range results(t, b, orders) {
		outcome := dispatchv1.Outcome_OUTCOME_DELIVERED
		if key == order.Key("shopify", "50") {
			outcome = dispatchv1.Outcome_OUTCOME_HELD
			if result.GetCause().GetCode() != "unknown-configuration" {
				t.Errorf("held because of %q, want unknown-configuration", result.GetCause().GetCode())
			}
			if _, err := b.Last(t.Context(), bus.StreamErrorHold, bus.HoldSubject("wms", key, result.GetDeliveryId())); err != nil {
				t.Errorf("no entry in the Error Hold: %v", err)
			}
		}
		if result.GetOutcome() != outcome || result.GetRevision() != 3 {
			t.Errorf("%s: outcome %v of revision %d, want %v of 3", key, result.GetOutcome(), result.GetRevision(), outcome)
		}
	}
	if most := w.largestWindow(time.Second); most > 40 {
		t.Errorf("%d calls arrived within one second, the limit is 40", most)
	}
	if len(w.arrivals) != orders {
		t.Errorf("%d calls for %d orders", len(w.arrivals), orders)
	}
	if got := w.bodies["/orders/shopify-7"]; len(got) != 1 || got[0]["reference"] != "#7" {
		t.Errorf("order 7 arrived as %v", got)
	}
}

func TestDeliveryThatIsClosedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	b, w := bustest.Start(t), newWarehouse(t)
	stop := start(t, b, connectorAt(w.URL, 100, time.Second))
	want(t, b, 1, "")
	results(t, b, 1)
	stop()
	// A requester that crashed before its acknowledgment asks once more.
	ask(t, b, 1)
	want(t, b, 2, "")
	start(t, b, connectorAt(w.URL, 100, time.Second))
	results(t, b, 2)
	if n := len(w.bodies["/orders/shopify-1"]); n != 1 {
		t.Errorf("order 1 was sent %d times, want once", n)
	}
}

func TestOutageIsAPause(t *testing.T) {
	t.Parallel()
	b, w := bustest.Start(t), newWarehouse(t)
	w.setDown(true)
	start(t, b, connectorAt(w.URL, 600, time.Minute))
	const orders = 20
	for i := range orders {
		want(t, b, i, "")
	}
	<-time.After(3 * time.Second) // an outage of some length, not a wait for a condition
	w.setDown(false)
	for key, result := range results(t, b, orders) {
		if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
			t.Errorf("%s: %v after the outage, want delivered", key, result.GetOutcome())
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if late := w.firstOK.Sub(w.backAt); late > time.Second {
		t.Errorf("first accepted call %v after the outage, want within a second", late)
	}
}
