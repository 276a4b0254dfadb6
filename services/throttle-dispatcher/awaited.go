package throttledispatcher

import (
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// awaited is what a delivery waits for in the catalog.
type awaited int

const (
	awaitedNothing awaited = iota
	// awaitedCondition: the flow's condition wanted the order as it is, and an edit
	// of the condition says no.
	awaitedCondition
	// awaitedStep: the step is gone, renamed or without a mapping.
	awaitedStep
	awaitedKinds
)

const (
	// awaitedAgain is when a waiting delivery is asked about again though the catalog
	// has not changed: its order may have been cancelled.
	awaitedAgain = time.Minute
	// tellAfter is how long they are counted before the log is told, and tellAgain how
	// often at most it is told of more.
	tellAfter = time.Second
	tellAgain = time.Minute
)

// awaiting counts deliveries that wait for one thing.
type awaiting struct {
	jobs map[string]*job
	// told is how many the log was told of since the last change of the catalog.
	told int
	// tellAt is when it is told next; zero where there is nothing new.
	tellAt time.Time
}

// unwanted is the end or the wait of a delivery which the catalog, as it is now,
// does not want. One whose order has changed since the flow last wanted it ends
// there; that is what a cancelled order looks like. Where the order is as it was
// wanted, it is the catalog that has changed: a slip in an edit must not throw away
// all that waits, so that the delivery waits for the next edit.
func unwanted(j *job, state *orderv1.State, what awaited) prepared {
	step := j.delivery.GetOrderStep()
	asked := step.GetRevision()
	for _, d := range state.GetDeliveries() {
		if d.GetFlow() == step.GetFlow() && d.GetStep() == step.GetStep() {
			asked = max(asked, d.GetRevision())
		}
	}
	changed := state.GetRevision() > asked
	if what == awaitedStep {
		// No condition is left that could say no.
		changed = changed && state.GetOrder().GetCancelledAt() != nil
	}
	if !changed {
		return prepared{job: j, awaits: what}
	}
	result := newResult(j.delivery, dispatchv1.Outcome_OUTCOME_SKIPPED)
	result.Revision = state.GetRevision()
	return prepared{job: j, result: result}
}

// await puts a delivery back that waits for the catalog, and returns false for any
// other. Its key waits with it and no other key does.
func (w *worker) await(p prepared, now time.Time) bool {
	id := p.job.delivery.GetId()
	for kind := range w.awaited {
		if a := &w.awaited[kind]; awaited(kind) != p.awaits && p.err == nil && a.jobs[id] != nil {
			delete(a.jobs, id)
			if len(a.jobs) == 0 && p.awaits == awaitedNothing {
				w.log.Info("no order waits for an edit of its flow any more")
				a.told, a.tellAt = 0, time.Time{}
			}
		}
	}
	if p.awaits == awaitedNothing {
		return false
	}
	a := &w.awaited[p.awaits]
	if a.jobs == nil {
		a.jobs = map[string]*job{}
	}
	a.jobs[id] = p.job
	if len(a.jobs) > a.told && a.tellAt.IsZero() {
		a.tellAt = now.Add(tellAfter)
		if a.told > 0 {
			a.tellAt = now.Add(tellAgain)
		}
	}
	// Spread over a quarter more, so that they do not all ask in one moment. A new
	// owner asks at once: the catalog may be another.
	w.waitFor(p.job, now.Add(w.askAfter+time.Duration(w.random.Int64N(int64(w.askAfter/4)))), time.Time{}, now)
	return true
}

// tellAwaited writes one line for all that begin to wait, with how many there are.
func (w *worker) tellAwaited(now time.Time) {
	for kind := range w.awaited {
		a := &w.awaited[kind]
		if a.tellAt.IsZero() || now.Before(a.tellAt) {
			continue
		}
		a.told, a.tellAt = len(a.jobs), time.Time{}
		for id, j := range a.jobs {
			step := j.delivery.GetOrderStep()
			log := w.log.With("waiting", len(a.jobs), "flow", step.GetFlow(), "step", step.GetStep(), "delivery", id)
			if awaited(kind) == awaitedStep {
				log.Warn("orders wait because their flow no longer has the step with a mapping; put it back, or cancel them at the shop")
			} else {
				log.Warn("orders wait because the flow's condition no longer wants them; put the condition back, or cancel them at the shop")
			}
			break
		}
	}
}

// nextTell returns when the log is told of what waits; false for never.
func (w *worker) nextTell() (next time.Time, ok bool) {
	for kind := range w.awaited {
		if at := w.awaited[kind].tellAt; !at.IsZero() && (!ok || at.Before(next)) {
			next, ok = at, true
		}
	}
	return next, ok
}

// catalogChanged lets everything that waits for it be asked about again.
func (w *worker) catalogChanged() {
	w.edited = w.config.Catalog.Changed() // before anything is asked of the catalog
	for kind := range w.awaited {
		w.awaited[kind].told, w.awaited[kind].tellAt = 0, time.Time{}
		for _, j := range w.awaited[kind].jobs {
			w.queue.Hasten(j.delivery.GetKey())
		}
	}
}
