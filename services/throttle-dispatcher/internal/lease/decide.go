package lease

import (
	"maps"
	"slices"
	"time"
)

// Decide returns what is to be done. running are the connectors that a worker is
// there for, also one that is ending.
func (m *Machine) Decide(now time.Time, running map[string]bool) Decision {
	d := Decision{Run: map[string]Lease{}, Mine: map[string]uint64{}, Superseded: m.superseded}
	if m.superseded || !m.joined {
		return d
	}
	m.chooseGifts(now)
	write := m.nextTable(now, running)
	for name, l := range m.table.Leases {
		if !m.isMine(l) {
			continue
		}
		d.Mine[name] = l.Epoch
		if m.connectors[name] && !m.leaving && !m.giving[name] && !m.offered[name] {
			d.Run[name] = l
		}
	}
	if write != nil {
		d.Write, d.Base = write, m.revision
		d.Taken, d.Given = m.moves(write)
	}
	return d
}

// moves counts what next changes. It is counted now, since when it is known to be
// stored the table may have come back already.
func (m *Machine) moves(next *Table) (taken, given map[string]int) {
	taken, given = map[string]int{}, map[string]int{}
	for name, l := range next.Leases {
		switch from := m.table.Leases[name]; {
		case from == l || from.Owner == "":
		case m.isMine(from):
			given[l.Owner]++
		case from.Owner != m.me.owner:
			taken[from.Owner]++
		}
	}
	return taken, given
}

func (m *Machine) isMine(l Lease) bool { return l.Owner == m.me.owner && l.Session == m.me.session }

// isOrphan reports whether nobody works under the lease.
func (m *Machine) isOrphan(l Lease) bool {
	switch l.Owner {
	case "":
		return true
	case m.me.owner:
		return l.Session != m.me.session // an earlier run of this one
	}
	s := m.strangers[holder{l.Owner, l.Session}]
	return s != nil && s.misses >= m.timing.deadAfter
}

// chooseGifts picks what this replica has beyond its share. What it has begun to
// give up it goes on giving up, as long as the reason lasts.
func (m *Machine) chooseGifts(now time.Time) {
	stable := []string{m.me.owner}
	for owner, other := range m.members {
		if other.proven && !other.leaving {
			stable = append(stable, owner)
		}
	}
	held, free := map[string]string{}, []string{}
	for name := range m.connectors {
		l, there := m.table.Leases[name]
		switch {
		case !there, m.isOrphan(l):
			free = append(free, name)
		case slices.Contains(stable, l.Owner):
			held[name] = l.Owner
		}
	}
	shares := share(stable, held, free)
	due := now.Sub(m.changed) >= m.timing.settled
	for name, owner := range held {
		beyond := owner == m.me.owner && shares[name] != owner && !m.leaving
		if !beyond {
			delete(m.giving, name)
		} else if due {
			m.giving[name] = true
		}
	}
	for name := range m.giving {
		if held[name] != m.me.owner {
			delete(m.giving, name)
		}
	}
}

// receivers are the replicas that can take something now, by name with their
// session.
func (m *Machine) receivers() map[string]string {
	all := map[string]string{}
	if !m.leaving {
		all[m.me.owner] = m.me.session
	}
	for owner, other := range m.members {
		// Whoever misses the next beat is dead.
		if other.proven && !other.leaving && other.misses < m.timing.deadAfter-1 {
			all[owner] = other.session
		}
	}
	return all
}

// nextTable returns the table as it should be, or nil where it is so already.
func (m *Machine) nextTable(now time.Time, running map[string]bool) *Table {
	next := Table{Leases: maps.Clone(m.table.Leases), LastEpoch: m.table.LastEpoch}
	if next.Leases == nil {
		next.Leases = map[string]Lease{}
	}
	changed := m.dropAbsent(now, next.Leases, running)
	receivers := m.receivers()
	held, free, gifts := m.vacancies(receivers, running)
	var shares map[string]string
	if len(free) > 0 { // at most beats nothing is
		shares = share(slices.Collect(maps.Keys(receivers)), held, free)
	}
	for _, name := range free {
		to := holder{owner: shares[name], session: receivers[shares[name]]}
		if m.assign(&next, name, to, gifts[name]) {
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return &next
}

// vacancies returns the connectors that the receivers have, and in order those
// that are to be given to one of them; gifts are this replica's own.
func (m *Machine) vacancies(receivers map[string]string, running map[string]bool) (held map[string]string, free []string, gifts map[string]bool) {
	held, gifts = map[string]string{}, map[string]bool{}
	for name := range m.connectors {
		l, there := m.table.Leases[name]
		switch {
		case m.isMine(l) && (m.leaving || m.giving[name] || m.offered[name]) && !running[name]:
			free, gifts[name] = append(free, name), true
		case !there, m.isOrphan(l):
			free = append(free, name)
		case receivers[l.Owner] == l.Session:
			held[name] = l.Owner
		}
	}
	slices.Sort(free)
	return held, free, gifts
}

// assign gives a connector to a replica, or to nobody where there is none, and
// reports whether that changes the table.
func (m *Machine) assign(next *Table, name string, to holder, gift bool) bool {
	old := next.Leases[name]
	switch {
	case gift && to == m.me && !m.offered[name]:
		// Whom it was for cannot take it now.
		delete(m.giving, name)
		return false
	case !gift && to.owner == "":
		return false // there is nobody, and this one is leaving
	case to.owner == "":
		next.Leases[name] = Lease{Epoch: old.Epoch, HandedOver: true}
	default:
		next.LastEpoch++
		clean := gift || old.Owner == "" && (old.HandedOver || old.Epoch == 0)
		next.Leases[name] = Lease{Owner: to.owner, Session: to.session, Epoch: next.LastEpoch, HandedOver: clean}
	}
	if gift {
		m.offered[name] = true
	}
	return true
}

// dropAbsent removes lines whose connector the catalog has not named for long,
// where no replica works under them.
func (m *Machine) dropAbsent(now time.Time, leases map[string]Lease, running map[string]bool) bool {
	changed := false
	for name, l := range m.table.Leases {
		if m.connectors[name] {
			delete(m.absent, name)
			continue
		}
		if _, noticed := m.absent[name]; !noticed {
			m.absent[name] = now
		}
		ended := m.isMine(l) && !running[name]
		if ended && m.leaving || now.Sub(m.absent[name]) >= m.timing.forget && (ended || m.isOrphan(l)) {
			delete(leases, name)
			changed = true
		}
	}
	for name := range m.absent {
		if _, there := m.table.Leases[name]; !there {
			delete(m.absent, name)
		}
	}
	return changed
}
