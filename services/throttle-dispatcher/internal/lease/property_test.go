package lease

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// converge runs until all is well.
func (c *cluster) converge(t rapid.TB, within time.Duration) {
	t.Helper()
	begun := c.now
	for c.settled() != "" && c.now.Sub(begun) < within {
		c.run(10 * time.Millisecond)
	}
	if c.wrong != "" {
		t.Fatal(c.wrong)
	}
	if what := c.settled(); what != "" {
		t.Fatalf("not well after %v: %s", within, what)
	}
}

// taken runs until every connector is worked on by its one owner, and returns how
// long that took.
func (c *cluster) taken(t rapid.TB, within time.Duration) time.Duration {
	t.Helper()
	begun := c.now
	for {
		missing := ""
		for _, name := range c.connectors {
			if _, byOwner := c.working(name); !byOwner {
				missing = name
			}
		}
		if missing == "" {
			return c.now.Sub(begun)
		}
		if c.now.Sub(begun) >= within {
			t.Fatalf("nobody works for %s after %v: %+v", missing, within, c.store.table.Leases[missing])
		}
		c.run(5 * time.Millisecond)
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

func started(t *rapid.T, least int) *cluster {
	c := newCluster(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 12).Draw(t, "connectors"))
	for i := range rapid.IntRange(least, 5).Draw(t, "replicas") {
		c.join(fmt.Sprint("r", i))
		c.run(c.between(0, 700*time.Millisecond))
	}
	c.converge(t, 10*time.Second)
	c.run(2 * time.Second)
	return c
}

// Whatever happens, once it is over each connector has one owner that works for
// it, evenly spread; and what was handed over in good order had ended before.
func TestEachConnectorEndsWithOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := started(t, 1)
		names := len(c.replicas)
		for range rapid.IntRange(1, 25).Draw(t, "faults") {
			living := c.living()
			kind := rapid.IntRange(0, 10).Draw(t, "kind")
			if len(living) == 0 {
				kind = 0
			}
			switch kind {
			case 0, 1:
				c.join(fmt.Sprint("r", rapid.IntRange(0, names+2).Draw(t, "name")))
			case 2:
				living[c.random.IntN(len(living))].kill()
			case 3:
				living[c.random.IntN(len(living))].leave()
			case 4, 5:
				living[c.random.IntN(len(living))].pause(c.between(50*time.Millisecond, 12*time.Second))
			case 6:
				r := living[c.random.IntN(len(living))]
				r.partition()
				c.after(c.between(100*time.Millisecond, 5*time.Second), r.heal)
			case 7:
				c.freeze()
				c.run(c.between(10*time.Millisecond, 10*time.Second))
				c.thaw()
			case 8:
				c.stopStore()
				c.run(c.between(10*time.Millisecond, 10*time.Second))
				c.startStore()
			case 9:
				for _, r := range c.living() {
					r.disconnect()
					r.connectSoon()
				}
			case 10:
				c.connectors = c.connectors[:1+c.random.IntN(len(c.connectors))]
				for _, r := range c.living() {
					r.at(c.between(0, 2*time.Second), func() {
						r.machine.Connectors(c.now, c.connectors)
						r.decide()
					})
				}
			}
			c.run(c.between(0, 3*time.Second))
		}
		c.run(12 * time.Second) // pauses and partitions end
		for _, r := range c.replicas {
			if r.alive && r.superseded {
				r.kill() // it stands by, which is the shell's affair
			}
		}
		c.converge(t, 12*time.Second)
	})
}

// A silent store is no reason to change an owner.
func TestSilenceOfTheStoreChangesNoOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := started(t, 2)
		before := len(c.changes)
		for range rapid.IntRange(1, 6).Draw(t, "silences") {
			if rapid.Bool().Draw(t, "frozen") {
				c.freeze()
				c.run(c.between(10*time.Millisecond, 10*time.Second))
				c.thaw()
			} else {
				c.stopStore()
				c.run(c.between(10*time.Millisecond, 10*time.Second))
				c.startStore()
			}
			c.run(c.between(2*time.Second, 6*time.Second))
		}
		if len(c.changes) != before {
			t.Fatalf("an owner changed: %+v", c.changes[before:])
		}
		c.converge(t, time.Second)
	})
}

// What a killed replica ran is run by another within 3 s.
func TestTakeoverAfterAKill(t *testing.T) {
	var sum, worst time.Duration
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		c := started(t, 2)
		for range rapid.IntRange(1, 4).Draw(t, "kills") {
			living := c.living()
			if len(living) < 2 {
				break
			}
			living[c.random.IntN(len(living))].kill()
			took := c.taken(t, 3*time.Second)
			if took > 0 {
				sum, worst, count = sum+took, max(worst, took), count+1
			}
			c.run(c.between(0, 2*time.Second))
			if rapid.Bool().Draw(t, "restart") {
				c.join(fmt.Sprint("r", rapid.IntRange(0, 8).Draw(t, "name")))
				c.run(c.between(0, 3*time.Second))
			}
		}
	})
	mean := sum / time.Duration(max(count, 1))
	t.Logf("%d takeovers, mean %v, longest %v", count, mean, worst)
	if mean > time.Second {
		t.Errorf("takeovers took %v in the mean, want at most 1 s", mean)
	}
}

// A replica that leaves hands over at once what it has.
func TestHandoverIsImmediate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := started(t, 2)
		r := c.living()[0]
		r.leave()
		// Ending takes its workers half a second at most.
		c.taken(t, 800*time.Millisecond)
		c.run(3 * time.Second)
		if r.alive {
			t.Fatal("it does not end")
		}
		c.converge(t, 5*time.Second)
	})
}

// A replica that is paused for longer than others wait for it comes back to a
// table that names others, and works for nothing that it does not own.
func TestPausedReplicaComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := started(t, 2)
		r := c.living()[c.random.IntN(len(c.living()))]
		r.pause(c.between(3*time.Second, 20*time.Second))
		c.run(3 * time.Second)
		for _, name := range c.connectors {
			if c.owner(name) == r {
				t.Fatalf("%s still belongs to a replica that is paused", name)
			}
		}
		c.run(18 * time.Second)
		c.converge(t, 6*time.Second)
	})
}
