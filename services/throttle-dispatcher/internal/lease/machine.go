package lease

import (
	"maps"
	"time"
)

// Beat is how often a replica says that it lives.
const Beat = 250 * time.Millisecond

// Member is what a replica says of itself.
type Member struct {
	// Owner is its name, which a restart keeps; Session is one run of it.
	Owner, Session string
	// Number counts the session's beats, those that failed too. Two that are less
	// than a Beat apart have the same, since beats are what time is measured by.
	Number uint64
	// Leaving: it hands over what it has, and takes nothing.
	Leaving bool
	// Gone: its last word.
	Gone bool
}

// Lease gives a connector to a session until the table says otherwise.
type Lease struct {
	// Owner and Session are empty while nobody has it.
	Owner, Session string
	// Epoch grows with every change of owner.
	Epoch uint64
	// HandedOver: the owner before gave it up in good order.
	HandedOver bool
}

// Table says who runs which connector.
type Table struct {
	Leases    map[string]Lease
	LastEpoch uint64
}

// Decision is what a replica is to do.
type Decision struct {
	// Run are the connectors to work for. A worker of another epoch of the same
	// connector has lost its ledger: it is cut off first.
	Run map[string]Lease
	// Mine are the epochs of all leases of this session: a worker that is to stop
	// and is in it ends in good order, one that is not is cut off.
	Mine map[string]uint64
	// Write, if not nil, is the table to be written over revision Base.
	Write *Table
	Base  uint64
	// Taken is how many connectors that takes from replicas which fell silent, and
	// Given how many it gives to others, by their names; "" is nobody.
	Taken, Given map[string]int
	// Superseded: another session runs under this owner's name. This one has
	// nothing any more, and never will.
	Superseded bool
}

// timing of the judgments.
type timing struct {
	// deadAfter is how many own beats must be stored with none of another
	// replica's between them until that one counts as dead.
	deadAfter int
	// hiccup is a span between two own beats from which on others are given the
	// benefit of the doubt, and leniency beats more, once: what held this one up may
	// hold them up longer. An own beat that failed counts as one.
	hiccup   time.Duration
	leniency int
	// silence is a span after which it must have been the store that was silent;
	// then others get patience beats more, to find their way back.
	silence  time.Duration
	patience int
	// settled is how long the replicas must have stayed the same until connectors
	// move for balance alone.
	settled time.Duration
	// forget is after how long a connector that the catalog does not name loses
	// its line in the table. Catalogs of different replicas differ for a moment.
	forget time.Duration
}

func defaults() timing {
	return timing{
		deadAfter: 4, hiccup: 2 * Beat, leniency: 1, silence: time.Second, patience: 8,
		settled: time.Second, forget: 5 * time.Second,
	}
}

// holder is a session under its owner's name.
type holder struct{ owner, session string }

// member is another replica as it was last heard.
type member struct {
	silent
	session string
	number  uint64
	leaving bool
	// proven: heard while this replica listened, not left over from earlier.
	proven bool
}

// silent counts own beats since the last sign of another.
type silent struct {
	misses int
	// pardoned: a hiccup was taken for the cause once since then.
	pardoned bool
}

// Machine is one session's view. It is not safe for concurrent use.
type Machine struct {
	me      holder
	timing  timing
	leaving bool

	connectors map[string]bool
	members    map[string]*member
	// strangers hold leases and are no members: dead, or not heard yet.
	strangers map[holder]*silent
	table     Table
	revision  uint64

	joined     bool
	superseded bool
	// beats is the number of the last own beat, which was seen at lastBeat.
	beats    uint64
	lastBeat time.Time
	// changed is when the members or the connectors last changed.
	changed time.Time
	// giving are connectors that go to another replica for balance.
	giving map[string]bool
	// offered are connectors that a write over the current revision gives away. It
	// may be stored at any time, so they are left alone until the revision moves.
	offered map[string]bool
	// absent are lines of the table without a connector, by when that was noticed.
	absent map[string]time.Time
}

// New returns the machine of a session that has heard nothing yet.
func New(owner, session string) *Machine {
	return &Machine{
		me: holder{owner, session}, timing: defaults(), connectors: map[string]bool{}, members: map[string]*member{},
		strangers: map[holder]*silent{}, giving: map[string]bool{}, offered: map[string]bool{}, absent: map[string]time.Time{},
	}
}

// Connectors says which connectors there are.
func (m *Machine) Connectors(now time.Time, names []string) {
	next := make(map[string]bool, len(names))
	for _, name := range names {
		next[name] = true
	}
	if !maps.Equal(next, m.connectors) {
		m.connectors, m.changed = next, now
	}
}

// Leave makes the machine give everything up.
func (m *Machine) Leave() { m.leaving = true }

// Supersede makes the machine give everything up for good: another session was
// found to run under this owner's name.
func (m *Machine) Supersede() { m.superseded = true }

// SawTable takes the table in as it is stored.
func (m *Machine) SawTable(revision uint64, table Table) {
	if revision <= m.revision {
		return
	}
	m.table, m.revision = table, revision
	clear(m.offered)
	before := m.strangers
	m.strangers = map[holder]*silent{}
	for _, l := range table.Leases {
		h := holder{l.Owner, l.Session}
		if l.Owner == "" || l.Owner == m.me.owner || m.isMember(h) {
			continue
		}
		m.strangers[h] = &silent{}
		if known := before[h]; known != nil {
			m.strangers[h] = known
		}
	}
}

func (m *Machine) isMember(h holder) bool {
	known := m.members[h.owner]
	return known != nil && known.session == h.session
}

// SawMember takes in what a replica said; this one's own words too, for by them
// it knows that it hears the others. It reports whether a decision may be due.
func (m *Machine) SawMember(now time.Time, said Member) bool {
	if said.Owner == m.me.owner {
		switch {
		case said.Session == m.me.session:
			if said.Number <= m.beats {
				return false
			}
			m.sawOwn(now, said.Number-m.beats-1)
			m.beats = said.Number
		case m.joined && !said.Gone:
			m.superseded = true
		}
		return true
	}
	h, known := holder{said.Owner, said.Session}, m.members[said.Owner]
	switch {
	case said.Gone:
		if m.isMember(h) {
			m.lose(now, h)
			return true
		}
		return false
	case known == nil, known.session != said.Session:
		if known != nil {
			m.lose(now, holder{said.Owner, known.session})
		}
		known = &member{session: said.Session}
		m.members[said.Owner] = known
		delete(m.strangers, h)
		m.changed = now
	case said.Number < known.number:
		return false
	}
	news := known.leaving != said.Leaving
	if news {
		m.changed = now
	}
	known.number, known.leaving, known.silent = said.Number, said.Leaving, silent{}
	known.proven = known.proven || m.joined
	return news
}

// lose takes a member for dead; who holds leases is an orphan's parent now.
func (m *Machine) lose(now time.Time, h holder) {
	delete(m.members, h.owner)
	m.changed = now
	for _, l := range m.table.Leases {
		if l.Owner == h.owner && l.Session == h.session {
			m.strangers[h] = &silent{misses: m.timing.deadAfter}
			return
		}
	}
}

// sawOwn counts time: an own beat that is stored proves that the store takes
// beats, and everything that was stored before it has been seen.
// failed is how many beats before this one were not stored: the time without any
// shows in them also where an older one was heard of only now.
func (m *Machine) sawOwn(now time.Time, failed uint64) {
	gap := now.Sub(m.lastBeat)
	switch {
	case !m.joined:
		m.joined, gap = true, 0
	case failed > 0:
		gap = max(gap, m.timing.hiccup+1, time.Duration(min(failed, 100))*Beat/2)
	}
	m.lastBeat = now
	for owner, other := range m.members {
		if m.count(&other.silent, gap) {
			m.lose(now, holder{owner, other.session})
		}
	}
	for _, other := range m.strangers {
		m.count(other, gap)
	}
}

// count adds an own beat to the silence of another, and reports whether that one
// is dead.
func (m *Machine) count(s *silent, gap time.Duration) bool {
	switch {
	case s.misses >= m.timing.deadAfter:
		return true // dead is dead, until it is heard
	case gap >= m.timing.silence:
		s.misses = -m.timing.patience
	case gap > m.timing.hiccup && !s.pardoned:
		s.misses, s.pardoned = min(s.misses, -m.timing.leniency), true
	}
	s.misses++
	return s.misses >= m.timing.deadAfter
}
