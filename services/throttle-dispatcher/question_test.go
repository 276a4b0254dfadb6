package throttledispatcher_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// So is one that has answered a patient question that it is down, where all that waits
// are calls that must not be repeated: none can take the question's place.
func TestASlowSystemIsFoundBackWithoutACall(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const takes = 1500 * time.Millisecond
	w := newWorld(t, 6000, time.Minute)
	w.account.answer(status(http.StatusServiceUnavailable))
	for i := range 3 {
		w.ship(i)
	}
	w.start()
	w.eventually("it counts as down, and only questions are asked", func() bool {
		return len(w.log.with("is down")) > 0 && len(w.account.on("/health")) > 0 && w.account.under() == 0
	})
	w.ship(3)
	w.account.setDelay(takes)
	var back atomic.Int64 // since when it is well
	w.account.answer(func(_ http.ResponseWriter, r *http.Request, _ string) int {
		if back.Load() != 0 {
			return http.StatusOK
		}
		if r.Context().Err() == nil { // it is a patient one: nobody has cut it off
			back.Store(time.Now().UnixNano())
		}
		return http.StatusServiceUnavailable
	})
	w.eventually("it is found back", func() bool { return len(w.log.with("is back")) > 0 })
	if took := time.Since(time.Unix(0, back.Load())); took > 20*time.Second {
		t.Errorf("found back after %v, want within 20 s", took)
	}
	w.eventually("what waits is sent", func() bool { return len(w.account.on(shipment(3))) == 1 })
}

// A system that is back and takes longer for each reply than a question waits is found
// back all the same, and gets no more calls at a time than it allows.
func TestASlowSystemIsFoundBack(t *testing.T) {
	t.Parallel()
	const orders, takes = 5, 1500 * time.Millisecond // less than the 1.9 s for which a question keeps its place
	for _, parallel := range []int64{1, 4, 10} {
		for name, question := range map[string]int{"whose question passes": http.StatusOK, "whose question never passes": http.StatusFound} {
			t.Run(fmt.Sprint(parallel, " at a time, ", name), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, 6000, time.Minute)
				w.catalog.respec(inParallel(parallel))
				w.account.answer(status(http.StatusServiceUnavailable))
				for i := range orders {
					w.want(i, "")
				}
				w.start()
				w.eventually("it counts as down, and only questions are asked", func() bool {
					return len(w.log.with("is down")) > 0 && len(w.account.on("/health")) > 0 && w.account.under() == 0
				})
				w.account.setDelay(takes)
				w.account.answer(func(_ http.ResponseWriter, r *http.Request, _ string) int {
					if r.URL.Path == "/health" {
						return question
					}
					return http.StatusCreated
				})
				back := time.Now()
				w.delivered(orders)
				w.resumedWithin(back, 20*time.Second)
				if n := len(w.log.with("is down")); n != 1 {
					t.Errorf("%d outages, want one", n)
				}
				if most := w.account.atOnce(); int64(most) > parallel {
					t.Errorf("%d calls at a time, the limit is %d", most, parallel)
				}
			})
		}
	}
}
