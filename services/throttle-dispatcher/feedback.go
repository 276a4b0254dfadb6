package throttledispatcher

import (
	"slices"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/quota"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/maintenance"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/promise"
)

// othersOf returns what follows the use of the windows by others.
func othersOf(limits budget.Limits) *feedback.Others { return feedback.NewOthers(windowsOf(limits)) }

func windowsOf(limits budget.Limits) []feedback.Window {
	var windows []feedback.Window
	for _, w := range limits.Windows {
		windows = append(windows, feedback.Window{Name: w.Name, Calls: w.Calls, Headroom: w.Headroom, Per: w.Per})
	}
	return windows
}

func bucketsOf(limits budget.Limits) []feedback.Bucket {
	var buckets []feedback.Bucket
	for _, k := range limits.Buckets {
		buckets = append(buckets, feedback.Bucket{Name: k.Name, Capacity: k.Capacity, Points: k.Weighted})
	}
	return buckets
}

// taken returns, by limit, what others take of windows, and have put into buckets.
func (w *worker) taken(now time.Time) map[string]feedback.Taken {
	taken := w.others.Taken(now)
	for name, amount := range w.budget.Foreign(now) {
		if taken == nil {
			taken = map[string]feedback.Taken{}
		}
		taken[name] = feedback.Taken{Others: int(amount)}
	}
	return taken
}

// standing is how many of our calls the server could have counted, by window, when
// a call was launched.
type standing struct {
	// others is what it is for: the windows may be others when the reply is in.
	others *feedback.Others
	counts []int
	last   int64
	// mark is what they may have in the buckets.
	mark budget.Mark
}

func (w *worker) standing() standing {
	now := time.Now()
	return standing{w.others, w.budget.Counted(now), w.budget.LastPermit(), w.budget.Mark(now)}
}

// own returns the most of our calls that the server can have counted by the time at
// which it wrote the reply: those that counted when the call was launched, and those
// handed out since, without those that had not left when the reply was in.
func (w *worker) own(o outcome) []int {
	if o.standing.others != w.others {
		return nil
	}
	later := int(w.budget.LastPermit() - o.standing.last)
	for _, sendAt := range w.unsent {
		if sendAt.After(o.result.At) {
			later--
		}
	}
	own := make([]int, len(o.standing.counts))
	for n, count := range o.standing.counts {
		own[n] = count + later
	}
	return own
}

// heed takes in what a reply says of the account's quota.
func (w *worker) heed(o outcome, answer connectors.Answer, now time.Time) {
	if o.result.Status == 0 || o.ownTrouble {
		return
	}
	if answer.Class != fault.Throttled {
		w.pace.Passed(now)
	}
	figures := quota.Read(o.result.Header, now)
	if metered, ok := w.system.(connectors.Metered); ok {
		figures = append(figures, metered.Quota(o.result.Reply)...)
	}
	w.keepLevels(figures, o, answer, now)
	figures = slices.DeleteFunc(figures, func(f quota.Figure) bool { return w.ownDoing(f, o, now) })
	if len(figures) == 0 {
		return
	}
	until := w.others.Heed(feedback.Reply{
		Figures: figures, Own: w.own(o), Sent: o.sentAt(), At: now, Throttled: answer.Class == fault.Throttled,
	})
	if !until.After(now) {
		return
	}
	if !now.Before(w.budget.ClosedUntil()) {
		w.log.Info("the external system says that nothing is left of its quota; the connector pauses",
			"wait", until.Sub(now).Round(time.Millisecond), "until", until, "end_it_with", w.howToReopen())
	}
	w.pauseUntil(until, "its reply says that nothing is left of its quota until then")
}

// keepLevels lets the levels of buckets follow what the reply says of them. What waits for
// its send time and has no room any more is called off.
func (w *worker) keepLevels(figures []quota.Figure, o outcome, answer connectors.Answer, now time.Time) {
	limits := w.budget.Limits()
	if len(limits.Buckets) == 0 {
		return
	}
	proven, windows, buckets := false, windowsOf(limits), bucketsOf(limits)
	for _, f := range figures {
		if name, available, ok := feedback.About(f, buckets, windows); ok {
			proven = w.budget.Heed(now, budget.Said{
				Bucket: name, Available: available, Mark: o.standing.mark, Cost: o.permit.Cost, Spent: w.spent(o),
				Refused: answer.Class == fault.Throttled, At: o.result.At,
			}) || proven
		}
	}
	if proven && !w.budget.Room(now, 1) {
		w.recall()
	}
}

// ownDoing reports whether the figure says of a bucket what is known here: that our
// own calls have filled it. The rule for them holds already, and a pause on top would
// cost pace for as long as there is a backlog.
func (w *worker) ownDoing(f quota.Figure, o outcome, now time.Time) bool {
	return f.Bucket && f.Remaining == 0 && !w.budget.Room(now, o.permit.Cost)
}

// sentAt is no later than the call's first byte.
func (o outcome) sentAt() time.Time {
	if o.result.FirstByteAt.IsZero() {
		return o.permit.SendAt
	}
	return o.result.FirstByteAt
}

// part is what part of the pace may be used: ramps, throttled replies and others
// each leave some of it, and the least counts.
func (w *worker) part(now time.Time) float64 {
	return min(w.maintenance.Part(now), w.pace.Part(now), w.others.Part(now))
}

// expectPace tells the promise clock at what pace the next calls will go: what others
// take they are taken to go on taking; what throttled replies took comes back, ramps grow, and
// windows come.
func (w *worker) expectPace(s *snapshot) {
	others := w.others.Part(s.at)
	s.gap, s.declared, s.taken, s.fills = w.budget.SpacingAt(others), w.budget.GapAt(1), w.taken(s.at), w.budget.Fills(s.at)
	// Any part tells what a ramp leaves a part of: while it is slowed, also what a
	// bucket refills is spread evenly, and bursts are.
	s.slowed = time.Duration(float64(w.budget.GapAt(maintenance.First)) * maintenance.First)
	s.part = w.part(s.at)
	window, outage := w.maintenance.Ramps(s.at)
	if w.breaker.Open() {
		outage = w.maintenance.OutageRamp(s.at) // nobody knows when, so as if it ended now
	}
	part, from, whole := w.pace.Grows(s.at)
	s.reopened, s.ramps = rampOf(window), []promise.Ramp{rampOf(outage), {From: from, Part: part, Whole: whole}}
	s.outlook = w.maintenance.Outlook()
}

func rampOf(r maintenance.Ramp) promise.Ramp {
	return promise.Ramp{From: r.From, Part: maintenance.First, Whole: r.From.Add(r.Lasts)}
}

// closings tells the promise clock when nothing will be sent.
func (s *snapshot) closings(yield func(promise.Closing) bool) {
	for c := range s.outlook.After(s.at) {
		if !yield(promise.Closing{From: c.From, Until: c.Until, Ramp: rampOf(c.Ramp)}) {
			return
		}
	}
}

// tellOthers tells the log when others begin and cease to use the account.
func (w *worker) tellOthers(now time.Time) {
	taken := w.taken(now)
	if len(taken) == 0 {
		if lasted, was := w.shared.ends(now); was {
			w.log.Info("the external system's figures show nobody else any more; the whole pace is used again", "after", lasted)
		}
		return
	}
	if !w.shared.begins(now) {
		return
	}
	for name, t := range taken {
		w.log.Warn("the external system counts calls that this connector did not make, or allows fewer than declared: somebody else uses the "+
			"account, a call counts more than once there, or the limit is declared too high; the pace gives way, and a bucket's level follows",
			"limit", name, "others", t.Others, "less", t.Gives, "part", w.others.Part(now))
	}
}
