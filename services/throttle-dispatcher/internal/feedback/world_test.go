package feedback_test

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/peppasync/peppasync/services/connectors/quota"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
)

var epoch = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)

// timeline is a queue of things to do in virtual time.
type timeline []due

type due struct {
	at time.Time
	do func(now time.Time)
}

func (q timeline) Len() int           { return len(q) }
func (q timeline) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q timeline) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *timeline) Push(x any)        { *q = append(*q, x.(due)) }
func (q *timeline) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// server is an account with a limit of calls per window that others use as well.
type server struct {
	calls int
	per   time.Duration
	// clock: it counts by windows that follow each other, not by rolling ones.
	clock bool
	// tells: replies carry figures. asks: throttled ones say how long to wait.
	tells, asks bool
	// others make a call every time that this passes; 0 for nobody.
	others time.Duration
	// overtaken: calls arrive at any time between sending and the reply.
	overtaken bool
	// refuses is how many calls it throttles for no reason.
	refuses int
	// whim is in how many calls it throttles one by chance; 0 for none.
	whim   int
	random *rand.Rand

	arrivals []time.Time // counted ones, of others too
	ours     []time.Time // all of ours
	accepted []time.Time
	refused  []time.Time
}

// counted drops what does not count any more and returns from when on what is
// counted then counts no longer.
func (s *server) counted(now time.Time) (resets time.Time) {
	from := now.Add(-s.per)
	if s.clock {
		from = now.Truncate(s.per).Add(-1)
	}
	for len(s.arrivals) > 0 && !s.arrivals[0].After(from) {
		s.arrivals = s.arrivals[1:]
	}
	switch {
	case s.clock:
		return now.Truncate(s.per).Add(s.per)
	case len(s.arrivals) > 0:
		return s.arrivals[0].Add(s.per)
	}
	return now
}

// call takes one of our calls.
func (s *server) call(now time.Time) (throttled bool, wait time.Duration, figures []quota.Figure) {
	s.ours = append(s.ours, now)
	resets := s.counted(now)
	throttled = len(s.arrivals) >= s.calls
	if s.refuses > 0 && !throttled {
		s.refuses--
		throttled = true
		resets = now.Add(time.Second)
	}
	if s.whim > 0 && !throttled && s.random.IntN(s.whim) == 0 {
		throttled, resets = true, now.Add(time.Second)
	}
	if throttled {
		s.refused = append(s.refused, now)
	} else {
		s.arrivals, s.accepted = append(s.arrivals, now), append(s.accepted, now)
	}
	if s.tells {
		figures = []quota.Figure{{
			Name: "x-ratelimit", Limit: int64(s.calls), Remaining: int64(s.calls - len(s.arrivals)), ResetsAt: resets,
		}}
	}
	if s.asks {
		wait = resets.Sub(now)
	}
	return throttled, wait, figures
}

// client is a connector with an endless backlog: every 50 ms it asks for the send
// times of the next 100 ms, and is called off as the dispatcher is.
type client struct {
	budget *budget.Budget
	pace   feedback.Pace
	others *feedback.Others
	// refusals are how it waits where nobody says how long.
	refusals feedback.Refusals
	random   *rand.Rand
	unsent   map[int64]time.Time
	// parts are those of the pace in use, every second.
	parts []float64
}

// failer is a testing.T or a rapid.T.
type failer interface {
	Helper()
	Fatal(args ...any)
}

// play feeds the server for a time.
func play(t failer, s *server, limits budget.Limits, reply func() time.Duration, lasts time.Duration, change map[time.Duration]func(*client)) *client {
	t.Helper()
	b, err := budget.New(limits)
	if err != nil {
		t.Fatal(err)
	}
	var windows []feedback.Window
	for _, w := range limits.Windows {
		windows = append(windows, feedback.Window{Name: w.Name, Calls: w.Calls, Headroom: w.Headroom, Per: w.Per})
	}
	c := &client{budget: b, others: feedback.NewOthers(windows), unsent: map[int64]time.Time{}, random: rand.New(rand.NewPCG(3, 4))}
	var q timeline
	at := func(when time.Time, do func(time.Time)) { heap.Push(&q, due{when, do}) }
	var tick, foreign func(now time.Time)
	tick = func(now time.Time) {
		part := min(c.pace.Part(now), c.others.Part(now))
		if now.Sub(epoch)%time.Second == 0 {
			c.parts = append(c.parts, part)
		}
		b.Slow(part)
		for _, p := range b.Reserve(now, 100*time.Millisecond, 1000) {
			c.unsent[p.Number] = p.SendAt
			at(p.SendAt, func(sent time.Time) { c.send(s, p, sent, reply(), at) })
		}
		at(now.Add(50*time.Millisecond), tick)
	}
	foreign = func(now time.Time) {
		if s.others > 0 {
			if s.counted(now); len(s.arrivals) < s.calls {
				s.arrivals = append(s.arrivals, now)
			}
		}
		at(now.Add(max(s.others, 10*time.Millisecond)), foreign)
	}
	tick(epoch)
	foreign(epoch)
	for after, do := range change {
		at(epoch.Add(after), func(time.Time) { do(c) })
	}
	for len(q) > 0 && q[0].at.Before(epoch.Add(lasts)) {
		next := heap.Pop(&q).(due)
		next.do(next.at)
	}
	return c
}

func (c *client) send(s *server, p budget.Permit, sent time.Time, reply time.Duration, at func(time.Time, func(time.Time))) {
	delete(c.unsent, p.Number)
	if sent.Before(c.budget.ClosedUntil()) {
		c.budget.Void(p.Number) // called off
		return
	}
	own, last := c.budget.Counted(sent)[0], c.budget.LastPermit()
	out := reply / 3
	if s.overtaken {
		out = reply * time.Duration(p.Number*7919%101) / 100
	}
	at(sent.Add(out), func(arrived time.Time) {
		throttled, wait, figures := s.call(arrived)
		at(sent.Add(reply), func(now time.Time) {
			c.budget.Settle(p.Number, now)
			c.learn(feedback.Reply{
				Figures: figures, Own: []int{own + int(c.budget.LastPermit()-last) - len(c.unsent)}, Sent: sent, At: now, Throttled: throttled,
			}, wait)
		})
	})
}

func (c *client) learn(r feedback.Reply, wait time.Duration) {
	if until := c.others.Heed(r); !until.IsZero() {
		c.budget.Close(until)
	}
	if r.Throttled {
		wait = c.refusals.Pause(r.Sent, r.At, r.At, wait, wait > 0, c.random)
		c.budget.Close(r.At.Add(wait))
		c.pace.Throttled(r.Sent, r.At, r.At.Add(wait), c.others.Part(r.At))
	} else {
		c.pace.Passed(r.At)
		c.refusals.Passed(r.Sent)
	}
}

// since returns how many times are not before a moment.
func since(times []time.Time, moment time.Duration) int {
	from, _ := slices.BinarySearchFunc(times, epoch.Add(moment), time.Time.Compare)
	return len(times) - from
}

// largest returns the most of them in any closed span of that length.
func largest(times []time.Time, per time.Duration) int {
	most, from := 0, 0
	for to := range times {
		for times[to].Sub(times[from]) > per {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

func within(random *rand.Rand, lo, hi time.Duration) func() time.Duration {
	return func() time.Duration { return lo + time.Duration(random.Int64N(int64(hi-lo)+1)) }
}
