package throttledispatcher

import (
	"context"
	"time"

	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/backoff"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
)

// step writes the next block if one is due, and starts its calls.
func (w *worker) step(calls context.Context) error {
	now := time.Now()
	w.expire(now)
	w.moveAll(calls)
	w.keepMaintenance(now)
	w.tellOthers(now)
	w.lift(now)
	w.tellAwaited(now)
	w.keepSilence(now)
	w.keepParallel(now)
	var write error
	switch _, asks := w.nextProbe(now); {
	case asks && w.mayProbe(now):
		write = w.probe(calls, now)
	case !asks && w.maySend(now):
		write = w.sendBlock(calls, now)
	case w.flushDue(now):
		write = w.writeBlock(calls, nil)
	default:
		return nil
	}
	w.stalls.note(time.Since(now))
	return write
}

func (w *worker) maySend(now time.Time) bool {
	if w.spec.Spec.Paused || now.Before(w.quiet(now)) || w.sign.onTrial() && w.flying > 0 || !w.queue.Ready(now) || w.room(now) == 0 {
		return false
	}
	at, ok := w.budget.NextFor(now, w.nextCost)
	return ok && at.Sub(now) <= w.stalls.lead()
}

// flushAt returns when what is pending is to be written even if no call takes it
// along: at once where nothing is under way that it could be grouped with, where it
// is the first reply in a while or one that asks for a pause, and where calls wait for
// it.
func (w *worker) flushAt() time.Time {
	if w.flying == 0 || w.urgent || w.ledger.Widens() {
		return w.lastBlock
	}
	return w.lastBlock.Add(w.stalls.flush())
}

func (w *worker) flushDue(now time.Time) bool {
	return w.ledger.Pending() && !now.Before(w.flushAt()) || w.ledger.Aged(now)
}

// untilNext returns how long nothing is due.
func (w *worker) untilNext(now time.Time) time.Duration {
	wait := time.Hour
	sooner := func(at time.Time) { wait = min(wait, max(0, at.Sub(now))) }
	if w.ledger.Pending() {
		sooner(w.flushAt())
	}
	if !w.nextExpiry.IsZero() {
		sooner(w.nextExpiry)
	}
	if at, ok := w.nextSend(now); ok {
		sooner(at)
	}
	if at, ok := w.nextTell(); ok {
		sooner(at)
	}
	if at, ok := w.silentAt(now); ok {
		sooner(at)
	}
	return wait
}

// nextSend returns when the next call or probe is due; false where only an event
// can tell.
func (w *worker) nextSend(now time.Time) (time.Time, bool) {
	if w.spec.Spec.Paused {
		return time.Time{}, false
	}
	at, cost := now, w.nextCost
	switch probe, asks := w.nextProbe(now); {
	case asks && !w.mayAsk(), !asks && (w.sign.onTrial() && w.flying > 0 || w.room(now) == 0):
		return time.Time{}, false
	case asks:
		at, cost = probe, w.askCost()
	}
	if !w.breaker.Open() && !w.queue.Ready(now) {
		ready, waits := w.queue.NextReady()
		if !waits {
			return time.Time{}, false
		}
		at = latest(at, ready)
	}
	free, ok := w.budget.NextFor(now, cost)
	if !ok {
		return time.Time{}, false
	}
	at = latest(at, free.Add(-w.stalls.lead()))
	if again := now.Add(rampEvery); w.part(now) < 1 && again.Before(at) {
		at = again
	}
	return latest(at, w.quiet(now)), true
}

func latest(times ...time.Time) time.Time {
	last := times[0]
	for _, t := range times[1:] {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// backoff is for what this side waits for: the bus, or a call whose effect may be
// in place already, of which it is better to know soon.
func (w *worker) backoff(attempts int) time.Duration {
	return backoff.Policy{Base: 500 * time.Millisecond, Max: 30 * time.Second}.Wait(attempts, w.random)
}

// backoffFor returns the wait after so many attempts, the last of which ended in
// that class.
func (w *worker) backoffFor(class fault.Class, attempts int) time.Duration {
	if class == fault.Transient {
		// Refused for certain: nothing is in doubt, and what blocks it may last.
		return backoff.Policy{Base: 500 * time.Millisecond, Max: time.Hour}.Wait(attempts, w.random)
	}
	return w.backoff(attempts)
}

// expire closes what waits here and has run out, whether anything is being sent
// or not: its requester would wait for nothing.
func (w *worker) expire(now time.Time) {
	if w.nextExpiry.IsZero() || now.Before(w.nextExpiry) {
		return
	}
	w.nextExpiry = time.Time{}
	for _, j := range w.jobs {
		expires := j.delivery.GetExpiresAt()
		switch {
		case expires == nil || !w.mayExpire(j):
		case j.moving:
			w.expiresAt(now.Add(movingRetry))
		case now.Before(expires.AsTime()):
			w.expiresAt(expires.AsTime())
		case w.queue.Drop(j.delivery.GetId()):
			w.close(j, w.expired(j.delivery), nil)
		}
		// What is under way is looked at again when it is put back.
	}
}

// expired is the result of what has run out, with the cause where only a person can mend
// it.
func (w *worker) expired(d *dispatchv1.Delivery) *dispatchv1.Result {
	result := newResult(d, dispatchv1.Outcome_OUTCOME_EXPIRED)
	if cause, out := w.sign.out(); out {
		result.Cause = causeOf(d, cause)
	}
	return result
}

func (w *worker) expiresAt(at time.Time) {
	if w.nextExpiry.IsZero() || at.Before(w.nextExpiry) {
		w.nextExpiry = at
	}
}

// mayExpire reports whether ending the delivery leaves no effect in doubt.
func (w *worker) mayExpire(j *job) bool {
	return j.claim == nil || w.isQuery(j.delivery)
}
