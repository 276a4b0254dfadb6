package lease

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// cluster is replicas around a store, in virtual time: what the shell does with a
// Machine, and everything that can go wrong around it.
type cluster struct {
	now    time.Time
	random *rand.Rand
	events events
	order  int

	store      store
	connectors []string
	replicas   []*replica
	// changes are the changes of owner that the table saw.
	changes []change
	// wrong is the first broken rule.
	wrong string

	// reconnect is how long it may take to find the store again, shortest how long
	// it is silent at least.
	reconnect, shortest time.Duration

	tune func(*timing)
	// What is broken on purpose: beats are written over whatever is there; what is
	// under way is handed over; what was given away is worked for.
	unfenced, hasty, forgetful bool
}

type change struct {
	at        time.Time
	connector string
	from, to  Lease
}

// store keeps the newest record of each key. While it is silent, requests wait
// for it to come back (frozen) or fail (down), and nobody hears anything.
type store struct {
	revision uint64
	members  map[string]entry
	table    Table
	tableAt  uint64

	frozen, down bool
	queue        []func()
}

type entry struct {
	revision uint64
	said     Member
}

type event struct {
	at    time.Time
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return cmp.Or(e[i].at.Compare(e[j].at), e[i].order-e[j].order) < 0
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newCluster(seed uint64) *cluster {
	c := &cluster{
		now: time.Unix(1_000_000, 0), random: rand.New(rand.NewPCG(seed, 7)),
		store: store{members: map[string]entry{}}, reconnect: 400 * time.Millisecond, shortest: 10 * time.Millisecond, tune: func(*timing) {},
	}
	for i := range 1 + c.random.IntN(12) {
		c.connectors = append(c.connectors, fmt.Sprint("c", i))
	}
	return c
}

func (c *cluster) after(d time.Duration, do func()) {
	c.order++
	heap.Push(&c.events, event{at: c.now.Add(d), order: c.order, do: do})
}

func (c *cluster) between(low, high time.Duration) time.Duration {
	return low + time.Duration(c.random.Int64N(int64(high-low)))
}

// run lets time pass.
func (c *cluster) run(d time.Duration) {
	end := c.now.Add(d)
	for len(c.events) > 0 && !c.events[0].at.After(end) {
		next := heap.Pop(&c.events).(event)
		c.now = next.at
		next.do()
	}
	c.now = end
}

// request reaches the store after a while, if it is there.
func (c *cluster) request(do func(), failed func()) {
	c.after(c.delay(), func() {
		switch {
		case c.store.down:
			failed()
		case c.store.frozen:
			c.store.queue = append(c.store.queue, do)
		default:
			do()
		}
	})
}

// delay of a message, with an fsync that stalls now and then.
func (c *cluster) delay() time.Duration {
	if c.random.IntN(200) == 0 {
		return c.between(10*time.Millisecond, 150*time.Millisecond)
	}
	return c.between(200*time.Microsecond, 8*time.Millisecond)
}

func (c *cluster) freeze() { c.store.frozen = true }

func (c *cluster) thaw() {
	c.store.frozen = false
	queue := c.store.queue
	c.store.queue = nil
	c.random.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
	for _, do := range queue {
		do()
	}
}

func (c *cluster) stopStore() {
	c.store.down = true
	for _, r := range c.replicas {
		r.disconnect()
	}
}

func (c *cluster) startStore() {
	c.store.down = false
	for _, r := range c.replicas {
		r.connectSoon()
	}
}

func (c *cluster) putMember(expect *uint64, said Member) (uint64, bool) {
	if !c.unfenced && expect != nil && *expect != c.store.members[said.Owner].revision {
		return 0, false
	}
	c.store.revision++
	revision := c.store.revision
	c.store.members[said.Owner] = entry{revision, said}
	c.publish(revision, func(r *replica) { r.sawMember(said) })
	return revision, true
}

func (c *cluster) putTable(expect uint64, t Table) (uint64, bool) {
	if expect != c.store.tableAt {
		return 0, false
	}
	for _, name := range slices.Sorted(maps.Keys(t.Leases)) {
		if from, to := c.store.table.Leases[name], t.Leases[name]; from != to {
			c.changes = append(c.changes, change{c.now, name, from, to})
			c.checkHandover(name, from, to)
		}
	}
	c.store.revision++
	c.store.table, c.store.tableAt = t, c.store.revision
	revision := c.store.revision
	c.publish(revision, func(r *replica) { r.sawTable(revision, t) })
	return revision, true
}

func (c *cluster) brokenf(format string, args ...any) {
	if c.wrong == "" {
		c.wrong = fmt.Sprintf(format, args...)
	}
}

// checkHandover: what is handed over in good order is not being worked on.
func (c *cluster) checkHandover(name string, from, to Lease) {
	if to.Epoch <= from.Epoch && to.Owner != "" {
		c.brokenf("%s goes from epoch %d to %d", name, from.Epoch, to.Epoch)
	}
	if !to.HandedOver || from.Owner == "" {
		return
	}
	for _, r := range c.replicas {
		if w := r.workers[name]; w != nil && r.alive && w.epoch == from.Epoch {
			c.brokenf("%s is handed over while %s works on it", name, r.session)
		}
	}
}

func (c *cluster) publish(revision uint64, see func(r *replica)) {
	for _, r := range c.replicas {
		r.deliver(revision, see)
	}
}

// owner returns who runs the connector by the table, if that one lives.
func (c *cluster) owner(name string) *replica {
	l := c.store.table.Leases[name]
	for _, r := range c.replicas {
		if r.alive && r.owner == l.Owner && r.session == l.Session {
			return r
		}
	}
	return nil
}

// working counts the live replicas that work for the connector, and says whether
// its owner is one of them.
func (c *cluster) working(name string) (count int, byOwner bool) {
	owner := c.owner(name)
	for _, r := range c.replicas {
		if r.alive && r.workers[name] != nil {
			count++
			byOwner = byOwner || r == owner
		}
	}
	return count, byOwner
}

// settled says what is not as it should be after a time without trouble; empty
// where all is well.
func (c *cluster) settled() string {
	loads := map[*replica]int{}
	for _, r := range c.replicas {
		if r.alive && !r.leaving {
			loads[r] = 0
		}
	}
	if len(loads) == 0 {
		return ""
	}
	for _, name := range c.connectors {
		owner := c.owner(name)
		if owner == nil {
			return fmt.Sprintf("%s has no owner that lives: %+v", name, c.store.table.Leases[name])
		}
		if count, byOwner := c.working(name); count != 1 || !byOwner {
			return fmt.Sprintf("%s: %d work on it, its owner %s is one of them: %v", name, count, owner.session, byOwner)
		}
		loads[owner]++
	}
	most, least := 0, len(c.connectors)
	for _, n := range loads {
		most, least = max(most, n), min(least, n)
	}
	if most-least > 1 {
		return fmt.Sprintf("one has %d connectors, another %d", most, least)
	}
	return ""
}
