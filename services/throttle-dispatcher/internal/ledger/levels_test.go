package ledger

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

func TestABucketOutlivesItsOwner(t *testing.T) {
	limits := budget.Limits{
		Buckets:     []budget.Bucket{{Name: "cost", Capacity: 1000, Refill: 50, Per: time.Second, Weighted: true}},
		CallTimeout: 10 * time.Second, Grace: time.Second, ClockTolerance: 50 * time.Millisecond,
	}
	b, err := budget.New(limits)
	must(t, err)
	r, err := NewRecorder(Identity{"shop", "first", 1}, limits, State{})
	must(t, err)
	var records []Record
	write := func(at time.Time) {
		block := r.Build(at, b)
		data, err := proto.Marshal(block)
		must(t, err)
		read, err := Decode(data)
		must(t, err)
		records = append(records, Record{Sequence: uint64(len(records) + 1), Block: read})
		r.Committed(uint64(len(records)))
	}
	permits := b.ReserveFor(epoch, 0, []int64{400, 300})
	for _, p := range permits {
		must(t, r.Permit(p, ""))
	}
	write(epoch)
	// The first did cost 100, and the second never ends.
	b.SettleFor(permits[0].Number, epoch, 100)
	r.Settle(Settlement{Number: permits[0].Number, SettledAt: epoch})
	write(epoch.Add(time.Second))

	state, err := Fold(records)
	must(t, err)
	next, err := budget.New(limits)
	must(t, err)
	now := epoch.Add(time.Second)
	next.Restore(now, state.History("another"))
	// Of 100 points 50 are left, 5 more for what the clocks may differ; 300 are in flight.
	if at, ok := next.NextFor(now, 1000-300-55); !ok || !at.Equal(now) {
		t.Errorf("645 points go at %v %v, want at once", at, ok)
	}
	if at, ok := next.NextFor(now, 1000-300-54); !ok || !at.Equal(now.Add(20*time.Millisecond)) {
		t.Errorf("646 points go at %v %v, want a 50th of a second later", at, ok)
	}
	// What is in the level goes by the clock of the deadlines: that of another owner's
	// call is to come, whatever the wall clock of the block was set to.
	last := records[1].Block
	last.Owner, last.WrittenAt = "second", timestamppb.New(now.Add(time.Hour))
	state, err = Fold(records)
	must(t, err)
	next, err = budget.New(limits)
	must(t, err)
	next.Restore(now, state.History("another"))
	if at, ok := next.NextFor(now, 1000-300-54); !ok || !at.Equal(now.Add(20*time.Millisecond)) {
		t.Errorf("after a clock was set 646 points go at %v %v, want no sooner than before", at, ok)
	}
	// Without a level on record the bucket is full, and 300 more are in flight until
	// their deadline.
	for _, r := range records {
		r.Block.Levels = nil
	}
	state, err = Fold(records)
	must(t, err)
	next, err = budget.New(limits)
	must(t, err)
	next.Restore(now, state.History("another"))
	if at, ok := next.NextFor(now, 50); !ok || !at.Equal(now.Add(7*time.Second)) {
		t.Errorf("50 points go at %v %v, want after 7 s, when 350 have drained", at, ok)
	}
}

func TestALevelThatIsNoneIsRefused(t *testing.T) {
	per, at := durationpb.New(time.Second), timestamppb.New(epoch)
	for name, l := range map[string]*ledgerv1.Level{
		"no refill":        {Limit: "cost", Per: per, DrainedAt: at, AsOf: at},
		"no per":           {Limit: "cost", Refill: 1, DrainedAt: at, AsOf: at},
		"a per of no time": {Limit: "cost", Refill: 1, Per: durationpb.New(0), DrainedAt: at, AsOf: at},
		"no drained_at":    {Limit: "cost", Refill: 1, Per: per, AsOf: at},
		"no as_of":         {Limit: "cost", Refill: 1, Per: per, DrainedAt: at},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := proto.Marshal(&ledgerv1.Block{Connector: "shop", WrittenAt: at, Levels: []*ledgerv1.Level{l}})
			must(t, err)
			if _, err := Decode(data); !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v, want ErrMalformed", err)
			}
		})
	}
	data, err := proto.Marshal(&ledgerv1.Block{Connector: "shop", WrittenAt: at, LastPermit: 1, Permits: []*ledgerv1.Permit{
		{Number: 1, SendAt: at, NotAfter: at, Deadline: at, Cost: -1},
	}})
	must(t, err)
	if _, err := Decode(data); !errors.Is(err, ErrMalformed) {
		t.Errorf("a permit that costs less than nothing: error %v, want ErrMalformed", err)
	}
}
