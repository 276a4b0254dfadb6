package lease

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// property plays a cluster and says what is wrong with it, or nothing.
type property func(c *cluster) (wrong string)

func check(t *testing.T, holds property) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		if wrong := holds(newCluster(rapid.Uint64().Draw(t, "seed"))); wrong != "" {
			t.Fatal(wrong)
		}
	})
}

// start brings replicas up, one after the other, until all is well.
func (c *cluster) start(least int) string {
	for i := range least + c.random.IntN(6-least) {
		c.join(fmt.Sprint("r", i))
		c.run(c.between(0, 700*time.Millisecond))
	}
	if wrong := c.converge(10 * time.Second); wrong != "" {
		return wrong
	}
	c.run(2 * time.Second)
	return ""
}

// converge runs until all is well, and says what is not after that time.
func (c *cluster) converge(within time.Duration) string {
	for end := c.now.Add(within); c.wrong == "" && c.settled() != "" && c.now.Before(end); {
		c.run(10 * time.Millisecond)
	}
	if c.wrong != "" {
		return c.wrong
	}
	if what := c.settled(); what != "" {
		return fmt.Sprintf("not well after %v: %s", within, what)
	}
	return ""
}

// taken runs until every connector is worked on by its one owner, and returns how
// long that took, and what is missing where it is too long.
func (c *cluster) taken(within time.Duration) (time.Duration, string) {
	for begun := c.now; ; c.run(5 * time.Millisecond) {
		missing := ""
		for _, name := range c.connectors {
			if _, byOwner := c.working(name); !byOwner {
				missing = name
			}
		}
		took := c.now.Sub(begun)
		if missing == "" {
			return took, c.wrong
		}
		if took >= within {
			return took, fmt.Sprintf("nobody works for %s after %v: %+v", missing, within, c.store.table.Leases[missing])
		}
	}
}

func (c *cluster) living() []*replica {
	var all []*replica
	for _, r := range c.replicas {
		if r.alive && !r.leaving && !r.superseded {
			all = append(all, r)
		}
	}
	return all
}

func (c *cluster) any() *replica {
	living := c.living()
	return living[c.random.IntN(len(living))]
}

// Whatever happens, once it is over each connector has one owner that works for
// it, evenly spread; and what was handed over in good order had ended before.
func TestEachConnectorEndsWithOneOwner(t *testing.T) { check(t, endsWell) }

func endsWell(c *cluster) string {
	if wrong := c.start(1); wrong != "" {
		return wrong
	}
	for range 1 + c.random.IntN(25) {
		kind := c.random.IntN(11)
		if len(c.living()) == 0 {
			kind = 0
		}
		c.trouble(kind)
		c.run(c.between(0, 3*time.Second))
	}
	c.run(12 * time.Second) // pauses and partitions end
	for _, r := range c.replicas {
		if r.alive && r.superseded {
			r.kill() // it stands by, which is the shell's affair
		}
	}
	return c.converge(12 * time.Second)
}

// trouble is one of the things that happen.
func (c *cluster) trouble(kind int) {
	switch kind {
	case 0, 1:
		c.join(fmt.Sprint("r", c.random.IntN(8)))
	case 2:
		c.any().kill()
	case 3:
		c.any().leave()
	case 4, 5:
		c.any().pause(c.between(50*time.Millisecond, 12*time.Second))
	case 6:
		r := c.any()
		r.partition()
		c.after(c.between(100*time.Millisecond, 5*time.Second), r.heal)
	case 7, 8:
		c.silence()
	case 9:
		for _, r := range c.living() {
			r.disconnect()
			r.connectSoon()
		}
	case 10:
		c.connectors = c.connectors[:1+c.random.IntN(len(c.connectors))]
		connectors := c.connectors
		for _, r := range c.living() {
			r.at(c.between(0, 2*time.Second), func() {
				r.machine.Connectors(c.now, connectors)
				r.decide()
			})
		}
	}
}

// silence stops the store for a while, with or without a word.
func (c *cluster) silence() {
	length := c.between(c.shortest, 10*time.Second)
	if c.random.IntN(2) == 0 {
		c.freeze()
		c.run(length)
		c.thaw()
		return
	}
	c.stopStore()
	c.run(length)
	c.startStore()
}

// A silent store is no reason to change an owner.
func TestSilenceOfTheStoreChangesNoOwner(t *testing.T) { check(t, staysInSilence) }

func staysInSilence(c *cluster) string {
	if wrong := c.start(2); wrong != "" {
		return wrong
	}
	before := len(c.changes)
	for range 1 + c.random.IntN(6) {
		c.silence()
		c.run(c.between(2*time.Second, 6*time.Second))
	}
	if len(c.changes) != before {
		return fmt.Sprintf("an owner changed: %+v", c.changes[before:])
	}
	return c.converge(time.Second)
}

// After a long one it may take some a while to find back.
func TestLongSilenceGivesTimeToFindBack(t *testing.T) { check(t, staysInLongSilence) }

func staysInLongSilence(c *cluster) string {
	c.shortest, c.reconnect = 1300*time.Millisecond, 1500*time.Millisecond
	return staysInSilence(c)
}

// What a killed replica ran is run by another within 3 s.
func TestTakeoverAfterAKill(t *testing.T) {
	var sum, worst time.Duration
	count := 0
	check(t, func(c *cluster) string {
		if wrong := c.start(2); wrong != "" {
			return wrong
		}
		for range 1 + c.random.IntN(4) {
			if len(c.living()) < 2 {
				return ""
			}
			c.any().kill()
			took, wrong := c.taken(3 * time.Second)
			if wrong != "" {
				return wrong
			}
			if took > 0 {
				sum, worst, count = sum+took, max(worst, took), count+1
			}
			c.run(c.between(0, 2*time.Second))
			if c.random.IntN(2) == 0 {
				c.join(fmt.Sprint("r", c.random.IntN(9)))
				c.run(c.between(0, 3*time.Second))
			}
		}
		return ""
	})
	mean := sum / time.Duration(max(count, 1))
	t.Logf("%d takeovers, mean %v, longest %v", count, mean, worst)
	if mean > time.Second {
		t.Errorf("takeovers took %v in the mean, want at most 1 s", mean)
	}
}

// A replica that leaves hands over at once what it has.
func TestHandoverIsImmediate(t *testing.T) {
	check(t, func(c *cluster) string {
		if wrong := c.start(2); wrong != "" {
			return wrong
		}
		r := c.any()
		r.leave()
		// Ending takes its workers half a second at most.
		if _, wrong := c.taken(800 * time.Millisecond); wrong != "" {
			return wrong
		}
		c.run(3 * time.Second)
		if r.alive {
			return "it does not end"
		}
		return c.converge(5 * time.Second)
	})
}

// A replica that is paused for longer than others wait for it comes back to a
// table that names others, and works for nothing that it does not own.
func TestPausedReplicaComesBack(t *testing.T) {
	check(t, func(c *cluster) string {
		if wrong := c.start(2); wrong != "" {
			return wrong
		}
		r := c.any()
		r.pause(c.between(3*time.Second, 20*time.Second))
		c.run(3 * time.Second)
		for _, name := range c.connectors {
			if c.owner(name) == r {
				return name + " still belongs to a replica that is paused"
			}
		}
		c.run(18 * time.Second)
		return c.converge(6 * time.Second)
	})
}

// Each of these breaks a rule, and the properties find it.
func TestTheModelNotices(t *testing.T) {
	t.Parallel()
	const forever = time.Hour
	for name, broken := range map[string]struct {
		property
		how func(c *cluster)
	}{
		"two beats missed are death": {staysInSilence, func(c *cluster) {
			c.tune = func(t *timing) { t.deadAfter = 2 }
		}},
		"no patience after a silence": {staysInLongSilence, func(c *cluster) {
			c.tune = func(t *timing) { t.patience, t.silence, t.hiccup = 0, forever, forever }
		}},
		"beats that are held back all count": {staysInSilence, func(c *cluster) { c.unfenced = true }},
		"handing over what is under way":     {endsWell, func(c *cluster) { c.hasty = true }},
		"working for what may be given away": {endsWell, func(c *cluster) { c.forgetful = true }},
		"dead only after a minute":           {endsWell, func(c *cluster) { c.tune = func(t *timing) { t.deadAfter = 240 } }},
		"nothing moves for balance":          {endsWell, func(c *cluster) { c.tune = func(t *timing) { t.settled = forever } }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3000) {
				c := newCluster(seed)
				broken.how(c)
				if broken.property(c) != "" {
					t.Logf("found by seed %d", seed)
					return
				}
			}
			t.Error("nothing was noticed")
		})
	}
}
