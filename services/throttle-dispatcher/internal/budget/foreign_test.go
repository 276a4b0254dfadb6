package budget

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// foreign is what the model's account knows of others, and what its replies say.
type foreign struct {
	figures bool
	shares  []shared
	calls   []*called
	reports []*told
	madeUp  error
}

// shared is what others put into the first bucket.
type shared struct {
	at     time.Duration
	points int64
}

// called is a call as its owner sees it: in flight from when it was handed out until
// its end was heard.
type called struct {
	handed, ended time.Duration
	sendAt        time.Time
	cost          int64
}

// told is a figure that was heard: it is as of a moment. Of calls handed out after it
// so many points may be refused, until others come again; none if it was beyond doubt.
type told struct {
	bucket       int
	asOf, heard  time.Duration
	bound, tally int64
	certain      bool
}

// talk is the account's side of one call.
type talk struct {
	w         *world
	permit    Permit
	fate      fate
	call      *called
	arrival   int // -1 before
	asked     time.Duration
	mark      Mark
	available []int64
	asOf      time.Duration
}

func (w *world) talk(p Permit, f fate) *talk {
	t := &talk{w: w, permit: p, fate: f, arrival: -1}
	if w.foreign.figures {
		t.call = &called{handed: w.now, ended: time.Duration(farthest), sendAt: p.SendAt, cost: p.Cost}
		w.foreign.calls = append(w.foreign.calls, t.call)
	}
	return t
}

// level is what is in a bucket now, in nanoseconds of Per: of those of our calls that
// arrived, and of others.
func (w *world) level(n int) int64 {
	l := w.limits.Buckets[n]
	type change struct {
		at     time.Duration
		amount int64
	}
	var changes []change
	for _, a := range w.arrivals {
		cost, back := a.cost, a.back
		if !l.Weighted {
			cost, back = 1, 0
		}
		if a.at > w.now || a.refused != 0 {
			continue
		}
		changes = append(changes, change{a.at, cost * int64(l.Per)})
		if a.backAt <= w.now {
			changes = append(changes, change{a.backAt, -back * int64(l.Per)})
		}
	}
	if n == 0 {
		for _, s := range w.foreign.shares {
			changes = append(changes, change{s.at, s.points * int64(l.Per)})
		}
	}
	slices.SortStableFunc(changes, func(x, y change) int { return cmp.Compare(x.at, y.at) })
	level, last := int64(0), time.Duration(0)
	for _, c := range append(changes, change{at: w.now}) {
		level = max(0, level-l.Refill*int64(c.at-last))
		level, last = max(0, level+c.amount), c.at
	}
	return level
}

// room is what a bucket has room for.
func (w *world) room(n int) int64 {
	l := w.limits.Buckets[n]
	return (l.Capacity*int64(l.Per) - w.level(n)) / int64(l.Per)
}

func (w *world) share(points int64) {
	if points = min(points, w.room(0)); points > 0 {
		w.foreign.shares = append(w.foreign.shares, shared{w.now, points})
	}
}

// asks plays a call whose first byte leaves now: the account takes or refuses it as it
// arrives, and says something of its buckets before it replies.
func (t *talk) asks(arrival int, replies bool) {
	w := t.w
	if !w.foreign.figures {
		return
	}
	t.arrival, t.asked, t.mark = arrival, w.now, w.budget.Mark(w.local())
	// Until it has arrived it is in no bucket.
	a := &w.arrivals[arrival]
	a.refused = -1
	at, says := a.at, a.backAt+(a.until-a.backAt)*time.Duration(t.fate.Late)/1000
	w.events = append(w.events, event{at, w.owner, false, func() {
		refused := 0
		for n, l := range w.limits.Buckets {
			cost := t.fate.Cost
			if !l.Weighted {
				cost = 1
			}
			if cost > w.room(n) {
				refused = n + 1
			}
		}
		w.arrivals[arrival].refused = refused
	}})
	if !replies {
		return
	}
	w.events = append(w.events, event{says, w.owner, false, func() {
		t.asOf = w.now
		for n := range w.limits.Buckets {
			t.available = append(t.available, w.room(n))
		}
	}})
}

func (t *talk) refused() bool { return t.arrival >= 0 && t.w.arrivals[t.arrival].refused > 0 }

// hears lets the budget hear what the reply says.
func (t *talk) hears(at time.Time, spent int64) {
	w := t.w
	if t.call != nil {
		t.call.ended = w.now
	}
	for n, available := range t.available {
		l := w.limits.Buckets[n]
		r := &told{bucket: n, asOf: t.asOf, heard: w.now, bound: max(1, l.Capacity/slack) + 1}
		r.bound += l.Refill * int64(w.now-t.asked) / int64(l.Per)
		for _, c := range w.foreign.calls {
			if c != t.call && c.ended > t.asked && !c.sendAt.After(at) {
				r.bound += c.cost
			}
		}
		mark := t.mark
		if w.flaw == bare {
			mark.of = slices.Clone(mark.of)
			mark.of[n].flying = w.budget.buckets[n].cost(t.permit.Cost)
		}
		w.budget.Mark(w.local()) // up to now, whoever hears what
		before := w.budget.buckets[n].drained
		r.certain = w.budget.Heed(w.local(), Said{
			Bucket: l.Name, Available: available, Mark: mark, Cost: t.permit.Cost, Spent: spent, Refused: t.refused(), At: at,
		})
		if w.flaw == deaf {
			w.budget.buckets[n].drained = before
		}
		if r.certain && (n > 0 || len(w.foreign.shares) == 0 || w.foreign.shares[0].at > t.asOf) {
			w.foreign.madeUp = fmt.Errorf("bucket %q: others were found at %v, there were none", l.Name, w.now)
		}
		w.foreign.reports = append(w.foreign.reports, r)
	}
}

// judgeForeign holds what was refused against what was known when it was handed out.
func (w *world) judgeForeign() error {
	if w.foreign.madeUp != nil {
		return w.foreign.madeUp
	}
	for _, a := range w.arrivals {
		if a.refused < 1 {
			continue
		}
		n := a.refused - 1
		name := w.limits.Buckets[n].Name
		last := time.Duration(-1)
		for _, s := range w.foreign.shares {
			if s.at <= a.at {
				last = s.at
			}
		}
		if n > 0 || last < 0 {
			return fmt.Errorf("bucket %q: a call was refused at %v, nobody else uses it", name, a.at)
		}
		var first *told
		for _, r := range w.foreign.reports[:a.heard] {
			if r.bucket != n || r.asOf <= last {
				continue
			}
			if first == nil {
				first = r
			}
			if r.certain {
				return fmt.Errorf("bucket %q: a call was refused at %v, handed out at %v, when a figure as of %v had told of all that others did", name, a.at, a.handed, r.asOf)
			}
		}
		if first == nil {
			continue
		}
		// What is refused counts here, and not there: so that each refusal makes the next
		// one less likely.
		if first.tally > first.bound {
			return fmt.Errorf("bucket %q: %d points were refused after a figure of %v that was heard at %v, at most %d should be",
				name, first.tally, first.asOf, first.heard, first.bound)
		}
		first.tally += a.cost
	}
	return nil
}
