package budget

import "time"

// History is what the ledger says of the permits of the owners before.
type History struct {
	LastPermit            int64
	NextSend, ClosedUntil time.Time
	// Permits holds those that may still count, void ones left out.
	Permits []Past
}

// Past is one permit of an owner before.
type Past struct {
	Permit
	// SettledAt is zero where no settlement is recorded.
	SettledAt time.Time
}

// Restore adds what owners before have handed out. Their clocks and this one's
// may be wrong in opposite ways, so every bound is moved by twice the clock
// tolerance. A permit without a settlement counts as in flight and as not
// arrived until its deadline and grace; under ArrivesWithin as arrived by then
// after NotAfter.
func (b *Budget) Restore(now time.Time, history History) {
	b.advance(now)
	skew := 2 * b.limits.ClockTolerance
	b.number = max(b.number, history.LastPermit)
	if !history.ClosedUntil.IsZero() {
		b.Close(history.ClosedUntil)
	}
	if !history.NextSend.IsZero() {
		last := b.nanos(history.NextSend) - b.gap
		if !b.sent || last > b.last {
			b.last, b.sent = last, true
		}
	}
	for _, p := range history.Permits {
		b.number = max(b.number, p.Number)
		settled := p.SettledAt
		if settled.IsZero() {
			settled = p.Deadline.Add(b.limits.Grace)
			b.abandoned.add(b.nanos(settled.Add(skew)))
		}
		for _, w := range b.windows {
			bound := settled
			if w.ArrivesWithin > 0 && p.NotAfter.Add(w.ArrivesWithin).Before(bound) {
				bound = p.NotAfter.Add(w.ArrivesWithin)
			}
			w.bounds.add(b.nanos(bound.Add(skew)))
		}
	}
	b.advance(now)
}

// farthest keeps sums of times and windows inside 64 bits: 73 years from the
// anchor, either way.
const farthest = int64(1) << 61

// nanos is t on the budget's own scale, which starts at the first time given to
// it. Sub uses the monotonic reading where both have one.
func (b *Budget) nanos(t time.Time) int64 {
	if b.anchor.IsZero() {
		b.anchor = t
	}
	return min(max(int64(t.Sub(b.anchor)), -farthest), farthest)
}

func (b *Budget) time(n int64) time.Time { return b.anchor.Add(time.Duration(n)) }
