package throttledispatcher_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	grpcstatus "google.golang.org/grpc/status"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// served starts a dispatcher that serves, and returns a client of it.
func (w *world) served() (client dispatcherv1.DispatcherServiceClient, conn *grpc.ClientConn) {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.listener = listener
	conn, err = grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return dispatcherv1.NewDispatcherServiceClient(conn), conn
}

// shown returns what the dispatcher says about the connector.
func (w *world) shown(client dispatcherv1.DispatcherServiceClient) *dispatcherv1.Connector {
	w.t.Helper()
	r, err := client.ListConnectors(w.t.Context(), &dispatcherv1.ListConnectorsRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(r.GetConnectors()) != 1 || r.GetConnectors()[0].GetName() != "wms" {
		w.t.Fatalf("%v, want one connector, wms", r)
	}
	return r.GetConnectors()[0]
}

// until waits until what the dispatcher says about the connector is right.
func (w *world) until(client dispatcherv1.DispatcherServiceClient, what string, holds func(c *dispatcherv1.Connector) bool) *dispatcherv1.Connector {
	w.t.Helper()
	var last *dispatcherv1.Connector
	w.eventually(what, func() bool {
		last = w.shown(client)
		return holds(last)
	})
	return last
}

func limitNamed(t testing.TB, c *dispatcherv1.Connector, name string) *dispatcherv1.Limit {
	t.Helper()
	for _, l := range c.GetLimits() {
		if l.GetName() == name {
			return l
		}
	}
	t.Fatalf("no limit %q in %v", name, c)
	return nil
}

// What the certificate says is what a counting server saw, where calls are quick:
// all of them stand in one window.
func TestCertificateEqualsTheServersCount(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 600, time.Minute)
	const orders = 40
	for i := range orders {
		w.want(i, "")
	}
	client, _ := w.served()
	w.start()
	w.delivered(orders)
	c := w.until(client, "all are counted", func(c *dispatcherv1.Connector) bool {
		return limitNamed(t, c, "window").GetLastWindowCount() >= orders && c.GetInFlight() == 0
	})
	l := limitNamed(t, c, "window")
	saw := int64(largestWindow(w.account.seen(), time.Minute))
	if l.GetLargestWindowCount() != saw || l.GetLargestWindowSent() != saw || l.GetLastWindowCount() != saw || saw != orders {
		t.Errorf("the server counted %d in a minute, the certificate says %v", saw, l)
	}
	if l.GetCalls() != 600 || l.GetHeadroom() != 1 || l.GetPer().AsDuration() != time.Minute || l.GetSince() == nil || l.GetLargestWindowAt() == nil {
		t.Errorf("the limit is %v", l)
	}
	parallel := limitNamed(t, c, "parallel")
	if most := int64(w.account.atOnce()); parallel.GetLargestWindowCount() < most || parallel.GetLargestWindowCount() > 10 {
		t.Errorf("%d ran at once, the certificate says %v", most, parallel)
	}
	if c.GetState() != dispatcherv1.State_STATE_RUNNING || c.GetEta() != nil || c.GetWaiting() != 0 || c.GetOwner() != "test" {
		t.Errorf("drained, it says %v", c)
	}
}

// Beside a full backlog: never over the limit, never under what the server saw,
// the pace is the limit less the headroom, and the promise is kept.
func TestCertificateAndPromiseWithABacklog(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const limit, per, orders = 50, 5 * time.Second, 240
	w := newWorld(t, limit, per)
	w.account.setDelay(20 * time.Millisecond)
	for i := range orders {
		w.want(i, "")
	}
	client, conn := w.served()
	w.start()
	c := w.until(client, "a third is sent", func(c *dispatcherv1.Connector) bool {
		return w.account.accepted() > orders/3 && c.GetEta() != nil
	})
	promised, asked := c.GetEta().AsTime(), c.GetAsOf().AsTime()
	if pace := c.GetPacePerMinute(); pace < 570 || pace > 600 {
		t.Errorf("pace %.1f a minute, want about 588", pace)
	}
	if allowed := c.GetAllowedPerMinute(); allowed < 585 || allowed > 589 {
		t.Errorf("allowed are %.1f a minute, want 588", allowed)
	}
	last := delivery(orders - 1)
	r, err := client.GetDelivery(t.Context(), &dispatcherv1.GetDeliveryRequest{Connector: "wms", DeliveryId: last.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	d := r.GetDelivery()
	if d.GetProgress() != dispatcherv1.Progress_PROGRESS_WAITING || d.GetKey() != last.GetKey() || d.GetAhead() < orders/3 {
		t.Errorf("the last delivery is %v", d)
	}
	w.delivered(orders)
	seen := w.account.seen()
	came := seen[len(seen)-1].at
	for what, at := range map[string]time.Time{"the end": promised, "the last delivery": d.GetEta().AsTime()} {
		off, left := at.Sub(came).Abs(), came.Sub(asked)
		t.Logf("%s was promised %v ahead, and came %v off", what, left, off)
		if off > left*5/100+100*time.Millisecond {
			t.Errorf("%s was promised for %v, it came at %v: %.1f%% of the %v that were left", what, at, came, 100*float64(off)/float64(left), left)
		}
	}
	c = w.until(client, "all are counted", func(c *dispatcherv1.Connector) bool {
		return c.GetInFlight() == 0 && c.GetCountedThrough().AsTime().After(came)
	})
	l, saw := limitNamed(t, c, "window"), int64(largestWindow(seen, per))
	if l.GetLargestWindowCount() < saw || l.GetLargestWindowCount() > limit {
		t.Errorf("the server counted at most %d of %d, the certificate says %v", saw, limit, l)
	}
	t.Logf("the server counted at most %d of %d in %v; the certificate says %d, by send times %d", saw, limit, per, l.GetLargestWindowCount(), l.GetLargestWindowSent())
	r, err = client.GetDelivery(t.Context(), &dispatcherv1.GetDeliveryRequest{Connector: "wms", DeliveryId: last.GetId()})
	if err != nil || r.GetDelivery().GetProgress() != dispatcherv1.Progress_PROGRESS_CLOSED || r.GetDelivery().GetEta() != nil {
		t.Errorf("delivered, it is %v (%v)", r, err)
	}
	answer, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: "peppasync.dispatcher.v1.DispatcherService"})
	if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v (%v)", answer, err)
	}
}

// The largest window outlives the process that saw it.
func TestCertificateOutlivesARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 600, time.Second)
	const orders = 30
	for i := range orders {
		w.want(i, "")
	}
	stop := w.start()
	w.delivered(orders)
	stop()
	during(1100 * time.Millisecond) // so that the new owner has no need of the old calls
	client, _ := w.served()
	w.start()
	w.want(orders, "")
	w.delivered(orders + 1)
	c := w.until(client, "the one more is counted", func(c *dispatcherv1.Connector) bool {
		return c.GetInFlight() == 0 && limitNamed(t, c, "window").GetLastWindowCount() >= 0 && len(w.account.seen()) > orders
	})
	if l := limitNamed(t, c, "window"); l.GetLargestWindowCount() != orders {
		t.Errorf("after a restart the certificate says %v, want %d", l, orders)
	}
}

// States, and no arrival time where nobody can tell.
func TestStatesAndWhatWaits(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 600, time.Minute)
	client, _ := w.served()
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = true })
	w.start()
	const orders = 700 // more than is held in memory
	for i := range orders {
		w.want(i, "")
	}
	for range 3 {
		w.ask(query(fmt.Sprint("stock-", time.Now().UnixNano())))
	}
	c := w.until(client, "all wait", func(c *dispatcherv1.Connector) bool { return c.GetWaiting() == orders+3 })
	if c.GetState() != dispatcherv1.State_STATE_PAUSED || c.GetEta() != nil {
		t.Errorf("paused, it says %v", c)
	}
	if drains := c.GetDrainsIn().AsDuration(); drains < 70*time.Second || drains > 71*time.Second {
		t.Errorf("%d deliveries at 599 a minute drain in %v", orders+3, drains)
	}
	waiting := map[string]int64{}
	for _, l := range c.GetLanes() {
		waiting[l.GetName()] = l.GetWaiting()
	}
	if waiting["standard"] != orders || waiting["express"] != 3 || len(waiting) != 3 {
		t.Errorf("lanes %v", c.GetLanes())
	}
	last := delivery(orders - 1)
	r, err := client.GetDelivery(t.Context(), &dispatcherv1.GetDeliveryRequest{Connector: "wms", DeliveryId: last.GetId()})
	if err != nil || r.GetDelivery().GetAhead() != orders+2 || r.GetDelivery().GetEta() != nil || r.GetDelivery().GetKey() != last.GetKey() {
		t.Errorf("the last of all is %v (%v), want %d ahead and no arrival time", r, err, orders+2)
	}
	w.account.answer(status(http.StatusServiceUnavailable))
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = false })
	c = w.until(client, "it is down", func(c *dispatcherv1.Connector) bool { return c.GetState() == dispatcherv1.State_STATE_DOWN })
	if c.GetEta() != nil || c.GetDownSince() == nil || c.GetDrainsIn().AsDuration() < 70*time.Second {
		t.Errorf("down, it says %v", c)
	}
	w.account.answer(func(w http.ResponseWriter, _ *http.Request, _ string) int {
		w.Header().Set("Retry-After", "30")
		return http.StatusTooManyRequests
	})
	c = w.until(client, "it is throttled", func(c *dispatcherv1.Connector) bool {
		return c.GetState() == dispatcherv1.State_STATE_THROTTLED && c.GetInFlight() == 0
	})
	if wait := c.GetClosedUntil().AsTime().Sub(c.GetAsOf().AsTime()); wait < 20*time.Second || wait > 31*time.Second {
		t.Errorf("closed for %v, want about 30 s", wait)
	}
	// 70 s at the whole pace, and 79 s at one that grows from 85% of it to 92%.
	if in := c.GetEta().AsTime().Sub(c.GetClosedUntil().AsTime()); in < 78*time.Second || in > 81*time.Second {
		t.Errorf("it arrives %v after it opens, want about 79 s: %v", in, c)
	}
}

func TestWatchAndMistakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 600, time.Minute)
	client, _ := w.served()
	stop := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := client.WatchConnectors(ctx, &dispatcherv1.WatchConnectorsRequest{Connector: "wms"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r, err := stream.Recv(); err != nil || len(r.GetConnectors()) != 1 {
			t.Fatalf("watching gave %v (%v)", r, err)
		}
	}
	cancel()
	for {
		if _, err := stream.Recv(); err != nil {
			if grpcstatus.Code(err) != codes.Canceled {
				t.Errorf("the end of the watch is %v", err)
			}
			break
		}
	}
	w.until(client, "it runs", func(c *dispatcherv1.Connector) bool { return c.GetState() == dispatcherv1.State_STATE_RUNNING })
	for name, c := range map[string]struct {
		err  error
		code codes.Code
	}{
		"no such connector": {call(client.ListConnectors(t.Context(), &dispatcherv1.ListConnectorsRequest{Connector: "erp"})), codes.NotFound},
		"no such delivery":  {call(client.GetDelivery(t.Context(), &dispatcherv1.GetDeliveryRequest{Connector: "wms", DeliveryId: "x.y *"})), codes.NotFound},
		"no delivery named": {call(client.GetDelivery(t.Context(), &dispatcherv1.GetDeliveryRequest{Connector: "wms"})), codes.InvalidArgument},
		"of no connector":   {call(client.GetDelivery(t.Context(), &dispatcherv1.GetDeliveryRequest{Connector: "erp", DeliveryId: "x"})), codes.NotFound},
	} {
		if grpcstatus.Code(c.err) != c.code {
			t.Errorf("%s: %v, want %v", name, c.err, c.code)
		}
	}
	// A stop is not held up by a watcher.
	open, err := client.WatchConnectors(t.Context(), &dispatcherv1.WatchConnectorsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.Recv(); err != nil {
		t.Fatal(err)
	}
	stop()
}

func call[R any](_ R, err error) error { return err }

// deaf is a cable that stops what comes in alone: what is written to a server that
// hangs, the network takes for a while.
type deaf struct{ *cable }

func (d deaf) InProcessConn() (net.Conn, error) {
	conn, err := d.cable.InProcessConn()
	if err != nil {
		return nil, err
	}
	both := conn.(*cabled)
	return &deafened{Conn: both.Conn, reads: both}, nil
}

type deafened struct {
	net.Conn
	reads *cabled
}

// Read hands bytes on while they flow.
func (d *deafened) Read(p []byte) (int, error) { return d.reads.Read(p) }

// While the bus is silent, people and metrics still hear at once of the state, of the
// certificate and of what waited last.
func TestASilentBusHidesNothing(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 6, time.Minute)
	for i := range 20 {
		w.want(i, "")
	}
	client, _ := w.served()
	flowing := make(chan struct{})
	close(flowing)
	wire := &cable{address: strings.TrimPrefix(w.server.URL(), "nats://"), flows: flowing}
	b, err := bus.Connect(t.Context(), bus.Options{Name: "test", InProcess: deaf{wire}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	w.startAs("test", b)
	before := w.until(client, "a backlog is shown", func(c *dispatcherv1.Connector) bool {
		return c.GetWaiting() >= 15 && w.account.accepted() > 0 && limitNamed(t, c, "window").GetLargestWindowCount() > 0
	})
	thaw := wire.freeze()
	defer thaw()
	asked, shown := false, time.Now()
	for time.Since(shown) < 2500*time.Millisecond { // longer than an answer of the bus is good for
		began := time.Now()
		c := w.shown(client)
		scraped := w.scraped()
		late := time.Since(began)
		if asked = asked || late > 500*time.Millisecond; late > 4*time.Second {
			t.Errorf("told after %v, want the bus asked for a second at most, once for each", late)
		}
		if c.GetState() != dispatcherv1.State_STATE_RUNNING || limitNamed(t, c, "window").GetLargestWindowCount() == 0 ||
			c.GetWaiting() < before.GetWaiting()-2 || c.GetWaiting() > before.GetWaiting() {
			t.Errorf("while the bus is silent it says %v, want about %v", c, before)
		}
		waiting, ok := scraped[`peppasync_queue_waiting{connector="wms",lane="standard"}`]
		if in := scraped[`peppasync_lane_eta_seconds{connector="wms",lane="standard"}`]; in < 100 || in > 250 {
			t.Errorf("with %d waiting at 5 a minute metrics promise the lane in %v s", c.GetWaiting(), in)
		}
		if scraped[`peppasync_connector_state{connector="wms",state="running"}`] != 1 || !ok || waiting != float64(c.GetWaiting()) {
			t.Errorf("while the bus is silent metrics say %v", scraped)
		}
	}
	if !asked {
		t.Error("the bus was never asked; this test proves nothing")
	}
}

// While the bus takes nothing, the worker still tells of the deliveries that it holds.
func TestASilentBusHidesNoDeliveryThatIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Minute)
	for i := range 40 {
		w.want(i, "")
	}
	client, _ := w.served()
	flowing := make(chan struct{})
	close(flowing)
	wire := &cable{address: strings.TrimPrefix(w.server.URL(), "nats://"), flows: flowing}
	b, err := bus.Connect(t.Context(), bus.Options{Name: "test", InProcess: deaf{wire}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	w.startAs("test", b)
	w.until(client, "all wait here", func(c *dispatcherv1.Connector) bool { return c.GetWaiting() >= 30 && w.account.accepted() > 0 })
	thaw := wire.freeze()
	defer thaw()
	during(1500 * time.Millisecond) // a block is under way by then, and what the bus said is old
	r, err := client.GetDelivery(t.Context(), &dispatcherv1.GetDeliveryRequest{Connector: "wms", DeliveryId: delivery(39).GetId()})
	d := r.GetDelivery()
	if err != nil || d.GetProgress() != dispatcherv1.Progress_PROGRESS_WAITING || d.GetAhead() < 20 || d.GetEta() == nil {
		t.Errorf("while the bus is silent the last delivery is %v (%v)", d, err)
	}
	_, err = client.GetDelivery(t.Context(), &dispatcherv1.GetDeliveryRequest{Connector: "wms", DeliveryId: "another"})
	if grpcstatus.Code(err) != codes.Unavailable {
		t.Errorf("of one that is not held it says %v, want that it cannot tell", err)
	}
}
