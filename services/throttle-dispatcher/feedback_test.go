package throttledispatcher_test

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
)

// lately returns how many of the arrivals came within a span before now.
func lately(arrivals []arrival, span time.Duration) int {
	n := 0
	for _, a := range arrivals {
		if time.Since(a.at) < span {
			n++
		}
	}
	return n
}

// Others use an account whose replies tell what is left: it is noticed, said once,
// shown, and the pace leaves them their share, until they are gone.
func TestOthersAreLeftTheirShare(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const limit, others, per = 50, 20, 2 * time.Second
	w := newWorld(t, limit, per)
	var foreign atomic.Int64
	foreign.Store(others)
	w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
		used := int(foreign.Load()) + lately(w.account.arrivals, per) + 1 // with this one
		reply.Header().Set("X-RateLimit-Limit", strconv.Itoa(limit))
		reply.Header().Set("X-RateLimit-Remaining", strconv.Itoa(max(0, limit-used)))
		reply.Header().Set("X-RateLimit-Reset", "1")
		return http.StatusCreated
	})
	const orders = 100
	for i := range orders {
		w.want(i, "")
	}
	client, _ := w.served()
	w.start()
	c := w.until(client, "others are seen", func(c *dispatcherv1.Connector) bool { return c.GetPaceShare() > 0 && c.GetPaceShare() < 1 })
	// (49 - 20) / 49
	if n, share := limitNamed(t, c, "window").GetUsedByOthers(), c.GetPaceShare(); n < others-3 || n > others || share < 0.55 || share > 0.68 {
		t.Errorf("%d calls by others and %.2f of the pace left, want %d and 0.59", n, share, others)
	}
	if value := w.scraped()[`peppasync_limit_used_by_others{connector="wms",limit="window"}`]; value < others-3 || value > others {
		t.Errorf("the metric says %v", value)
	}
	w.delivered(orders)
	arrivals := w.account.seen()
	took := arrivals[orders-1].at.Sub(arrivals[orders/5].at)
	if want := time.Duration(orders*4/5) * per * 10 / 10 / (limit - 1 - others); took < want*8/10 {
		t.Errorf("%d calls in %v, others leave room for that in %v", orders*4/5, took, want)
	}
	const line = "counts calls that this connector did not make"
	if n := len(w.log.with(line)); n != 1 {
		t.Errorf("the log says %d times that it %s", n, line)
	}
	foreign.Store(0)
	w.until(client, "the whole pace is back", func(c *dispatcherv1.Connector) bool {
		return c.GetPaceShare() == 1 && limitNamed(t, c, "window").GetUsedByOthers() == 0
	})
}

// Nothing left, by the server's word, is a pause until there is.
func TestNothingLeftIsAPause(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 20, time.Second)
	const before, pause = 5, 2 * time.Second
	w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
		left := 1000 - len(w.account.arrivals)
		if len(w.account.arrivals)+1 == before {
			left = 0
		}
		reply.Header().Set("RateLimit-Policy", `"daily";q=1000;w=86400`)
		reply.Header().Set("RateLimit", `"daily";r=`+strconv.Itoa(left)+`;t=2`)
		return http.StatusCreated
	})
	const orders = 12
	for i := range orders {
		w.want(i, "")
	}
	client, _ := w.served()
	w.start()
	w.until(client, "the pause is shown", func(c *dispatcherv1.Connector) bool {
		return c.GetState() == dispatcherv1.State_STATE_THROTTLED && c.GetClosedUntil() != nil
	})
	w.delivered(orders)
	arrivals := w.account.seen()
	told := arrivals[before-1].at
	for n, a := range arrivals {
		// A few may have left before the reply was in.
		if after := a.at.Sub(told); after > pause/3 && after < pause {
			t.Errorf("call %d came %v after nothing was left for %v", n+1, after, pause)
		}
	}
	if len(arrivals) != orders {
		t.Errorf("%d calls for %d orders", len(arrivals), orders)
	}
}

// A throttled reply costs a part of the pace for a while; a successor begins with the
// whole, and learns it again where it must.
func TestThrottledReplyLowersThePace(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 40, time.Second)
	w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
		if len(w.account.arrivals) == 10 {
			reply.Header().Set("Retry-After", "0.5")
			return http.StatusTooManyRequests
		}
		return http.StatusCreated
	})
	const orders = 60
	for i := range orders {
		w.want(i, "")
	}
	client, _ := w.served()
	stop := w.start()
	w.delivered(orders)
	if share := w.shown(client).GetPaceShare(); share < 0.85 || share > 0.87 {
		t.Errorf("%v of the pace after a throttled reply, want 0.85 and a little", share)
	}
	stop()
	client, _ = w.served()
	w.start()
	w.until(client, "the successor has the whole pace", func(c *dispatcherv1.Connector) bool {
		return c.GetState() == dispatcherv1.State_STATE_RUNNING && c.GetPaceShare() == 1
	})
	arrivals := w.account.seen()
	// 39 a second is the whole pace.
	if took, whole := arrivals[orders].at.Sub(arrivals[20].at), time.Second*(orders-20)/39; took < whole*112/100 {
		t.Errorf("%d calls in %v, the whole pace takes %v", orders-20, took, whole)
	}
}
