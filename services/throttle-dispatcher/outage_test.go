package throttledispatcher_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// Maintenance: the system answers 503 to everything, its probe included.
func TestOutageIsAPause(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 600, time.Minute)
	w.account.answer(status(http.StatusServiceUnavailable))
	w.start()
	const orders = 20
	for i := range orders {
		w.want(i, "")
	}
	during(3 * time.Second)
	w.account.answer(nil)
	back := time.Now()
	w.delivered(orders)
	w.resumedWithin(back, time.Second)
}

// A system that throttles by 503 is left alone for as long as it asks.
func TestAnOutageThatAsksIsLeftAlone(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const rest = 4 * time.Second
	w := newWorld(t, 600, time.Minute)
	var free time.Time
	w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
		switch now := time.Now(); {
		case len(w.account.arrivals) < 2: // as many as it takes to count as down
			free = now.Add(rest)
			fallthrough
		case now.Before(free):
			reply.Header().Set("Retry-After", fmt.Sprint(rest.Seconds()))
			return http.StatusServiceUnavailable
		}
		return http.StatusCreated
	})
	client, _ := w.served()
	w.start()
	const orders = 20
	for i := range orders {
		w.want(i, "")
	}
	w.until(client, "it is down until it may be asked again", func(c *dispatcherv1.Connector) bool {
		return c.GetState() == dispatcherv1.State_STATE_DOWN && c.GetClosedUntil().AsTime().Sub(c.GetAsOf().AsTime()) > rest/2
	})
	w.delivered(orders)
	w.resumedWithin(free, time.Second)
	early := 0
	for _, call := range w.account.seen() {
		if call.at.Before(free) {
			early++
		}
	}
	// Two open the breaker, and some were on their way with them.
	if early > 6 {
		t.Errorf("%d calls in %v in which it asked for none", early, rest)
	}
}

// resumedWithin demands that an order was accepted so soon after the outage.
func (w *world) resumedWithin(back time.Time, most time.Duration) {
	w.t.Helper()
	for _, call := range w.account.seen() {
		if call.status != http.StatusCreated || call.method != http.MethodPut || call.at.Before(back) {
			continue
		}
		late := call.at.Sub(back)
		w.t.Logf("first accepted call %v after the outage", late)
		if late > most {
			w.t.Errorf("first accepted call %v after the outage, want within %v", late, most)
		}
		return
	}
	w.t.Error("no call was accepted after the outage")
}

// A probe that is swallowed does not hold up the next, which finds the system back;
// its end, which comes later, is no outage.
func TestASwallowedProbeDoesNotHoldUpTheNext(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w, m := newWorld(t, 6000, time.Minute), watch(t)
	w.catalog.respec(brief)
	w.account.answer(status(http.StatusServiceUnavailable))
	const orders = 20
	for i := range orders {
		w.want(i, "")
	}
	w.start(throttledispatcher.Through(m.through))
	down := func() int { return len(w.log.with("the external system is down")) }
	w.eventually("it is down, and only probes are made", func() bool { return down() == 1 && len(w.account.on("/health")) > 0 })
	never := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(never) }))
	w.account.hold(func() { <-never })
	w.eventually("a probe is swallowed", func() bool { return w.account.under() > 0 })
	back := time.Now()
	w.account.hold(nil)
	w.account.answer(nil)
	w.delivered(orders)
	for _, probe := range w.account.on("/health") {
		// It would be 900 ms from when the one before was sent.
		if late := probe.at.Sub(back); late > 0 {
			t.Logf("the next probe comes after %v", late)
			if m.judges(t) && late > 750*time.Millisecond {
				t.Error("want 500 ms")
			}
			break
		}
	}
	during(1500 * time.Millisecond) // until that has ended
	if n := down(); n != 1 {
		t.Errorf("%d outages, want one", n)
	}
}

// A system that swallows everything gets few calls until it is noticed, so that there
// is room for the one that finds it back; those that it has swallowed may last for
// half a minute.
func TestASilentSystemIsAskedAndNotFilled(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const orders, parallel = 300, 10
	w := newWorld(t, 6000, time.Minute)
	w.catalog.respec(inParallel(parallel))
	w.account.setDelay(5 * time.Millisecond)
	for i := range orders {
		w.want(i, "")
	}
	never := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(never) }))
	w.start()
	w.eventually("calls are answered", func() bool { return len(w.account.seen()) > 50 })
	w.account.hold(func() { <-never })
	w.eventually("all that is let be under way is swallowed", func() bool { return w.account.under() >= parallel/2 })
	during(2 * time.Second)
	before := len(w.account.seen())
	w.account.hold(nil)
	back := time.Now()
	w.eventually("a call is answered", func() bool { return len(w.account.seen()) > before })
	if took := time.Since(back); took > 10*time.Second {
		t.Errorf("the first call after it was back is answered after %v", took)
	}
	w.eventually("feeding goes on", func() bool { return len(w.account.seen()) > before+50 })
	if took := time.Since(back); took > 15*time.Second {
		t.Errorf("50 calls after it was back took %v", took)
	}
	// Two seconds are less than the five of an outage.
	if told := w.log.with("is down"); len(told) > 0 {
		t.Errorf("it counts as down: %v", told)
	}
}

// orders returns how many orders the account has answered.
func (a *account) orders() int {
	n := 0
	for _, call := range a.seen() {
		if call.method == http.MethodPut {
			n++
		}
	}
	return n
}

// A call that takes long, as a system's own business may, holds up no others, and is
// no reason for questions.
func TestASlowCallStopsNoOthers(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const orders = 4
	w := newWorld(t, 100, time.Minute)
	w.account.setDelay(5 * time.Millisecond)
	w.start()
	for i := range orders {
		w.want(i, "")
	}
	w.delivered(orders)
	slow := make(chan struct{})
	var first sync.Once
	w.account.hold(func() {
		wait := false
		first.Do(func() { wait = true })
		if wait {
			<-slow
		}
	})
	end := sync.OnceFunc(func() { close(slow) })
	t.Cleanup(end)
	w.ask(query("q"))
	w.eventually("the query is under way", func() bool { return w.account.under() == 1 })
	during(2 * time.Second) // nothing else waits: nothing is asked
	if n := len(w.account.on("/health")); n > 0 {
		t.Errorf("%d questions with nothing to send", n)
	}
	for i := range 20 {
		w.want(orders+i, "")
	}
	w.eventually("orders pass it by", func() bool { return w.account.orders() >= orders+10 })
	if n := len(w.account.on("/health")); n > 2 {
		t.Errorf("%d questions took the place of orders", n)
	}
	end()
	w.eventually("the query is answered", func() bool { return len(w.account.on("/stock")) == 1 })
}

// A pause of some seconds in which nothing is lost is no outage, also where the
// question finds no room.
func TestAPauseOfSecondsIsNoOutage(t *testing.T) {
	t.Parallel()
	for _, parallel := range []int64{1, 2, 4, 10} {
		t.Run(fmt.Sprint(parallel), func(t *testing.T) {
			t.Parallel()
			needs(t, roomToJudge)
			const orders = 200
			w := newWorld(t, 6000, time.Minute)
			w.catalog.respec(inParallel(parallel))
			w.account.setDelay(20 * time.Millisecond)
			for i := range orders {
				w.want(i, "")
			}
			w.start()
			w.eventually("some are answered", func() bool { return w.account.orders() > 50 })
			pause := make(chan struct{})
			end := sync.OnceFunc(func() { close(pause) })
			t.Cleanup(end)
			w.account.hold(func() { <-pause })
			during(3 * time.Second)
			w.account.hold(nil)
			end()
			w.delivered(orders)
			if told := w.log.with("the external system is down"); len(told) > 0 {
				t.Errorf("it counts as down: %v", told)
			}
			// The account works on questions that were cut off, too.
			if most := w.account.atOnce(); int64(most) > parallel {
				t.Errorf("%d calls at a time, the limit is %d", most, parallel)
			}
		})
	}
}

// Where the pace leaves room for less than two requests a second, a probe would
// take the place of a call: then the call is the probe.
func TestSlowAccountIsAskedByItsCalls(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 100, time.Minute)
	w.account.answer(status(http.StatusServiceUnavailable))
	w.start()
	const orders = 3
	for i := range orders {
		w.want(i, "")
	}
	during(3 * time.Second)
	w.account.answer(nil)
	back := time.Now()
	w.delivered(orders)
	w.resumedWithin(back, 900*time.Millisecond)
	if n := len(w.account.on("/health")); n > 0 {
		t.Errorf("%d probes took the place of calls", n)
	}
}
