package throttledispatcher_test

import (
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	windows "github.com/peppasync/peppasync/services/internal/maintenance"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// once is a calendar of one window.
type once struct{ windows.Span }

func (o once) Next(after time.Time) (windows.Span, bool) { return o.Span, o.End.After(after) }

func (o once) Last(moment time.Time, since time.Duration) (windows.Span, bool) {
	return o.Span, !o.End.After(moment) && moment.Sub(o.End) <= since
}

func (o once) RampUp() time.Duration { return o.Span.RampUp }

// taken returns how many orders were accepted in a stretch of time.
func (a *account) taken(from, to time.Time) int {
	n := 0
	for _, call := range a.seen() {
		if call.status == http.StatusCreated && !call.at.Before(from) && call.at.Before(to) {
			n++
		}
	}
	return n
}

// Before a window the calls under way come home, in it there is none, and after
// it the pace grows, with nothing lost.
func TestMaintenanceWindow(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const pace, rampUp = 50, 3 * time.Second
	w := newWorld(t, pace, time.Second)
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
		spec.Timeout = metav1.Duration{Duration: time.Second}
		spec.Pacing = v1alpha1.PacingEven
	})
	w.account.setDelay(100 * time.Millisecond)
	const orders = 400
	for i := range orders {
		w.want(i, "")
	}
	begin := time.Now().Add(6 * time.Second)
	end := begin.Add(2 * time.Second)
	w.start(throttledispatcher.Maintained(once{windows.Span{Begin: begin, End: end, RampUp: rampUp}}))
	w.delivered(orders)
	calls := w.account.seen()
	if len(calls) != orders {
		t.Errorf("%d calls for %d orders", len(calls), orders)
	}
	var last, first time.Time
	for _, call := range calls {
		switch {
		case call.at.Before(begin):
			last = call.at
		case call.at.Before(end):
			t.Errorf("a call %v after the window began", call.at.Sub(begin))
		case first.IsZero():
			first = call.at
		}
	}
	t.Logf("last call %v before the window, first %v after it", begin.Sub(last), first.Sub(end))
	if begin.Sub(last) < time.Second {
		t.Errorf("last call %v before the window, want its whole timeout of 1s to fit", begin.Sub(last))
	}
	if first.Sub(end) > time.Second {
		t.Errorf("first call %v after the window, want within 1s", first.Sub(end))
	}
	// From a tenth to four tenths of the pace in the first second: a quarter.
	one, three := w.account.taken(end, end.Add(time.Second)), w.account.taken(end, end.Add(rampUp))
	t.Logf("%d calls in the first second after it, %d in the first three, at a pace of %d", one, three, pace-1)
	if one < pace/10 || one > pace*4/10 || three > 3*pace*65/100 || three < 3*pace*35/100 {
		t.Errorf("%d calls in the first second of the ramp and %d in all of it, at a pace of %d a second", one, three, pace)
	}
	w.account.within(t, pace, time.Second)
}

// A window is put off or called off by an edit, while it lasts.
func TestMaintenanceIsCalledOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, time.Second)
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
		spec.Maintenance = []v1alpha1.MaintenanceWindow{
			{Schedule: "0 0 * * *", TimeZone: "UTC", Duration: metav1.Duration{Duration: 13 * time.Hour}},
			{Schedule: "0 12 * * *", TimeZone: "UTC", Duration: metav1.Duration{Duration: 13 * time.Hour}},
		}
	})
	w.start()
	w.want(1, "")
	during(time.Second)
	if n := len(w.account.seen()); n != 0 {
		t.Fatalf("%d calls while every hour is closed", n)
	}
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Maintenance = nil })
	w.delivered(1)
}

// After an outage the pace grows, where the connector asks for it.
func TestPaceGrowsAfterAnOutage(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const pace = 50
	w := newWorld(t, pace, time.Second)
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Outage.RampUp = metav1.Duration{Duration: 4 * time.Second} })
	w.account.answer(status(http.StatusServiceUnavailable))
	w.start()
	const orders = 250
	for i := range orders {
		w.want(i, "")
	}
	during(2 * time.Second)
	w.account.answer(nil)
	back := time.Now()
	w.delivered(orders)
	w.resumedWithin(back, time.Second)
	var first time.Time
	for _, call := range w.account.seen() {
		if call.status == http.StatusCreated && call.at.After(back) {
			first = call.at
			break
		}
	}
	one, all := w.account.taken(first, first.Add(time.Second)), w.account.taken(first, first.Add(4*time.Second))
	t.Logf("%d calls in the first second after the outage, %d in the four of the ramp, at a pace of %d", one, all, pace-1)
	if one > pace*4/10 || all < 4*pace*35/100 || all > 4*pace*65/100 {
		t.Errorf("%d calls in the first second of the ramp and %d in all of it, at a pace of %d a second", one, all, pace)
	}
}

// What is promised before a window holds: it and the ramp after it are known.
func TestPromiseKnowsTheCalendar(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const pace, rampUp, orders = 50, 4 * time.Second, 400
	w := newWorld(t, pace, time.Second)
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
		spec.Timeout = metav1.Duration{Duration: time.Second}
		spec.Pacing = v1alpha1.PacingEven
	})
	for i := range orders {
		w.want(i, "")
	}
	begin := time.Now().Add(8 * time.Second)
	end := begin.Add(5 * time.Second)
	client, _ := w.served()
	w.start(throttledispatcher.Maintained(once{windows.Span{Begin: begin, End: end, RampUp: rampUp}}))
	c := w.until(client, "it is fed and all is known that waits", func(c *dispatcherv1.Connector) bool {
		return w.account.accepted() > 0 && c.GetWaiting()+int64(w.account.accepted()) >= orders*9/10 && c.GetEta() != nil
	})
	last := delivery(orders - 1)
	r, err := client.GetDelivery(t.Context(), &dispatcherv1.GetDeliveryRequest{Connector: "wms", DeliveryId: last.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(orders)
	seen := w.account.seen()
	came := seen[len(seen)-1].at
	if came.Before(end) {
		t.Fatalf("all were sent %v before the window was over; this test proves nothing", end.Sub(came))
	}
	for what, at := range map[string]time.Time{"the end": c.GetEta().AsTime(), "the last delivery": r.GetDelivery().GetEta().AsTime()} {
		off, left := at.Sub(came).Abs(), came.Sub(c.GetAsOf().AsTime())
		t.Logf("%s was promised %v ahead, and came %v off", what, left, off)
		// The window, its lead and its ramp are most of what is left.
		if off > left*15/100 {
			t.Errorf("%s was promised for %v, it came at %v: %.1f%% of the %v that were left", what, at, came, 100*float64(off)/float64(left), left)
		}
	}
}
