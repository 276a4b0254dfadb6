package lease

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// replica is a process with a Machine in it, as the shell uses it.
type replica struct {
	c       *cluster
	owner   string
	session string
	machine *Machine

	alive, leaving, gone, superseded bool
	pausedUntil                      time.Time
	waiting                          []func()
	// cut: its network is gone, without a word to anybody.
	cut bool
	// connection counts connections; a delivery belongs to one.
	connection int
	connected  bool
	// sent is the newest revision on its way over this connection, handled the
	// newest that has arrived.
	sent, handled uint64
	lastSeen      time.Time

	workers map[string]*work
	writing bool
	beats   uint64
	counted time.Time
	last    *uint64
}

type work struct {
	epoch    uint64
	stopping bool
}

// join starts a process. A name that ran before is a restart.
func (c *cluster) join(owner string) {
	r := &replica{
		c: c, owner: owner, session: fmt.Sprintf("%s/%d", owner, len(c.replicas)), alive: true,
		workers: map[string]*work{}, lastSeen: c.now,
	}
	r.machine = New(owner, r.session)
	c.tune(&r.machine.timing)
	r.machine.Connectors(c.now, c.connectors)
	c.replicas = append(c.replicas, r)
	r.connect()
	r.beat()
}

// at runs in the process, once it may run.
func (r *replica) at(d time.Duration, do func()) {
	r.c.after(d, func() { r.exec(do) })
}

func (r *replica) exec(do func()) {
	switch {
	case !r.alive:
	case r.c.now.Before(r.pausedUntil):
		r.waiting = append(r.waiting, do)
	default:
		do()
	}
}

// pause stops the process for a while; what comes for it waits.
func (r *replica) pause(d time.Duration) {
	r.pausedUntil = r.c.now.Add(d)
	r.c.after(d, func() {
		if r.c.now.Before(r.pausedUntil) {
			return
		}
		waiting := r.waiting
		r.waiting = nil
		for _, do := range waiting {
			r.exec(do)
		}
	})
}

func (r *replica) kill() { r.alive = false }

func (r *replica) partition() { r.cut = true }

func (r *replica) heal() {
	r.cut = false
	r.disconnect()
	r.connectSoon()
}

func (r *replica) disconnect() { r.connected, r.connection = false, r.connection+1 }

func (r *replica) connectSoon() {
	r.at(r.c.between(20*time.Millisecond, r.c.reconnect), r.connect)
}

// connect reads on where the last connection ended: the newest of each key.
func (r *replica) connect() {
	if r.c.store.down || r.cut || r.connected {
		return
	}
	r.connected, r.connection, r.sent = true, r.connection+1, r.handled
	s := &r.c.store
	type record struct {
		revision uint64
		see      func(*replica)
	}
	var all []record
	for _, e := range s.members {
		all = append(all, record{e.revision, func(r *replica) { r.sawMember(e.said) }})
	}
	table, at := s.table, s.tableAt
	if at > 0 {
		all = append(all, record{at, func(r *replica) { r.sawTable(at, table) }})
	}
	slices.SortFunc(all, func(a, b record) int { return int(a.revision) - int(b.revision) })
	for _, one := range all {
		r.deliver(one.revision, one.see)
	}
}

// deliver hands a record over, in order.
func (r *replica) deliver(revision uint64, see func(*replica)) {
	if !r.connected || !r.alive || r.cut || r.c.store.down || revision <= r.sent {
		return
	}
	r.sent = revision
	at := r.c.now.Add(r.c.delay())
	if at.Before(r.lastSeen) {
		at = r.lastSeen
	}
	r.lastSeen = at
	connection := r.connection
	r.at(at.Sub(r.c.now), func() {
		if r.connection == connection {
			r.handled = revision
			see(r)
		}
	})
}

func (r *replica) sawMember(said Member) {
	if r.machine.SawMember(r.c.now, said) {
		r.decide()
	}
}

func (r *replica) sawTable(revision uint64, t Table) {
	r.machine.SawTable(revision, t)
	r.decide()
}

// call asks the store, and hears of its answer or, after the timeout, of none.
func (r *replica) call(timeout time.Duration, do func() any, then func(answer any, ok bool)) {
	answered := false
	answer := func(value any, ok bool) {
		r.exec(func() {
			if !answered {
				answered = true
				then(value, ok)
			}
		})
	}
	r.at(timeout, func() { answer(nil, false) })
	if r.cut {
		return
	}
	if !r.connected {
		r.at(time.Millisecond, func() { answer(nil, false) })
		return
	}
	r.c.request(func() {
		value := do()
		r.c.after(r.c.delay(), func() {
			if !r.cut {
				answer(value, true)
			}
		})
	}, func() { answer(nil, false) })
}

type putAnswer struct {
	revision uint64
	ok       bool
	there    entry
}

func (r *replica) beat() {
	if r.gone || r.superseded {
		return
	}
	started := r.c.now
	if started.Sub(r.counted) > Beat*3/4 {
		r.beats, r.counted = r.beats+1, started
	}
	said := Member{Owner: r.owner, Session: r.session, Number: r.beats, Leaving: r.leaving}
	expect := r.last
	r.call(500*time.Millisecond, func() any {
		revision, ok := r.c.putMember(expect, said)
		return putAnswer{revision, ok, r.c.store.members[r.owner]}
	}, func(answer any, answered bool) {
		a, _ := answer.(putAnswer)
		switch {
		case !answered:
			r.beats++
			r.at(100*time.Millisecond, r.beat)
		case a.ok:
			r.last = new(a.revision)
			r.at(max(0, Beat-r.c.now.Sub(started)), r.beat)
		case a.there.said.Session == r.session || a.there.said.Gone:
			r.last = new(a.there.revision)
			r.at(0, r.beat)
		default:
			r.machine.Supersede()
			r.decide()
		}
	})
}

func (r *replica) leave() {
	r.leaving = true
	r.machine.Leave()
	r.exec(r.decide)
}

// decide does what the shell does after each observation.
func (r *replica) decide() {
	running := map[string]bool{}
	for name := range r.workers {
		running[name] = true
	}
	if r.c.hasty {
		clear(running)
	}
	if r.c.forgetful {
		clear(r.machine.offered)
	}
	d := r.machine.Decide(r.c.now, running)
	r.superseded = d.Superseded
	for _, name := range slices.Sorted(maps.Keys(r.workers)) {
		w := r.workers[name]
		want, keep := d.Run[name]
		switch {
		case keep && want.Epoch == w.epoch:
		case d.Mine[name] == w.epoch:
			r.end(name, w, r.c.between(time.Millisecond, 500*time.Millisecond))
		default:
			r.end(name, w, 10*time.Millisecond)
		}
	}
	for name, l := range d.Run {
		if r.workers[name] == nil {
			r.workers[name] = &work{epoch: l.Epoch}
		}
	}
	if d.Write != nil && !r.writing {
		r.write(d)
	}
	if r.leaving && !r.gone && len(r.workers) == 0 && len(d.Mine) == 0 && r.last != nil {
		r.gone = true
		expect, said := r.last, Member{Owner: r.owner, Session: r.session, Number: r.beats + 1, Gone: true}
		r.call(time.Second, func() any {
			r.c.putMember(expect, said)
			return nil
		}, func(any, bool) { r.alive = false })
	}
}

func (r *replica) end(name string, w *work, takes time.Duration) {
	if w.stopping {
		return
	}
	w.stopping = true
	r.at(takes, func() {
		delete(r.workers, name)
		r.decide()
	})
}

func (r *replica) write(d Decision) {
	r.writing = true
	r.call(500*time.Millisecond, func() any {
		revision, ok := r.c.putTable(d.Base, *d.Write)
		return putAnswer{revision: revision, ok: ok}
	}, func(answer any, answered bool) {
		a, _ := answer.(putAnswer)
		if answered && a.ok {
			r.writing = false
			r.machine.SawTable(a.revision, *d.Write)
			r.decide()
			return
		}
		// The newer table comes by itself.
		r.at(50*time.Millisecond, func() {
			r.writing = false
			r.decide()
		})
	})
}
