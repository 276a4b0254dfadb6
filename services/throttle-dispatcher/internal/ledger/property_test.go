package ledger

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

var large = strings.Repeat("x", MaxEntryBytes-100)

var epoch = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)

func testLimits() budget.Limits {
	return budget.Limits{
		Windows:   []budget.Window{{Name: "w", Calls: 20, Per: 2 * time.Second, Headroom: 1}},
		Tolerance: 100 * time.Millisecond, CallTimeout: time.Second, Grace: 50 * time.Millisecond, ClockTolerance: 10 * time.Millisecond,
	}
}

// desk is one connector's dispatcher as far as its ledger goes, and what an
// observer who forgets nothing knows about it.
type desk struct {
	t       *rapid.T
	now     time.Time
	budget  *budget.Budget
	record  *Recorder
	records []Record
	epochs  uint64
	next    int

	flying   map[int64]string           // permits not ended, with their delivery
	open     map[string]*ledgerv1.Claim // on record
	fresh    map[string]*ledgerv1.Claim // in the block being collected
	ending   map[string]bool            // closes and deferrals in no block yet
	unacked  []string                   // those on record
	deferred map[string]bool            // which of both are deferrals
	building *ledgerv1.Block            // built and not committed
	built    map[string]*ledgerv1.Claim // claims of it
}

func newDesk(t *rapid.T) *desk {
	d := &desk{t: t, now: epoch, flying: map[int64]string{}, open: map[string]*ledgerv1.Claim{}, deferred: map[string]bool{}}
	d.takeOver()
	return d
}

// takeOver starts an owner from the shortest reading of the records.
func (d *desk) takeOver() {
	limits := testLimits()
	state := d.fold(d.cut())
	d.epochs++
	var err error
	if d.budget, err = budget.New(limits); err != nil {
		d.t.Fatal(err)
	}
	d.budget.Restore(d.now, state.History("owner"))
	if d.record, err = NewRecorder(Identity{"erp", "owner", d.epochs}, limits, state); err != nil {
		d.t.Fatal(err)
	}
	d.record.carryAfter = 4
	d.building, d.built = nil, nil
	d.fresh, d.ending, d.flying = map[string]*ledgerv1.Claim{}, map[string]bool{}, map[int64]string{}
	found := ends(state)
	for _, id := range d.unacked {
		if !slices.Contains(found, id) {
			d.t.Fatalf("the end of %q is not acknowledged and not found", id)
		}
	}
	// What the queue no longer holds need not be found.
	for _, id := range found {
		if !slices.Contains(d.unacked, id) {
			d.record.Acked(id)
		}
	}
	maps.DeleteFunc(d.deferred, func(id string, _ bool) bool { return !slices.Contains(d.unacked, id) })
}

func (d *desk) fold(records []Record) State {
	state, err := Fold(records)
	if err != nil {
		d.t.Fatal(err)
	}
	return state
}

// cut is what a new owner reads.
func (d *desk) cut() []Record {
	if len(d.records) == 0 {
		return nil
	}
	last := d.records[len(d.records)-1]
	from := last.Block.GetReadFrom()
	if from == 0 {
		from = last.Sequence
	}
	i := slices.IndexFunc(d.records, func(r Record) bool { return r.Sequence >= from })
	return d.records[i:]
}

func (d *desk) reserve() {
	for _, p := range d.budget.Reserve(d.now, 200*time.Millisecond, rapid.IntRange(0, 4).Draw(d.t, "permits")) {
		id := d.delivery()
		if err := d.record.Permit(p, id); errors.Is(err, ErrBlockFull) {
			d.budget.Void(p.Number)
			continue
		} else if err != nil {
			d.t.Fatal(err)
		}
		d.flying[p.Number] = id
		if id == "" || d.ending[id] || d.deferred[id] {
			continue // what is deferred is not claimed before it has moved
		}
		c := &ledgerv1.Claim{
			Delivery: &dispatchv1.Delivery{Id: id, Operation: "upsertSalesOrder", Connector: "erp"},
			Permit:   p.Number, Attempt: rapid.Int32Range(1, 9).Draw(d.t, "attempt"),
			Payload: []byte(fmt.Sprint(id, " as of ", p.Number)), ExternalId: "shop-" + id,
		}
		if rapid.Bool().Draw(d.t, "retry") {
			c.NextAttemptAt = timestamppb.New(d.now.Add(time.Hour))
		}
		if rapid.Bool().Draw(d.t, "unknown before") {
			c.ArrivedBy = timestamppb.New(d.now)
		}
		if err := d.record.Claim(c); errors.Is(err, ErrBlockFull) {
			d.record.Void(p.Number)
			d.budget.Void(p.Number)
			delete(d.flying, p.Number)
			continue
		} else if err != nil {
			d.t.Fatal(err)
		}
		before := d.fresh[id]
		if before == nil {
			before = d.built[id]
		}
		if before == nil && !d.closing(id) {
			before = d.open[id]
		}
		merged := proto.CloneOf(c)
		if before != nil && (before.GetNextAttemptAt() == nil || before.GetArrivedBy() != nil) {
			merged = proto.CloneOf(before)
			merged.Permit, merged.Attempt, merged.NextAttemptAt, merged.ArrivedBy = c.Permit, c.Attempt, c.NextAttemptAt, c.ArrivedBy
		}
		d.fresh[id] = merged
	}
}

// delivery names a new one, an old one or none.
func (d *desk) delivery() string {
	switch n := rapid.IntRange(0, 9).Draw(d.t, "which"); {
	case n == 0:
		return ""
	case n < 6 || d.next == 0:
		d.next++
		return fmt.Sprint("d", d.next)
	default:
		return fmt.Sprint("d", rapid.IntRange(1, d.next).Draw(d.t, "old"))
	}
}

func (d *desk) end() {
	for _, n := range slices.Sorted(func(yield func(int64) bool) {
		for n := range d.flying {
			if !yield(n) {
				return
			}
		}
	}) {
		switch rapid.SampledFrom([]string{"wait", "settle", "void"}).Draw(d.t, "end") {
		case "settle":
			d.budget.Settle(n, d.now)
			d.record.Settle(Settlement{Number: n, SettledAt: d.now})
			delete(d.flying, n)
		case "void":
			d.budget.Void(n)
			d.record.Void(n)
			delete(d.flying, n)
		}
	}
}

func (d *desk) closeOne() {
	if d.next == 0 {
		return
	}
	id := fmt.Sprint("d", rapid.IntRange(1, d.next).Draw(d.t, "close"))
	if d.ending[id] || d.closing(id) || slices.Contains(d.unacked, id) {
		return
	}
	result := &dispatchv1.Result{DeliveryId: id}
	if rapid.IntRange(0, 9).Draw(d.t, "large") == 9 {
		// Two of these do not fit into one block.
		result.Reference = large
	}
	if rapid.IntRange(0, 2).Draw(d.t, "deferred") == 0 {
		d.deferred[id] = true
		if err := d.record.Defer(&dispatchv1.Waiting{Delivery: &dispatchv1.Delivery{Id: id, Operation: result.GetReference()}}); err != nil {
			d.t.Fatal(err)
		}
	} else if err := d.record.Close(&ledgerv1.Close{Result: result}); err != nil {
		d.t.Fatal(err)
	}
	d.ending[id] = true
	delete(d.fresh, id)
	if d.record.Open(id) != nil {
		d.t.Fatalf("%q is closed and still open", id)
	}
}

func (d *desk) ack() {
	if len(d.unacked) > 0 {
		i := rapid.IntRange(0, len(d.unacked)-1).Draw(d.t, "ack")
		d.record.Acked(d.unacked[i])
		delete(d.deferred, d.unacked[i])
		d.unacked = slices.Delete(d.unacked, i, i+1)
	}
}

// closing says whether the block that was built closes or defers a delivery.
func (d *desk) closing(id string) bool { return slices.Contains(endsOf(d.building), id) }

// endsOf returns what a block closes or defers.
func endsOf(block *ledgerv1.Block) (ids []string) {
	for _, c := range block.GetCloses() {
		ids = append(ids, c.GetResult().GetDeliveryId())
	}
	for _, w := range block.GetDeferrals() {
		ids = append(ids, w.GetDelivery().GetId())
	}
	return ids
}

// ends returns what is found closed or deferred.
func ends(s State) (ids []string) {
	for _, c := range s.Closes {
		ids = append(ids, c.GetResult().GetDeliveryId())
	}
	for _, w := range s.Deferrals {
		ids = append(ids, w.GetDelivery().GetId())
	}
	return ids
}

func (d *desk) build() {
	block := d.record.Build(d.now, d.budget)
	if d.building != nil {
		if block != d.building {
			d.t.Fatal("a second Build before Committed gave another block")
		}
		return
	}
	d.building, d.built, d.fresh = block, d.fresh, map[string]*ledgerv1.Claim{}
	for _, id := range endsOf(block) {
		delete(d.ending, id)
	}
}

// store puts the block into the stream; the owner may die before it hears so.
func (d *desk) store() uint64 {
	data, err := proto.Marshal(d.building)
	if err != nil {
		d.t.Fatal(err)
	}
	block, err := Decode(data)
	if err != nil {
		d.t.Fatalf("its own block cannot be read: %v", err)
	}
	// Others write to the stream as well.
	sequence := d.record.LastSequence() + rapid.Uint64Range(1, 3).Draw(d.t, "gap")
	d.records = append(d.records, Record{sequence, block})
	for _, id := range endsOf(block) {
		delete(d.open, id)
		d.unacked = append(d.unacked, id)
	}
	maps.Copy(d.open, d.built)
	slices.Sort(d.unacked)
	d.building, d.built = nil, nil
	d.compare(block.GetLastPermit())
	return sequence
}

func (d *desk) write() {
	d.build()
	d.record.Committed(d.store())
}

func (d *desk) crash() {
	if d.building != nil && rapid.Bool().Draw(d.t, "stored") {
		d.store()
	}
	d.takeOver()
}

// compare reads the records in full and from read_from.
func (d *desk) compare(last int64) {
	full, short := d.fold(d.records), d.fold(d.cut())
	for _, s := range []State{full, short} {
		if len(s.Claims) != len(d.open) {
			d.t.Fatalf("%d claims found, %d are open", len(s.Claims), len(d.open))
		}
		for _, c := range s.Claims {
			if want := d.open[c.GetDelivery().GetId()]; !proto.Equal(want, c.Claim) {
				d.t.Fatalf("claim found: %v, want %v", c.Claim, want)
			}
		}
		for _, id := range d.unacked {
			if !slices.Contains(ends(s), id) {
				d.t.Fatalf("the end of %q is not acknowledged and not found", id)
			}
			if deferred := slices.ContainsFunc(s.Deferrals, func(w Deferral) bool { return w.GetDelivery().GetId() == id }); deferred != d.deferred[id] {
				d.t.Fatalf("%q is found deferred: %v, want %v", id, deferred, d.deferred[id])
			}
		}
	}
	if full.LastPermit != short.LastPermit || full.LastPermit != last || !full.NextSend.Equal(short.NextSend) || !full.WrittenAt.Equal(short.WrittenAt) {
		d.t.Fatalf("in full %v %v %v, from read_from %v %v %v", full.LastPermit, full.NextSend, full.WrittenAt, short.LastPermit, short.NextSend, short.WrittenAt)
	}
	matter := func(s State) (permits []Permit) {
		for _, p := range s.Permits {
			// A settlement that comes later than that says nothing new: the bytes were
			// dead by then.
			end := p.Deadline.Add(50 * time.Millisecond)
			if !p.SettledAt.IsZero() && p.SettledAt.Before(end) {
				end = p.SettledAt
			}
			if !end.Add(20*time.Millisecond + 2*time.Second).Before(d.now) {
				permits = append(permits, p)
			}
		}
		return permits
	}
	if f, s := matter(full), matter(short); !slices.Equal(f, s) {
		d.t.Fatalf("permits that matter in full: %v, from read_from: %v", f, s)
	}
}

// TestReadingFromReadFromIsEnough cuts random histories at every record.
func TestReadingFromReadFromIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDesk(t)
		t.Repeat(map[string]func(*rapid.T){
			"reserve": func(*rapid.T) { d.reserve() },
			"end":     func(*rapid.T) { d.end() },
			"close":   func(*rapid.T) { d.closeOne() },
			"ack":     func(*rapid.T) { d.ack() },
			"write":   func(*rapid.T) { d.write() },
			"build":   func(*rapid.T) { d.build() },
			"crash":   func(*rapid.T) { d.crash() },
			"wait": func(t *rapid.T) {
				d.now = d.now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
			},
		})
	})
}

// TestABlockIsNeverTooLarge throws entries of all sizes at a recorder.
func TestABlockIsNeverTooLarge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, err := budget.New(budget.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewRecorder(Identity{"erp", "owner", 1}, budget.Limits{}, State{})
		if err != nil {
			t.Fatal(err)
		}
		closes, settlements := 0, 0
		for i := range rapid.IntRange(1, 25).Draw(t, "entries") {
			size := rapid.SampledFrom([]int{0, 10, 1000, 50_000, MaxEntryBytes - 100, MaxEntryBytes + 1}).Draw(t, "size")
			id := fmt.Sprint("d", i)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 3:
				err := r.Defer(&dispatchv1.Waiting{Delivery: &dispatchv1.Delivery{Id: id, Operation: string(make([]byte, size))}})
				if large := errors.Is(err, ErrEntryTooLarge); large != (size > MaxEntryBytes) {
					t.Fatalf("deferral of %d bytes: %v", size, err)
				}
				if err == nil {
					closes++
				}
			case 0:
				err := r.Claim(&ledgerv1.Claim{Delivery: &dispatchv1.Delivery{Id: id, Operation: "o"}, Payload: make([]byte, size)})
				if large := errors.Is(err, ErrEntryTooLarge); large != (size > MaxEntryBytes) || err != nil && !large && !errors.Is(err, ErrBlockFull) {
					t.Fatalf("claim of %d bytes: %v", size, err)
				}
			case 1:
				err := r.Close(&ledgerv1.Close{Result: &dispatchv1.Result{DeliveryId: id, Reference: string(make([]byte, size))}})
				if large := errors.Is(err, ErrEntryTooLarge); large != (size > MaxEntryBytes) {
					t.Fatalf("close of %d bytes: %v", size, err)
				}
				if err == nil {
					closes++
				}
			case 2:
				for range size / 100 {
					settlements++
					r.Settle(Settlement{Number: int64(settlements), FirstByteAt: epoch, IssuedAt: epoch, SettledAt: epoch})
				}
			}
		}
		for block := uint64(1); r.Pending(); block++ {
			data, err := proto.Marshal(r.Build(epoch, b))
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > MaxBlockBytes {
				t.Fatalf("block of %d bytes, at most %d", len(data), MaxBlockBytes)
			}
			written, err := Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			closes -= len(endsOf(written))
			settlements -= len(written.GetSettlements())
			r.Committed(block)
			if block > 1000 {
				t.Fatal("it never gets through")
			}
		}
		if closes != 0 || settlements != 0 {
			t.Fatalf("%d closes or deferrals and %d settlements were never written", closes, settlements)
		}
	})
}
