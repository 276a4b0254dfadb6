package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

func newOwner(t *testing.T, state State) (*budget.Budget, *Recorder) {
	t.Helper()
	b, err := budget.New(testLimits())
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRecorder(Identity{"erp", "owner", 1}, testLimits(), state)
	if err != nil {
		t.Fatal(err)
	}
	return b, r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func claim(id, payload string) *ledgerv1.Claim {
	return &ledgerv1.Claim{Delivery: &dispatchv1.Delivery{Id: id, Operation: "upsertSalesOrder"}, Attempt: 1, Payload: []byte(payload)}
}

func closing(id string) *ledgerv1.Close {
	return &ledgerv1.Close{Result: &dispatchv1.Result{DeliveryId: id}}
}

func TestAResendRepeatsWhatWasFirstClaimed(t *testing.T) {
	b, r := newOwner(t, State{})
	must(t, r.Claim(claim("d1", "first")))
	first := r.Build(epoch, b)
	r.Committed(10)
	again := claim("d1", "second")
	again.Attempt, again.Permit, again.NextAttemptAt = 2, 9, timestamppb.New(epoch)
	must(t, r.Claim(again))
	second := r.Build(epoch, b)
	r.Committed(20)
	if got := second.GetClaims()[0]; got.GetPayload() != nil || got.GetAttempt() != 2 || second.GetReadFrom() != 10 {
		t.Errorf("second attempt: %v, read from %d; want no payload, and read from 10", got, second.GetReadFrom())
	}
	state, err := Fold([]Record{{10, first}, {20, second}})
	must(t, err)
	if c := state.Claims[0]; string(c.GetPayload()) != "first" || c.GetAttempt() != 2 || c.GetPermit() != 9 || c.GetNextAttemptAt() == nil || c.Sequence != 10 {
		t.Errorf("folded: %v at %d", c.Claim, c.Sequence)
	}
	if got := r.Open("d1"); string(got.GetPayload()) != "first" {
		t.Errorf("the recorder's open claim has payload %q", got.GetPayload())
	}
	if _, err := Fold([]Record{{20, second}}); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "read from an earlier sequence") {
		t.Errorf("reading too late: %v", err)
	}
}

// What is closed need not be read from its beginning: its permits may hold the
// reading at a further attempt.
func TestAReadingMayBeginWithAFurtherAttemptOfWhatIsClosed(t *testing.T) {
	b, r := newOwner(t, State{})
	must(t, r.Claim(claim("d1", "first")))
	r.Build(epoch, b)
	r.Committed(1)
	must(t, r.Permit(b.Reserve(epoch, time.Second, 1)[0], "d1"))
	must(t, r.Claim(claim("d1", "first")))
	second := r.Build(epoch, b)
	r.Committed(2)
	must(t, r.Close(closing("d1")))
	third := r.Build(epoch, b)
	r.Committed(3)
	r.Acked("d1")
	if block := r.Build(epoch, b); block.GetReadFrom() != 2 {
		t.Fatalf("read from %d, want the block of the permit", block.GetReadFrom())
	}
	state, err := Fold([]Record{{2, second}, {3, third}})
	must(t, err)
	if len(state.Claims) != 0 || len(state.Permits) != 1 || len(state.Closes) != 1 {
		t.Errorf("folded %d claims, %d permits and %d closes, want 0, 1 and 1", len(state.Claims), len(state.Permits), len(state.Closes))
	}
}

// A delivery whose close did not fit yet must not look as if it had never been
// sent.
func TestAClaimIsFoundUntilItsCloseIsWritten(t *testing.T) {
	b, r := newOwner(t, State{})
	must(t, r.Claim(claim("d1", "sent")))
	records := []Record{{5, r.Build(epoch, b)}}
	r.Committed(5)
	big := closing("d0")
	big.Result.Reference = large
	must(t, r.Close(big))
	second := closing("d1")
	second.Result.Reference = large
	must(t, r.Close(second))
	if err := r.Claim(claim("d1", "new")); !errors.Is(err, ErrBlockFull) {
		t.Errorf("claim of a delivery whose close waits: %v, want ErrBlockFull", err)
	}
	block := r.Build(epoch.Add(time.Hour), b)
	records = append(records, Record{6, block})
	r.Committed(6)
	if len(block.GetCloses()) != 1 || block.GetReadFrom() != 5 {
		t.Fatalf("%d closes, read from %d; want 1, and the claim of block 5", len(block.GetCloses()), block.GetReadFrom())
	}
	state, err := Fold(records)
	must(t, err)
	if len(state.Claims) != 1 {
		t.Errorf("open claims %v, want d1", state.Claims)
	}
	block = r.Build(epoch.Add(time.Hour), b)
	r.Committed(7)
	if len(block.GetCloses()) != 1 || block.GetReadFrom() != 6 {
		t.Errorf("%d closes, read from %d; want the other, and the close of block 6", len(block.GetCloses()), block.GetReadFrom())
	}
	r.Acked("d0")
	r.Acked("d1")
	if block := r.Build(epoch.Add(time.Hour), b); block.GetReadFrom() != 0 {
		t.Errorf("read from %d with nothing left, want 0", block.GetReadFrom())
	}
}

func TestAPermitIsFoundWhileItCanBeLive(t *testing.T) {
	b, r := newOwner(t, State{})
	permits := b.Reserve(epoch, time.Second, 2)
	for _, p := range permits {
		must(t, r.Permit(p, "d"))
	}
	r.Build(epoch, b)
	r.Committed(1)
	r.Void(permits[0].Number)
	r.Settle(Settlement{Number: permits[1].Number, SettledAt: epoch.Add(time.Second)})
	// Window 2 s and four times 10 ms of clocks after the settlement.
	last := epoch.Add(3040 * time.Millisecond)
	if got := r.Build(last, b).GetReadFrom(); got != 1 {
		t.Errorf("read from %d at the last moment, want 1", got)
	}
	r.Committed(2)
	if got := r.Build(last.Add(1), b).GetReadFrom(); got != 0 {
		t.Errorf("read from %d after it, want 0", got)
	}
}

func TestAPermitThrownAwayBeforeTheRecordLeavesNone(t *testing.T) {
	b, r := newOwner(t, State{})
	p := b.Reserve(epoch, 0, 1)[0]
	must(t, r.Permit(p, "d"))
	r.Void(p.Number)
	if r.Pending() {
		t.Error("there is something to write")
	}
	block := r.Build(epoch, b)
	if len(block.GetPermits())+len(block.GetSettlements()) != 0 || block.GetLastPermit() != p.Number {
		t.Errorf("block %v; want no permit, and its number used up", block)
	}
}

func TestClosedAndClaimedAgainInOneBlockIsOpen(t *testing.T) {
	b, r := newOwner(t, State{})
	must(t, r.Close(closing("d1"))) // never claimed
	must(t, r.Claim(claim("d1", "p")))
	state, err := Fold([]Record{{1, r.Build(epoch, b)}})
	must(t, err)
	if len(state.Claims) != 1 || len(state.Closes) != 1 {
		t.Errorf("%d claims and %d closes, want 1 and 1", len(state.Claims), len(state.Closes))
	}
}

func TestWhyItIsClosedAndWhoReopensIt(t *testing.T) {
	b, r := newOwner(t, State{})
	until := epoch.Add(time.Hour)
	b.Close(until)
	r.Because("it throttled a call")
	b2, r2 := newOwner(t, State{ClosedBecause: "as before"})
	b2.Close(until)
	if got := r2.Build(epoch, b2).GetClosedBecause(); got != "as before" {
		t.Errorf("a new owner writes that it is closed because %q", got)
	}
	block := r.Build(epoch, b)
	r.Committed(1)
	state, err := Fold([]Record{{1, block}})
	must(t, err)
	if state.ClosedBecause != "it throttled a call" || !state.ClosedUntil.Equal(until) {
		t.Errorf("closed until %v because %q", state.ClosedUntil, state.ClosedBecause)
	}
	b.Reopen()
	long := strings.Repeat("ü", 400)
	must(t, r.Reopen(&ledgerv1.Reopening{At: timestamppb.New(epoch), By: "kim", Reason: long, ClosedUntil: timestamppb.New(until)}))
	if !r.Pending() {
		t.Error("a reopening need not be written")
	}
	if err := r.Reopen(&ledgerv1.Reopening{}); !errors.Is(err, ErrBlockFull) {
		t.Errorf("a second one before the first is written: %v", err)
	}
	block = r.Build(epoch, b)
	r.Committed(2)
	if found := block.GetReopenings(); len(found) != 1 || found[0].GetBy() != "kim" || found[0].GetReason() != strings.Repeat("ü", 250) {
		t.Errorf("the block holds %v", found)
	}
	if block.GetClosedUntil() != nil || block.GetClosedBecause() != "" {
		t.Errorf("it is closed until %v because %q, and open", block.GetClosedUntil(), block.GetClosedBecause())
	}
	if r.Pending() || len(r.Build(epoch, b).GetReopenings()) != 0 {
		t.Error("it is written twice")
	}
	if err := check(&ledgerv1.Block{Connector: "erp", WrittenAt: timestamppb.New(epoch), Reopenings: []*ledgerv1.Reopening{{By: "kim"}}}); err == nil ||
		!strings.Contains(err.Error(), `by "kim" lacks a valid at`) {
		t.Errorf("a reopening without its time: %v", err)
	}
}

func TestBadRecordsAreNamed(t *testing.T) {
	stamp := timestamppb.New(epoch)
	permit := func(n int64) *ledgerv1.Permit {
		return &ledgerv1.Permit{Number: n, SendAt: stamp, NotAfter: stamp, Deadline: stamp}
	}
	for part, block := range map[string]*ledgerv1.Block{
		"names no connector":        {WrittenAt: stamp},
		"written_at is missing":     {Connector: "erp"},
		"must count up":             {Connector: "erp", WrittenAt: stamp, LastPermit: 9, Permits: []*ledgerv1.Permit{permit(2), permit(2)}},
		"last_permit is 1":          {Connector: "erp", WrittenAt: stamp, LastPermit: 1, Permits: []*ledgerv1.Permit{permit(2)}},
		"must not be negative":      {Connector: "erp", WrittenAt: stamp, LastPermit: -1},
		"parallel is -1":            {Connector: "erp", WrittenAt: stamp, Parallel: -1},
		"lacks a valid send_at":     {Connector: "erp", WrittenAt: stamp, LastPermit: 1, Permits: []*ledgerv1.Permit{{Number: 1, SendAt: stamp}}},
		"not in this order":         {Connector: "erp", WrittenAt: stamp, LastPermit: 1, Permits: []*ledgerv1.Permit{{Number: 1, SendAt: stamp, NotAfter: stamp, Deadline: timestamppb.New(epoch.Add(-1))}}},
		"settlement of permit 3":    {Connector: "erp", WrittenAt: stamp, Settlements: []*ledgerv1.Settlement{{Permit: 3}}},
		"names permit 0":            {Connector: "erp", WrittenAt: stamp, Settlements: []*ledgerv1.Settlement{{SettledAt: stamp}}},
		"claim 0 of the block":      {Connector: "erp", WrittenAt: stamp, Claims: []*ledgerv1.Claim{{}}},
		"next_attempt_at is not":    {Connector: "erp", WrittenAt: stamp, Claims: []*ledgerv1.Claim{{Delivery: &dispatchv1.Delivery{Id: "d"}, NextAttemptAt: &timestamppb.Timestamp{Nanos: -1}}}},
		"close 0 of the block":      {Connector: "erp", WrittenAt: stamp, Closes: []*ledgerv1.Close{{}}},
		"deferral 0 of the block":   {Connector: "erp", WrittenAt: stamp, Deferrals: []*dispatchv1.Waiting{{}}},
		"closed_until":              {Connector: "erp", WrittenAt: stamp, ClosedUntil: &timestamppb.Timestamp{Seconds: 1 << 60}},
		"no block read before":      {Connector: "erp", WrittenAt: stamp, Claims: []*ledgerv1.Claim{{Delivery: &dispatchv1.Delivery{Id: "d"}}}},
		"read after sequence 7":     nil,
		"permit 1 was handed out b": {Connector: "erp", WrittenAt: stamp, LastPermit: 1, Permits: []*ledgerv1.Permit{permit(1)}},
	} {
		good := &ledgerv1.Block{Connector: "erp", WrittenAt: stamp, LastPermit: 1}
		records := []Record{{7, good}, {8, block}}
		if block == nil {
			records = []Record{{7, good}, {7, good}}
		}
		if _, err := Fold(records); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), part) {
			t.Errorf("want an error with %q, got %v", part, err)
		}
	}
	if _, err := Decode([]byte{0xff}); !errors.Is(err, ErrMalformed) {
		t.Errorf("bytes that are no message: %v", err)
	}
	state, err := Fold(nil)
	if err != nil || state.LastSequence != 0 || !state.NextSend.IsZero() {
		t.Errorf("no records: %v, %v", state, err)
	}
}

// The newest block of each term says how many of its calls were under way.
func TestTheBoundOfEachTermIsFound(t *testing.T) {
	b, r := newOwner(t, State{})
	restored := timestamppb.New(epoch)
	var records []Record
	write := func(parallel int) {
		t.Helper()
		r.Bound(parallel)
		must(t, r.Permit(b.Reserve(epoch, time.Hour, 1)[0], "d"))
		block := proto.CloneOf(r.Build(epoch.Add(time.Duration(len(records))*time.Second), b))
		block.RestoredAt = restored
		sequence := uint64(len(records) + 1)
		records = append(records, Record{sequence, block})
		r.Committed(sequence)
		if r.OnRecord() != parallel {
			t.Errorf("%d is on record, want %d", r.OnRecord(), parallel)
		}
	}
	r.Bound(2)
	if r.Pending() || r.Widens() {
		t.Error("a bound before the first block is written by itself")
	}
	write(2)
	if r.Bound(4); !r.Pending() || !r.Widens() || r.OnRecord() != 2 {
		t.Errorf("a higher bound: pending %v, widens %v, on record %d", r.Pending(), r.Widens(), r.OnRecord())
	}
	write(4)
	if r.Bound(3); r.Pending() {
		t.Error("a lower bound is written by itself")
	}
	write(3)
	restored = timestamppb.New(epoch.Add(time.Second)) // the same owner has started again
	write(5)
	restored = timestamppb.New(epoch.Add(2 * time.Second))
	write(0)
	state, err := Fold(records)
	must(t, err)
	history := state.History("")
	var bounds []int
	for _, p := range history.Permits {
		bounds = append(bounds, history.Parallel[p.Holder].Calls)
	}
	if want := []int{3, 3, 3, 5, 0}; !slices.Equal(bounds, want) {
		t.Errorf("the permits are bounded by %v, want %v", bounds, want)
	}
	// Before its newest block was built another bound may have held.
	if since := history.Parallel[history.Permits[0].Holder].Since; !since.Equal(epoch.Add(2 * time.Second)) {
		t.Errorf("the first term's bound holds since %v, want %v", since, epoch.Add(2*time.Second))
	}
}

// FuzzDecode feeds any bytes; what is accepted must fold, restore a budget and
// start a recorder.
func FuzzDecode(f *testing.F) {
	b, err := budget.New(testLimits())
	if err != nil {
		f.Fatal(err)
	}
	r, err := NewRecorder(Identity{"erp", "owner", 1}, testLimits(), State{})
	if err != nil {
		f.Fatal(err)
	}
	for range 3 {
		for _, p := range b.Reserve(epoch, time.Second, 3) {
			if err := errors.Join(r.Permit(p, "d"), r.Claim(claim("d", "p"))); err != nil {
				f.Fatal(err)
			}
			r.Settle(Settlement{Number: p.Number, SettledAt: epoch})
		}
		if err := r.Close(closing("d")); err != nil {
			f.Fatal(err)
		}
		data, err := proto.Marshal(r.Build(epoch, b))
		if err != nil {
			f.Fatal(err)
		}
		r.Committed(r.LastSequence() + 1)
		f.Add(data, data)
	}
	f.Fuzz(func(t *testing.T, x, y []byte) {
		first, err := Decode(x)
		if err != nil {
			return
		}
		records := []Record{{1, first}}
		if second, err := Decode(y); err == nil {
			records = append(records, Record{2, second})
		}
		state, err := Fold(records)
		if err != nil {
			return
		}
		b, r := newOwner(t, state)
		b.Restore(epoch, state.History("owner"))
		b.Reserve(epoch, time.Second, 3)
		again, err := proto.Marshal(r.Build(epoch, b))
		must(t, err)
		if _, err := Decode(again); err != nil {
			t.Fatalf("the next owner's block cannot be read: %v", err)
		}
	})
}

// An open claim is written again before the store forgets its block, however little
// happens at the connector, and whatever else holds the reading back.
func TestAnOpenClaimIsWrittenAgainBeforeItIsForgotten(t *testing.T) {
	const day = 24 * time.Hour
	b, r := newOwner(t, State{})
	// A close that nobody acknowledges is older, and is all that may be forgotten.
	must(t, r.Close(closing("older")))
	records := []Record{{1, r.Build(epoch, b)}}
	r.Committed(1)
	for i := range 2*carryAtOnce + 1 {
		must(t, r.Claim(claim(fmt.Sprint("d", i), "first")))
	}
	records = append(records, Record{2, r.Build(epoch, b)})
	r.Committed(2)
	now, sequence := epoch, uint64(2)
	for range 120 {
		if now = now.Add(day / 2); now.Sub(epoch) == 45*day {
			// An owner comes that has read what the store still has.
			state, err := Fold(kept(records, now))
			must(t, err)
			b, r = newOwner(t, state)
		}
		for written := 0; r.Pending() || r.Aged(now); written++ {
			if written > 3 {
				t.Fatalf("on day %d it is never enough", int(now.Sub(epoch)/day))
			}
			sequence++
			records = append(records, Record{sequence, r.Build(now, b)})
			r.Committed(sequence)
		}
		state, err := Fold(kept(records, now))
		must(t, err)
		if len(state.Claims) != 2*carryAtOnce+1 || string(state.Claims[0].GetPayload()) != "first" {
			t.Fatalf("after %d days %d claims are left of %d", int(now.Sub(epoch)/day), len(state.Claims), 2*carryAtOnce+1)
		}
	}
	if sequence > 2+6*3 {
		t.Errorf("%d blocks in 60 days", sequence)
	}
}

// kept returns what the store has of the records after 30 days, and a new owner
// reads of it.
func kept(records []Record, now time.Time) []Record {
	from := records[len(records)-1].Block.GetReadFrom()
	return slices.DeleteFunc(slices.Clone(records), func(r Record) bool {
		return r.Sequence < from || now.Sub(r.Block.GetWrittenAt().AsTime()) > 30*24*time.Hour
	})
}
