package throttledispatcher

import (
	"fmt"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// reserve takes send times for what is bound, in its order. What the first one costs
// that got none is remembered: to look again for as little as one point would find
// room for it over and over, and bind it anew each time.
func (w *worker) reserve(bound []prepared) []budget.Permit {
	costs := make([]int64, len(bound))
	for i, p := range bound {
		costs[i] = w.costOf(p.request)
	}
	permits := w.budget.ReserveFor(time.Now(), w.stalls.horizon(), costs)
	w.nextCost = 1
	if len(permits) < len(costs) {
		w.nextCost = costs[len(permits)]
	}
	return permits
}

// costOf returns what a request is taken for: no more than there ever is room for,
// since a look-up of that cost would hold up all other calls for good.
func (w *worker) costOf(r connectors.Request) int64 {
	if most, bucket := w.budget.Limits().MostCost(); bucket != "" {
		return max(1, min(r.Cost, most))
	}
	return max(1, r.Cost)
}

// affordable holds what costs more than a bucket ever has room for: it would wait for
// good.
func (w *worker) affordable(p prepared) prepared {
	most, bucket := w.budget.Limits().MostCost()
	if bucket == "" || p.request.Cost <= most {
		return p
	}
	cause := fault.Cause{Code: "cost-above-limit", Detail: fmt.Sprintf(
		"%s costs %d points, and limit %q of connector %s has room for %d when its bucket is empty: make the call smaller, or correct the limit",
		p.call.Operation, p.request.Cost, bucket, w.spec.Name, most)}
	result, hold := heldBy(p.claim, cause, p.job.attempts, p.job.mayBeThere())
	return prepared{job: p.job, result: result, hold: hold}
}

// spent returns what a call did cost, as far as its reply tells.
func (w *worker) spent(o outcome) int64 {
	if priced, ok := w.system.(connectors.Priced); ok && o.result.Status != 0 && o.result.Err == nil {
		if cost, ok := priced.Spent(o.result.Reply); ok {
			return cost
		}
	}
	return o.permit.Cost
}
