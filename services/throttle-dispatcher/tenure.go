package throttledispatcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	leasev1 "github.com/peppasync/peppasync/proto/peppasync/lease/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/run"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/lease"
)

const (
	// Keys of the lease bucket: one for the table of owners, one for each replica.
	leaseTable   = "dispatcher.table"
	leaseMembers = "dispatcher.member."
	leaseAll     = "dispatcher.>"

	// beatTimeout is how long a beat may take until the next one is tried. It is
	// short: when the store is back after a silence, a replica must be heard before
	// others take it for dead.
	beatTimeout = 500 * time.Millisecond
	// beatRetry is the pause after a beat that failed.
	beatRetry = 100 * time.Millisecond
	// memberStays is how long the record of a replica that died is kept.
	memberStays = time.Minute
	// tableTimeout and tableRetry are for writes and reads of the table.
	tableTimeout = time.Second
	tableRetry   = 100 * time.Millisecond
	// goneTimeout bounds the last word.
	goneTimeout = time.Second
)

// tenure is one session of this replica among the others: it says that it lives,
// hears the others, and writes the table of owners. Only record, writes and
// decide are for the goroutine that owns it; the rest is safe for concurrent
// use.
type tenure struct {
	bus            *bus.Bus
	log            *slog.Logger
	owner, session string
	machine        *lease.Machine
	// heard are the records of all replicas and of the table, in the order of the
	// store.
	heard   chan bus.Record
	written chan write
	writing bool
	reader  tableReader

	// replaced is closed where a beat finds that another session spoke over this
	// one: of two that start together the watch may show the newer one only, and
	// this one would wait for ever to hear itself.
	replaced chan struct{}

	leaving atomic.Bool
	// hurry brings the next beat forward.
	hurry chan struct{}
	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// write is a table that was to replace the one at base.
type write struct {
	decision lease.Decision
	revision uint64
	err      error
}

func newTenure(b *bus.Bus, log *slog.Logger, owner string) *tenure {
	ctx, stop := context.WithCancel(context.Background())
	session := rand.Text()
	t := &tenure{
		bus: b, log: log, owner: owner, session: session, machine: lease.New(owner, session),
		heard: make(chan bus.Record), written: make(chan write, 1), replaced: make(chan struct{}), hurry: make(chan struct{}, 1), stop: stop,
	}
	t.reader.read = t.readTable
	t.tasks.Go(func() {
		_ = run.Supervise(ctx, log, "hearing the other replicas", func(ctx context.Context) error {
			return b.Watch(ctx, bus.BucketLease, leaseAll, func(r bus.Record) {
				select {
				case t.heard <- r:
				case <-ctx.Done():
				}
			})
		})
	})
	t.tasks.Go(func() { t.beat(ctx) })
	return t
}

// end says the last word, where leave was called, and stops.
func (t *tenure) end() {
	t.stop()
	t.tasks.Wait()
}

// memberKey is where a replica says that it lives.
func memberKey(owner string) string { return leaseMembers + bus.Token(owner) }

// leave makes known that this replica is to be given nothing more.
func (t *tenure) leave() {
	t.machine.Leave()
	t.leaving.Store(true)
	select {
	case t.hurry <- struct{}{}:
	default:
	}
}

// record takes in what was heard, and reports whether a decision may be due.
func (t *tenure) record(r bus.Record) bool {
	if r.Subject == bus.KeyValueSubject(bus.BucketLease, leaseTable) {
		table, err := decodeTable(r)
		if err != nil {
			// Nobody can read it, so nobody owns anything by it.
			t.log.Error("the table of owners cannot be read; it is made anew", "revision", r.Sequence, "error", err)
		}
		t.machine.SawTable(r.Sequence, table)
		return true
	}
	if r.Deleted() {
		return false // long dead
	}
	said := &leasev1.Member{}
	if err := proto.Unmarshal(r.Data, said); err != nil {
		t.log.Debug("a replica says what cannot be read", "subject", r.Subject, "error", err)
		return false
	}
	return t.machine.SawMember(time.Now(), lease.Member{
		Owner: said.GetOwner(), Session: said.GetSession(), Number: said.GetBeat(), Leaving: said.GetLeaving(), Gone: said.GetGone(),
	})
}

// decide returns what is to be done, and writes the table where it is to change.
func (t *tenure) decide(running map[string]bool) lease.Decision {
	d := t.machine.Decide(time.Now(), running)
	if d.Write != nil && !t.writing {
		t.writing = true
		t.tasks.Go(func() {
			revision, err := t.put(tableTimeout, leaseTable, encodeTable(*d.Write), &d.Base, 0)
			if err != nil {
				// Where another replica was faster, its table comes by itself.
				<-time.After(tableRetry)
			}
			t.written <- write{decision: d, revision: revision, err: err}
		})
	}
	return d
}

// wrote takes in what came of a write.
func (t *tenure) wrote(w write) {
	t.writing = false
	if w.err != nil {
		if !bus.IsConflict(w.err) {
			t.log.Debug("the table of owners could not be written; it is tried again", "error", w.err)
		}
		return
	}
	t.machine.SawTable(w.revision, *w.decision.Write)
	for owner, connectors := range w.decision.Taken {
		t.log.Warn("a replica fell silent; its connectors are taken over", "replica", owner, "connectors", connectors)
	}
	for owner, connectors := range w.decision.Given {
		if owner == "" {
			continue // this is the last one, and stops
		}
		t.log.Info("connectors are handed over", "replica", owner, "connectors", connectors)
	}
}

// put writes a key of the lease bucket, over the revision expect where it is not
// nil.
func (t *tenure) put(timeout time.Duration, key string, m proto.Message, expect *uint64, stays time.Duration) (uint64, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return 0, fmt.Errorf("encoding %s: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ack, err := t.bus.Publish(ctx, bus.Message{
		Subject: bus.KeyValueSubject(bus.BucketLease, key), Data: data,
		ExpectLast: expect, ExpectStream: bus.KeyValueStream(bus.BucketLease), TTL: stays,
	})
	return ack.Sequence, err
}

// beat says again and again that this replica lives, each time over what it said
// before: so that of several beats that a silent store holds back only one
// counts, and so that a session whose name another one took falls silent.
func (t *tenure) beat(ctx context.Context) {
	key := memberKey(t.owner)
	var last *uint64 // the first one is written over whatever is there
	timer := time.NewTimer(0)
	defer timer.Stop()
	said := &leasev1.Member{Owner: t.owner, Session: t.session}
	var counted time.Time
	for {
		select {
		case <-ctx.Done():
			if t.leaving.Load() && last != nil {
				said.Beat, said.Gone = said.GetBeat()+1, true
				_, _ = t.put(goneTimeout, key, said, last, memberStays) // silence says the same, later
			}
			return
		case <-t.hurry:
		case <-timer.C:
		}
		started := time.Now()
		said.Leaving = t.leaving.Load()
		if started.Sub(counted) > lease.Beat*3/4 {
			said.Beat, counted = said.GetBeat()+1, started
		}
		revision, err := t.put(beatTimeout, key, said, last, memberStays)
		switch {
		case err == nil:
			last = &revision
			timer.Reset(max(0, lease.Beat-time.Since(started)))
		case bus.IsConflict(err):
			if last, err = t.lastSaid(ctx, key, last); err != nil {
				close(t.replaced)
				return
			}
			timer.Reset(beatRetry / 10)
		default:
			said.Beat++ // it tells that one failed
			timer.Reset(beatRetry)
		}
	}
}

var errSuperseded = errors.New("another session runs under this name")

// lastSaid returns the revision of what this replica said last, as the store has
// it, and errSuperseded where another session has spoken since.
func (t *tenure) lastSaid(ctx context.Context, key string, last *uint64) (*uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	r, err := t.bus.Last(ctx, bus.KeyValueStream(bus.BucketLease), bus.KeyValueSubject(bus.BucketLease, key))
	if errors.Is(err, bus.ErrNotFound) {
		return bus.Sequence(0), nil
	}
	if err != nil {
		return last, nil // the next beat tries again
	}
	said := &leasev1.Member{}
	if err := proto.Unmarshal(r.Data, said); err == nil && !r.Deleted() && !said.GetGone() && said.GetSession() != t.session {
		return nil, errSuperseded
	}
	return &r.Sequence, nil
}

// holds returns once a look at the table, taken after the call, shows that this
// session has the connector in that epoch. It returns an error only when ctx is
// done: where the lease is lost, that comes by itself.
func (t *tenure) holds(ctx context.Context, connector string, epoch uint64) error {
	for {
		table, err := t.reader.get(ctx)
		if l := table.Leases[connector]; err == nil && l.Session == t.session && l.Epoch == epoch {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(tableRetry):
		}
	}
}

func (t *tenure) readTable() (lease.Table, error) {
	ctx, cancel := context.WithTimeout(context.Background(), tableTimeout)
	defer cancel()
	r, err := t.bus.Last(ctx, bus.KeyValueStream(bus.BucketLease), bus.KeyValueSubject(bus.BucketLease, leaseTable))
	if err != nil {
		return lease.Table{}, err
	}
	return decodeTable(r)
}

// tableReader reads the table once for all who ask while another read is under
// way. It is safe for concurrent use.
type tableReader struct {
	read func() (lease.Table, error)

	mu      sync.Mutex
	waiting []chan tableRead
	reading bool
}

type tableRead struct {
	table lease.Table
	err   error
}

// get returns the table as of a moment after the call.
func (r *tableReader) get(ctx context.Context) (lease.Table, error) {
	answer := make(chan tableRead, 1)
	r.mu.Lock()
	r.waiting = append(r.waiting, answer)
	if !r.reading {
		r.reading = true
		go r.serve()
	}
	r.mu.Unlock()
	select {
	case a := <-answer:
		return a.table, a.err
	case <-ctx.Done():
		return lease.Table{}, ctx.Err()
	}
}

func (r *tableReader) serve() {
	for {
		r.mu.Lock()
		waiting := r.waiting
		r.waiting, r.reading = nil, len(waiting) > 0
		r.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		table, err := r.read()
		for _, answer := range waiting {
			answer <- tableRead{table, err}
		}
	}
}

func encodeTable(t lease.Table) *leasev1.Table {
	encoded := &leasev1.Table{LastEpoch: t.LastEpoch}
	for _, name := range slices.Sorted(maps.Keys(t.Leases)) {
		l := t.Leases[name]
		encoded.Leases = append(encoded.Leases, &leasev1.Lease{
			Connector: name, Owner: l.Owner, Session: l.Session, Epoch: l.Epoch, HandedOver: l.HandedOver,
		})
	}
	return encoded
}

// decodeTable returns an empty table for one that was removed.
func decodeTable(r bus.Record) (lease.Table, error) {
	encoded := &leasev1.Table{}
	if r.Deleted() {
		return lease.Table{}, nil
	}
	if err := proto.Unmarshal(r.Data, encoded); err != nil {
		return lease.Table{}, err
	}
	t := lease.Table{LastEpoch: encoded.GetLastEpoch(), Leases: make(map[string]lease.Lease, len(encoded.GetLeases()))}
	for _, l := range encoded.GetLeases() {
		t.Leases[l.GetConnector()] = lease.Lease{
			Owner: l.GetOwner(), Session: l.GetSession(), Epoch: l.GetEpoch(), HandedOver: l.GetHandedOver(),
		}
	}
	return t, nil
}
