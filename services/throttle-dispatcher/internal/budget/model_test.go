package budget

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// The model plays one external account and the owners that call it, in virtual
// time. It shares nothing with the budget but its API: the server's own log of
// arrivals is judged by counting.

// scenario is one history, complete before it is played.
type scenario struct {
	Limits  Limits
	Offsets []time.Duration // of the clocks of successive owners
	// Parallel is how many calls successive owners have under way at most, of the
	// permits that they hold; 0 for all.
	Parallel []int
	// Ahead is what the owners give to Budget.Ahead.
	Ahead int
	// Figures: replies say what is available in the buckets.
	Figures bool
	Steps   []step
}

type kind int

const (
	reserve   kind = iota
	pause          // lets time pass
	kill           // the owner is gone, with everything that it had not written
	restart        // likewise, and its successor bears its name
	zombie         // the owner lost its place but goes on sending what it holds
	unwritten      // permits are handed out and the owner dies before the record
	change         // the first window gets other calls
	replace        // the first window becomes another one
	closing        // the account asks for a pause
	slow           // part of the pace is allowed
	share          // others put something into the first bucket
	rebound        // another number of calls may be under way at a time
	flush          // a block without permits
)

type step struct {
	Kind    kind
	Wait    time.Duration
	Horizon time.Duration
	Max     int
	Calls   int
	Per     time.Duration
	Fates   []fate
}

// fate is what becomes of one permit; shares are of 1000.
type fate struct {
	Void   bool
	Lost   bool
	Late   int           // share of the tolerance by which it is used late
	Out    time.Duration // on the way to the server
	Back   time.Duration // until the reply is in
	Report time.Duration // until the budget hears of it
	Cost   int64
	Spent  int64         // share of the cost that is not given back
	Refund time.Duration // from the arrival on, at the latest with the reply
}

// flaw breaks the budget's use on purpose, to see that the judge notices.
type flaw int

const (
	sound flaw = iota
	// issueOnly frees a permit a window after its send time, as token buckets do.
	issueOnly
	// forgetful restores only what has a settlement.
	forgetful
	// oneClock restores as if all replicas had the same clock.
	oneClock
	// early uses permits before their send time.
	early
	// namesake gives a zombie's successor its name.
	namesake
	// unbound has as many calls under way as the limit allows, or any number where none
	// does, beyond the owner's bound.
	unbound
	// hasty takes a bound for one that held from the start.
	hasty
	// final has nobody begin a call after it was taken over.
	final
	// priceless takes permits of cost 1 for calls of any cost.
	priceless
	// emptied restores the buckets as empty.
	emptied
	// undone settles for nothing.
	undone
	// deaf hears of others and its level does not follow; bare counts nothing on top.
	deaf
	bare
)

type arrival struct {
	at    time.Duration
	until time.Duration // busy at the server
	era   int
	owner int
	// cost is what it adds to buckets; back is given back at a time.
	cost, back int64
	backAt     time.Duration
	// handed is when its permit was handed out, after so many figures were heard, which may
	// be several in one instant; refused, by the bucket of that number, 1 for the first.
	handed  time.Duration
	heard   int
	refused int
}

// event is something that an owner does; a report is heard by the owner in
// office alone, and what is sent is sent by zombies as well.
type event struct {
	at     time.Duration
	owner  int
	report bool
	do     func()
}

// era is a time of unchanged limits.
type era struct {
	Limits
	since time.Duration
}

type world struct {
	flaw     flaw
	limits   Limits
	now      time.Duration
	offsets  []time.Duration
	parallel []int
	ahead    int
	under    map[int]int // calls under way, by owner
	// gate is how many calls an owner lets be under way, 0 for any number, and said what
	// is on record of it; wanted is what the owner in office wants.
	gate     map[int]int
	said     map[int]Bound
	wanted   int
	owner    int
	name     int // of the owner
	budget   *Budget
	events   []event
	eras     []era
	arrivals []arrival
	foreign  foreign

	history    History
	names      []int               // of those who handed out history.Permits
	settled    map[int64]time.Time // written
	void       map[int64]bool      // written
	unrecorded []func()
}

var epoch = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)

func (w *world) local() time.Time { return epoch.Add(w.now + w.offset()) }

func (w *world) offset() time.Duration { return w.offsets[w.owner%len(w.offsets)] }

// office gives the owner in office its bound, 0 for none.
func (w *world) office() {
	w.wanted = 0
	if len(w.parallel) > 0 {
		w.wanted = w.parallel[w.owner%len(w.parallel)]
	}
	w.gate[w.owner] = w.wanted
}

// play returns what the server's log says against the limits.
func play(s scenario, f flaw) error {
	limits, err := s.Limits.Normal()
	if err != nil {
		return err
	}
	if f == oneClock {
		limits.ClockTolerance = 1
	}
	w := &world{flaw: f, limits: limits, offsets: s.Offsets, parallel: s.Parallel, ahead: s.Ahead, foreign: foreign{figures: s.Figures}, under: map[int]int{}, gate: map[int]int{}, said: map[int]Bound{}, eras: []era{{limits, 0}}, settled: map[int64]time.Time{}, void: map[int64]bool{}}
	if w.budget, err = New(limits); err != nil {
		return err
	}
	w.budget.Ahead(w.ahead)
	w.office()
	for _, st := range s.Steps {
		w.pass(st.Wait)
		if err := w.step(st); err != nil {
			return err
		}
	}
	w.pass(time.Hour)
	return w.judge()
}

// pass plays the events up to a later time, in order.
func (w *world) pass(d time.Duration) {
	end := w.now + d
	for {
		i := -1
		for j, e := range w.events {
			if e.at <= end && (i < 0 || e.at < w.events[i].at) {
				i = j
			}
		}
		if i < 0 {
			break
		}
		e := w.events[i]
		w.events = slices.Delete(w.events, i, i+1)
		w.now = max(w.now, e.at)
		if !e.report || e.owner == w.owner {
			e.do()
		}
	}
	w.now = end
}

func (w *world) step(st step) error {
	switch st.Kind {
	case reserve:
		permits, err := w.reserve(st)
		if err != nil {
			return err
		}
		w.record(permits)
		for i, p := range permits {
			w.use(p, st.Fates[i%len(st.Fates)])
		}
	case unwritten:
		if _, err := w.reserve(st); err != nil {
			return err
		}
		return w.takeOver(false)
	case kill, restart:
		w.die(st.Kind == restart)
		return w.takeOver(st.Kind == restart)
	case zombie:
		return w.takeOver(w.flaw == namesake)
	case change, replace:
		limits := w.limits
		limits.Windows = slices.Clone(limits.Windows)
		if len(limits.Windows) > 0 {
			limits.Windows[0].Calls = st.Calls
			limits.Windows[0].Headroom = min(limits.Windows[0].Headroom, st.Calls-1)
			if st.Kind == replace {
				limits.Windows[0].Per = st.Per
			}
		}
		w.limits = limits
		w.eras = append(w.eras, era{limits, w.now})
		return w.budget.SetLimits(w.local(), limits)
	case closing:
		w.budget.Close(w.local().Add(st.Horizon))
	case share:
		w.share(int64(st.Max))
	case slow:
		w.budget.Slow(float64(st.Max) / 12)
	case flush:
		w.record(nil)
	case rebound:
		if w.wanted > 0 {
			w.wanted = 1 + (st.Calls-1)%slices.Max(w.parallel)
			w.gate[w.owner] = min(w.said[w.owner].Calls, w.wanted)
		}
	}
	return nil
}

// reserve also holds the promises of Reserve and Next to each other.
func (w *world) reserve(st step) ([]Permit, error) {
	now := w.local()
	costs := make([]int64, st.Max)
	for i := range costs {
		costs[i] = st.Fates[i%len(st.Fates)].Cost
		if w.flaw == priceless {
			costs[i] = 1
		}
	}
	first := int64(1)
	if len(costs) > 0 {
		first = costs[0]
	}
	next, ok := w.budget.NextFor(now, first)
	permits := w.budget.ReserveFor(now, st.Horizon, costs)
	due := ok && !next.After(now.Add(st.Horizon)) && st.Max > 0
	if due != (len(permits) > 0) {
		return nil, fmt.Errorf("Next said %v %v, Reserve(%v, %v) gave %d", next, ok, now, st.Horizon, len(permits))
	}
	for i, p := range permits {
		switch {
		case p.SendAt.Before(now) || p.SendAt.After(now.Add(st.Horizon)):
			return nil, fmt.Errorf("permit %d: send time %v is outside of %v and %v", p.Number, p.SendAt, now, st.Horizon)
		case i == 0 && !p.SendAt.Equal(next):
			return nil, fmt.Errorf("permit %d: send time %v, Next said %v", p.Number, p.SendAt, next)
		case i > 0 && p.SendAt.Sub(permits[i-1].SendAt) < w.limits.Gap():
			return nil, fmt.Errorf("permit %d: %v after the one before, the gap is %v", p.Number, p.SendAt.Sub(permits[i-1].SendAt), w.limits.Gap())
		case w.flaw == sound && p.SendAt.Before(w.budget.ClosedUntil()):
			return nil, fmt.Errorf("permit %d: send time %v, closed until %v", p.Number, p.SendAt, w.budget.ClosedUntil())
		}
	}
	if w.flaw == issueOnly {
		for _, p := range permits {
			w.budget.Settle(p.Number, p.SendAt)
		}
	}
	return permits, nil
}

// record is the block: what is not in it is lost with the owner.
func (w *world) record(permits []Permit) {
	for _, f := range w.unrecorded {
		f()
	}
	w.unrecorded = nil
	if w.wanted > 0 {
		says := w.said[w.owner].Calls
		if says == 0 || w.wanted > says || w.under[w.owner] <= w.wanted { // a lower one once it holds
			says = w.wanted
		}
		w.said[w.owner] = Bound{Calls: says, Since: w.local()}
		w.gate[w.owner] = min(says, w.wanted)
	}
	for _, p := range permits {
		w.history.Permits = append(w.history.Permits, Past{Permit: p, Holder: fmt.Sprint(w.owner)})
		w.names = append(w.names, w.name)
	}
	w.history.LastPermit, w.history.NextSend, w.history.ClosedUntil = w.budget.LastPermit(), w.budget.NextSend(), w.budget.ClosedUntil()
	w.history.Levels, w.history.Writer = w.budget.Levels(w.local()), fmt.Sprint(w.owner)
}

// die ends the owner. Where its successor knows that, the connections were cut
// by the kernel of the same machine: what is on its way has the grace.
func (w *world) die(cut bool) {
	w.events = slices.DeleteFunc(w.events, func(e event) bool { return e.owner == w.owner })
	dead := w.now + w.limits.Grace
	for i := range w.arrivals {
		if a := &w.arrivals[i]; cut && a.owner == w.owner {
			a.at, a.until = min(a.at, dead), min(a.until, dead)
		}
	}
}

func (w *world) takeOver(sameName bool) error {
	w.owner++
	if !sameName {
		w.name++
	}
	w.unrecorded = nil
	h := w.history
	h.Permits, h.Parallel = nil, map[string]Bound{}
	for before, bound := range w.said {
		if w.flaw == hasty {
			bound.Since = time.Time{}
		}
		h.Parallel[fmt.Sprint(before)] = bound
	}
	for i, p := range w.history.Permits {
		p.SettledAt, p.Gone = w.settled[p.Number], w.names[i] == w.name
		if w.flaw == final && p.NotAfter.After(w.local()) {
			p.NotAfter = w.local()
		}
		if w.void[p.Number] || w.flaw == forgetful && p.SettledAt.IsZero() {
			continue
		}
		h.Permits = append(h.Permits, p)
	}
	if w.flaw == emptied {
		h.Levels = slices.Clone(h.Levels)
		for i := range h.Levels {
			h.Levels[i].Drained = h.Levels[i].AsOf
		}
	}
	b, err := New(w.limits)
	if err != nil {
		return err
	}
	b.Restore(w.local(), h)
	b.Ahead(w.ahead)
	w.budget = b
	w.office()
	return nil
}

// use sends the call of a permit, or throws the permit away.
func (w *world) use(p Permit, f fate) {
	offset, era, owner, handed, heard := w.offset(), len(w.eras)-1, w.owner, w.now, len(w.foreign.reports)
	talk := w.talk(p, f)
	at := func(t time.Time) time.Duration { return t.Sub(epoch) - offset }
	clock := func(d time.Duration) time.Time { return epoch.Add(d + offset) }
	report := func(when time.Duration, do func()) { w.events = append(w.events, event{when, owner, true, do}) }
	write := at(p.SendAt) + w.limits.Tolerance*time.Duration(f.Late)/1000
	if w.flaw == early {
		write = max(w.now, at(p.SendAt)-w.limits.Tolerance)
	}
	if f.Void {
		report(write+f.Report, func() {
			w.budget.Void(p.Number)
			w.unrecorded = append(w.unrecorded, func() { w.void[p.Number] = true })
		})
		return
	}
	out := f.Out
	for _, l := range w.limits.Windows {
		if l.ArrivesWithin > 0 {
			out = min(out, l.ArrivesWithin)
		}
	}
	latest, deadline := at(p.NotAfter), at(p.Deadline)+w.limits.Grace
	send := func() {
		write := w.now
		arrives := min(write+out, deadline)
		ends := arrives + f.Back
		if f.Lost || ends > deadline {
			ends = deadline
		}
		// A server that never replied may not have given anything back.
		spent := f.Cost * f.Spent / 1000
		if f.Lost || ends == deadline {
			spent = f.Cost
		}
		w.under[owner]++
		if !f.Lost {
			back := f.Cost - spent
			w.arrivals = append(w.arrivals, arrival{arrives, ends, era, owner, f.Cost, back, min(arrives+f.Refund, ends), handed, heard, 0})
			talk.asks(len(w.arrivals)-1, ends < deadline)
		}
		w.events = append(w.events, event{ends, owner, false, func() { w.under[owner]-- }})
		report(write+f.Report/8, func() { w.budget.Issued(p.Number, clock(w.now)) })
		report(ends+f.Report, func() {
			settles := spent
			if w.flaw == undone {
				settles = 0
			}
			if talk.refused() {
				settles = f.Cost
			}
			w.budget.SettleFor(p.Number, clock(ends), settles)
			talk.hears(clock(ends), settles)
			w.unrecorded = append(w.unrecorded, func() { w.settled[p.Number] = clock(ends) })
		})
	}
	// Sending needs a living owner, or a zombie; what is sent arrives in any case. What
	// finds no room waits for it as long as its permit is good.
	var try func()
	try = func() {
		switch {
		case w.lets(owner):
			send()
		case w.now < latest:
			w.events = append(w.events, event{min(w.now+w.limits.Tolerance/8+1, latest), owner, false, try})
		default:
			report(w.now+f.Report, func() {
				w.budget.Void(p.Number)
				w.unrecorded = append(w.unrecorded, func() { w.void[p.Number] = true })
			})
		}
	}
	w.events = append(w.events, event{write, owner, false, try})
}

// lets reports whether an owner may have one more call under way.
func (w *world) lets(owner int) bool {
	bound := w.gate[owner]
	if w.flaw == unbound {
		bound = 0
		for _, l := range w.limits.Concurrency {
			bound = l.Calls
		}
	}
	return bound == 0 || w.under[owner] < bound
}

// judgeBuckets fills each bucket with the arrivals, in whole numbers: a cost is so
// many nanoseconds of Per, of which Refill drain in each.
func (w *world) judgeBuckets() error {
	type change struct {
		at     time.Duration
		amount int64
	}
	for _, l := range w.limits.Buckets {
		var changes []change
		for _, a := range w.arrivals {
			cost, back := a.cost, a.back
			if a.refused > 0 {
				continue
			}
			if !l.Weighted {
				cost, back = 1, 0
			}
			changes = append(changes, change{a.at, cost * int64(l.Per)}, change{a.backAt, -back * int64(l.Per)})
		}
		slices.SortStableFunc(changes, func(x, y change) int { return cmp.Compare(x.at, y.at) })
		level, last := int64(0), time.Duration(math.MinInt64/2)
		for _, c := range changes {
			if passed := c.at - last; last >= 0 {
				level = max(0, level-l.Refill*int64(passed))
			}
			level, last = max(0, level+c.amount), c.at
			if level > l.Capacity*int64(l.Per) {
				return fmt.Errorf("bucket %q: %.9f in it at %v, it holds %d", l.Name, float64(level)/float64(l.Per), c.at, l.Capacity)
			}
		}
	}
	return nil
}

// judge counts the arrivals of every closed span that starts with one. A span
// with calls from before a change of the calls is judged by the largest limit in
// force since; one that starts after a change of the window, by the new one as
// soon as it holds a call made under it.
func (w *world) judge() error {
	slices.SortFunc(w.arrivals, func(x, y arrival) int { return cmp.Compare(x.at, y.at) })
	if err := w.judgeBuckets(); err != nil {
		return err
	}
	if err := w.judgeForeign(); err != nil {
		return err
	}
	for i := range w.eras[0].Windows {
		for from, first := range w.arrivals {
			oldest, newest := first.era, first.era
			for to := from; to < len(w.arrivals); to++ {
				oldest, newest = min(oldest, w.arrivals[to].era), max(newest, w.arrivals[to].era)
				span := w.arrivals[to].at - first.at
				n, allowed := to-from+1, w.allowed(i, oldest, newest, first.at, span)
				if n > allowed {
					return fmt.Errorf("window %q: %d arrivals within %v of %v, allowed are %d", w.eras[0].Windows[i].Name, n, span, first.at, allowed)
				}
			}
		}
	}
	for _, c := range w.limits.Concurrency {
		for _, x := range w.arrivals {
			n := 0
			for _, y := range w.arrivals {
				if y.at <= x.at && x.at < y.until {
					n++
				}
			}
			if n > c.Calls {
				return fmt.Errorf("concurrency %q: %d at once at %v, allowed are %d", c.Name, n, x.at, c.Calls)
			}
		}
	}
	return nil
}

// allowed is how many arrivals window i allows in a span of calls made from era
// oldest to era newest.
func (w *world) allowed(i, oldest, newest int, from, span time.Duration) int {
	last := w.eras[newest].Windows[i]
	if span > last.Per {
		return math.MaxInt
	}
	if from > w.eras[newest].since {
		return last.Calls
	}
	most := last.Calls
	for _, e := range w.eras[oldest:newest] {
		if e.Windows[i].Per != last.Per {
			return math.MaxInt
		}
		most = max(most, e.Windows[i].Calls)
	}
	return most
}
