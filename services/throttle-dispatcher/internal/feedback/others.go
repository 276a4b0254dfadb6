package feedback

import (
	"time"

	"github.com/peppasync/peppasync/services/connectors/quota"
)

const (
	// certain is how many figures in a row must show calls that are not ours.
	certain = 3
	// slack is the share of a limit, as one of so many parts, below which calls that
	// are not ours are not spoken of: the headroom has room for a few.
	slack = 50
	// shortest is for how long at least what others take is taken into account.
	shortest = 5 * time.Second
	// unsaid is how long nothing is sent after "nothing left" without a time.
	unsaid = time.Second
	// bound is how long a pause may last that is asked for by a figure about none of
	// the declared windows. Where it is about one, no longer than that window.
	bound = time.Minute
	// baseless is how many times in a row "nothing left" may be followed, after the
	// pause, by a call that passes and hears it again, until it is not believed.
	baseless = 3
	// mostNames bounds how many names of figures are remembered.
	mostNames = 32
)

// Window is a declared limit of calls in any span of a length.
type Window struct {
	Name     string
	Calls    int
	Headroom int
	Per      time.Duration
}

// Reply is what one reply says.
type Reply struct {
	Figures []quota.Figure
	// Own is, by declared window, the most calls of this connector that the server can
	// have counted in such a window when it made the figures: all that can have
	// arrived in it, those in flight included. Nil where nobody knows.
	Own []int
	// Sent is when the call's first byte left, At when its reply was in.
	Sent, At time.Time
	// Throttled: the server refused the call for its pace, and said how long to wait
	// in a field that goes before these.
	Throttled bool
}

// Others finds out from a server's own figures what others take of the account.
type Others struct {
	windows []use
	names   map[string]*credit
}

// use is what others take of one window.
type use struct {
	Window
	streak int
	// now and before are the largest that was seen in this span and in the one before
	// it; the latest began at began.
	now, before Taken
	began       time.Time
}

// Taken is what the server's own figures say of a window beside our own calls.
type Taken struct {
	// Others is how many calls of it others made.
	Others int
	// Gives is how many calls fewer than declared this connector should make: those
	// that others made, as far as the server's own limit has no room for them, and
	// what that limit is smaller than the declared one.
	Gives int
}

func larger(a, b Taken) Taken { return Taken{max(a.Others, b.Others), max(a.Gives, b.Gives)} }

// credit is how far the figures of a name are believed.
type credit struct {
	// longer: it resets later than any declared window would.
	longer bool
	// until is the latest pause that it asked for; vain counts those in a row that
	// were asked for in vain.
	until time.Time
	vain  int
}

// NewOthers returns what knows of no others.
func NewOthers(windows []Window) *Others {
	o := &Others{names: map[string]*credit{}}
	for _, w := range windows {
		o.windows = append(o.windows, use{Window: w})
	}
	return o
}

// Heed takes a reply in and returns until when nothing should be sent; zero where
// it asks for no pause.
func (o *Others) Heed(r Reply) (closed time.Time) {
	for _, f := range r.Figures {
		c := o.names[f.Name]
		if c == nil {
			if len(o.names) >= mostNames {
				continue
			}
			c = &credit{}
			o.names[f.Name] = c
		}
		window := o.match(f, c, r.At)
		if until := o.pause(f, c, window, r); until.After(closed) {
			closed = until
		}
		if window >= 0 && window < len(r.Own) && c.vain < baseless {
			o.windows[window].heed(f, r.Own[window], r.At)
		}
	}
	return closed
}

// match returns the declared window that a figure is about, -1 for none. Where the
// figure does not say how long its window is, its size must tell: the same, or, with
// a single declared window, one of which that is at least half. It cannot be about a
// window that is shorter than the time to its reset.
func (o *Others) match(f quota.Figure, c *credit, now time.Time) int {
	if _, counts := f.Used(); !counts {
		return -1
	}
	found := -1
	for n, w := range o.windows {
		switch {
		case f.Per > 0 && f.Per != w.Per:
		case f.Per > 0, f.Limit == int64(w.Calls), len(o.windows) == 1 && int64(w.Calls) <= f.Limit && f.Limit <= 2*int64(w.Calls):
			if found >= 0 {
				return -1
			}
			found = n
		}
	}
	// A second for times that are told in whole seconds.
	if found >= 0 && f.Per == 0 && f.ResetsAt.Sub(now) > o.windows[found].Per+time.Second {
		c.longer = true
	}
	if c.longer {
		return -1
	}
	return found
}

// pause returns until when a figure that says "nothing left" asks to send nothing.
func (o *Others) pause(f quota.Figure, c *credit, window int, r Reply) time.Time {
	if f.Remaining > 0 || r.Throttled {
		c.vain, c.until = 0, time.Time{}
		return time.Time{}
	}
	if used, _ := f.Used(); window >= 0 && window < len(r.Own) && int64(r.Own[window]) >= used {
		// Our own calls are what used it up, and the rule for them holds already.
		return time.Time{}
	}
	if !c.until.IsZero() && !r.Sent.Before(c.until) {
		c.vain = min(c.vain+1, baseless)
	}
	if c.vain >= baseless {
		return time.Time{}
	}
	until := r.At.Add(unsaid)
	if !f.ResetsAt.IsZero() {
		until = f.ResetsAt
	}
	longest := bound
	if window >= 0 {
		longest = o.windows[window].Per
	}
	if latest := r.At.Add(longest); until.After(latest) {
		until = latest
	}
	if until.After(c.until) {
		c.until = until
	}
	return until
}

// Reopened takes in that a person ended the pauses: a figure that asked for one is wrong.
// Replies to calls from before its end say the same again, and are no proof of that.
func (o *Others) Reopened(now time.Time) {
	for _, c := range o.names {
		if c.until.After(now) {
			c.vain = baseless
		}
	}
}

// heed takes in a figure about the window.
func (u *use) heed(f quota.Figure, own int, now time.Time) {
	used, _ := f.Used()
	seen := Taken{Others: int(used) - own}
	if seen.Others <= max(1, u.Calls/slack) {
		seen.Others = 0
	}
	if seen.Gives = max(0, seen.Others+u.Calls-int(f.Limit)); seen == (Taken{}) {
		u.streak = 0
		return
	}
	if u.streak++; u.streak >= certain {
		u.turn(now)
		u.now = larger(u.now, seen)
	}
}

// turn begins a new span where the last one is over. So the largest figure counts
// for at least one span and at most two: a server that counts by the minute on the
// clock tells the whole only at the end of each.
func (u *use) turn(now time.Time) {
	span := max(u.Per, shortest)
	switch passed := now.Sub(u.began); {
	case u.began.IsZero() || passed >= 2*span:
		u.now, u.before, u.began = Taken{}, Taken{}, now
	case passed >= span:
		u.now, u.before, u.began = Taken{}, u.now, u.began.Add(span)
	}
}

// taken is what is taken as of now.
func (u *use) taken(now time.Time) Taken {
	then := *u
	then.turn(now)
	return larger(then.now, then.before)
}

// Part returns the part of the declared pace that others leave; exactly 1 where
// they leave all of it.
func (o *Others) Part(now time.Time) float64 {
	part := 1.0
	for _, u := range o.windows {
		if gives := u.taken(now).Gives; gives > 0 {
			whole := float64(u.Calls - u.Headroom)
			part = min(part, max(Least, (whole-float64(gives))/whole))
		}
	}
	return part
}

// Taken returns, by name, what is taken of the windows of which something is; nil
// where nothing is.
func (o *Others) Taken(now time.Time) map[string]Taken {
	var all map[string]Taken
	for _, u := range o.windows {
		if t := u.taken(now); t != (Taken{}) {
			if all == nil {
				all = map[string]Taken{}
			}
			all[u.Name] = t
		}
	}
	return all
}
