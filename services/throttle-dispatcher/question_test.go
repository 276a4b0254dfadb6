package throttledispatcher_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

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
