package doubt_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/doubt"
)

// far is later than anything in a history.
const far = time.Duration(1) << 50

// server commits what arrives, perhaps long after the connection was cut.
type server struct {
	t       *rapid.T
	horizon time.Duration
	// commits are when calls take effect.
	commits []time.Duration
	cuts    int
}

// call is one attempt, sent at now. It returns by when it has arrived, if at all,
// and whether a reply came; an attempt without one may have been lost.
func (s *server) call(now time.Duration) (arrivedBy time.Duration, replied bool) {
	travel := duration(s.t, "travel", time.Minute)
	if s.cuts == 0 || rapid.IntRange(0, 3).Draw(s.t, "fate") == 0 {
		s.commits = append(s.commits, now+travel)
		return now + travel, true
	}
	s.cuts--
	arrivedBy = now + travel + duration(s.t, "bytes under way", time.Minute)
	if rapid.Bool().Draw(s.t, "lost") {
		return arrivedBy, false
	}
	arrived := now + travel + duration(s.t, "arrives", arrivedBy-now-travel)
	s.commits = append(s.commits, arrived+duration(s.t, "commits late", s.horizon))
	return arrivedBy, false
}

// look answers a look-up that arrives at that time.
func (s *server) look(at time.Duration) connectors.Presence {
	for _, commit := range s.commits {
		if commit <= at {
			return connectors.Present
		}
	}
	return connectors.Absent
}

func duration(t *rapid.T, what string, most time.Duration) time.Duration {
	return time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, what))
}

// client is the dispatcher, as far as one delivery goes.
type client struct {
	t      *rapid.T
	server *server
	facts  doubt.Facts
	doubt  doubt.Doubt
	now    time.Duration
	calls  int
	looks  int
	// hasty takes the first "not found" for the truth.
	hasty bool
}

// run delivers, and returns when that is known; false where a person has to look.
func (c *client) run() bool {
	for range 10_000 {
		if rapid.IntRange(0, 9).Draw(c.t, "dies") == 0 {
			c.restart()
		}
		action, until := c.doubt.Next(at(c.now), c.facts)
		switch action {
		case doubt.Send:
			if c.send() {
				return true
			}
		case doubt.Wait:
			c.now = until.Sub(epoch) + duration(c.t, "late", time.Second)
		case doubt.Park:
			return false
		case doubt.LookUp:
			if c.lookUp() {
				return true
			}
		case doubt.Deliver:
			c.t.Fatal("Next returned Deliver")
		}
	}
	c.t.Fatal("it never ends")
	return false
}

// restart is an owner that dies between two steps: what was open is taken up from
// what is on record.
func (c *client) restart() {
	arrivedBy := c.doubt.ArrivedBy()
	c.doubt = doubt.Doubt{}
	c.doubt.Remains(arrivedBy)
	c.now += duration(c.t, "away", time.Hour)
}

func (c *client) send() (delivered bool) {
	c.calls++
	arrivedBy, replied := c.server.call(c.now)
	if replied {
		c.now = arrivedBy
		c.doubt.Known()
		return true
	}
	// Noticed before or after its bytes are dead.
	c.now += duration(c.t, "noticed", 2*time.Minute)
	c.doubt.Arises(at(arrivedBy))
	return false
}

func (c *client) lookUp() (delivered bool) {
	c.looks++
	issued := c.now
	arrives := issued + duration(c.t, "look-up's travel", 30*time.Second)
	c.now = arrives + duration(c.t, "answer's travel", 30*time.Second)
	if rapid.IntRange(0, 5).Draw(c.t, "no answer") == 0 {
		c.doubt.Unanswered(at(c.now), rapid.Bool().Draw(c.t, "excused"))
		return false
	}
	facts := c.facts
	if c.hasty {
		facts.Horizon = -far
	}
	action, _ := c.doubt.Answered(c.server.look(arrives), at(issued), at(c.now), facts)
	return action == doubt.Deliver
}

func history(t *rapid.T, hasty bool) *client {
	horizon := duration(t, "horizon", 20*time.Minute)
	c := &client{
		t: t, server: &server{t: t, horizon: horizon, cuts: rapid.IntRange(0, 4).Draw(t, "cuts")}, hasty: hasty,
		facts: doubt.Facts{Effect: connectors.EffectOnce, Findable: true, Horizon: horizon, MostUnanswered: 1000},
	}
	if !c.run() {
		t.Fatal("parked, though it is answered")
	}
	return c
}

// However calls are cut, lost and committed late, and owners die: one effect, and
// it is there when the delivery counts as delivered.
func TestOneEffect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := history(t, false)
		if n := len(c.server.commits); n != 1 {
			t.Fatalf("%d effects of %d calls with %d look-ups", n, c.calls, c.looks)
		}
		if c.server.commits[0] > c.now {
			t.Fatalf("delivered at %v, and the effect came at %v", c.now, c.server.commits[0])
		}
	})
}

// The property finds a resolver that takes the first "not found" for the truth.
func TestTheJudgeNotices(t *testing.T) {
	doubles := 0
	rapid.Check(t, func(t *rapid.T) {
		if c := history(t, true); len(c.server.commits) > 1 {
			doubles++
		}
	})
	if doubles == 0 {
		t.Error("a hasty resolver doubled nothing: the histories hold no late commits")
	}
	t.Logf("a hasty resolver doubled %d", doubles)
}

// What may be repeated goes at once; what follows in its key goes when no earlier
// attempt can come after it.
func TestKeysAreFreeWhenNothingCanUndoWhatFollows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		horizon := duration(t, "horizon", 20*time.Minute)
		c := &client{
			t: t, server: &server{t: t, horizon: horizon, cuts: rapid.IntRange(0, 4).Draw(t, "cuts")},
			facts: doubt.Facts{Effect: connectors.EffectIdempotent, Horizon: horizon, Overwrites: true},
		}
		if !c.run() {
			t.Fatal("parked")
		}
		if c.looks > 0 {
			t.Fatal("it was looked up")
		}
		free := c.now
		if held := c.doubt.KeyFreeAt(c.facts); !held.IsZero() {
			free = max(free, held.Sub(epoch))
		}
		for _, commit := range c.server.commits {
			if commit > free {
				t.Fatalf("a commit at %v, and what follows may go at %v", commit, free)
			}
		}
	})
}
