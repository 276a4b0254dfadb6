package order_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// at returns the order at a number of seconds after noon, changed by edits.
func at(seconds int, edits ...func(*orderv1.Order)) *orderv1.Order {
	o := &orderv1.Order{
		Source: "shopify", Id: "5001", Name: "#1001", FinancialStatus: "pending",
		UpdatedAt: timestamppb.New(now.Add(time.Duration(seconds) * time.Second)),
		Lines:     []*orderv1.Line{{Id: "1", Sku: "MUG", Quantity: 1}},
	}
	for _, edit := range edits {
		edit(o)
	}
	return o
}

func note(text string) func(*orderv1.Order) { return func(o *orderv1.Order) { o.Note = text } }
func paid(o *orderv1.Order)                 { o.FinancialStatus = "paid" }
func fulfilled(o *orderv1.Order)            { o.FulfillmentStatus = "fulfilled" }
func timeless(o *orderv1.Order)             { o.UpdatedAt = nil }
func cancelled(o *orderv1.Order)            { o.CancelledAt = timestamppb.New(now) }

// cancelledThen is how a shop looks that does not say when.
func cancelledThen(o *orderv1.Order) { o.CancelledAt = o.GetUpdatedAt() }

func TestFold(t *testing.T) {
	type arrival struct {
		order *orderv1.Order
		event string
		want  order.Change
	}
	for name, test := range map[string]struct {
		arrivals []arrival
		revision int64
		order    *orderv1.Order
	}{
		"the first event makes the order": {[]arrival{{at(0), "a", order.ChangeApplied}}, 1, at(0)},
		"a repetition of an event changes nothing": {[]arrival{
			{at(0), "a", order.ChangeApplied}, {at(9, note("x")), "a", order.ChangeRepeated}}, 1, at(0)},
		"a newer version is applied": {[]arrival{
			{at(0), "a", order.ChangeApplied}, {at(1, note("x")), "b", order.ChangeApplied}}, 2, at(1, note("x"))},
		"an older version is stale": {[]arrival{
			{at(5, paid), "a", order.ChangeApplied}, {at(0), "b", order.ChangeStale}}, 1, at(5, paid)},
		"a newer time alone is no new revision": {[]arrival{
			{at(0), "a", order.ChangeApplied}, {at(3), "b", order.ChangeSame}}, 1, at(3)},
		"and what is older than that time is stale": {[]arrival{
			{at(0), "a", order.ChangeApplied}, {at(3), "b", order.ChangeSame}, {at(2, note("x")), "c", order.ChangeStale}}, 1, at(3)},
		"the same version under another event id is the same": {[]arrival{
			{at(0), "a", order.ChangeApplied}, {at(0), "b", order.ChangeSame}}, 1, at(0)},
		"in the same second the later arrival wins": {[]arrival{
			{at(0, note("x")), "a", order.ChangeApplied}, {at(0, note("y")), "b", order.ChangeApplied}}, 2, at(0, note("y"))},
		"in the same second payment is not undone": {[]arrival{
			{at(0, paid), "a", order.ChangeApplied}, {at(0), "b", order.ChangeStale}}, 1, at(0, paid)},
		"in the same second payment wins over creation": {[]arrival{
			{at(0), "a", order.ChangeApplied}, {at(0, paid), "b", order.ChangeApplied}}, 2, at(0, paid)},
		"in the same second a cancel is not undone, whatever was paid": {[]arrival{
			{at(0, cancelled), "a", order.ChangeApplied}, {at(0, paid), "b", order.ChangeStale}}, 1, at(0, cancelled)},
		"in the same second a fulfillment is not undone": {[]arrival{
			{at(0, paid, fulfilled), "a", order.ChangeApplied}, {at(0, paid), "b", order.ChangeStale}}, 1, at(0, paid, fulfilled)},
		"a later second may undo anything": {[]arrival{
			{at(0, paid), "a", order.ChangeApplied}, {at(1), "b", order.ChangeApplied}}, 2, at(1)},
		"without a time the later arrival wins, and the known time stays": {[]arrival{
			{at(4), "a", order.ChangeApplied}, {at(0, timeless, note("x")), "b", order.ChangeApplied}, {at(3), "c", order.ChangeStale}}, 2, at(4, note("x"))},
		"a cancelled order that is touched is no other one, where its shop does not say since when": {[]arrival{
			{at(0), "a", order.ChangeApplied}, {at(1, cancelledThen), "b", order.ChangeApplied}, {at(9, cancelledThen), "c", order.ChangeSame}}, 2,
			at(9, func(o *orderv1.Order) { o.CancelledAt = at(1).GetUpdatedAt() })},
		"and another one where it says so": {[]arrival{
			{at(0, cancelled), "a", order.ChangeApplied}, {at(9, func(o *orderv1.Order) { o.CancelledAt = at(3).GetUpdatedAt() }), "b", order.ChangeApplied}}, 2,
			at(9, func(o *orderv1.Order) { o.CancelledAt = at(3).GetUpdatedAt() })},
		"one that was taken up again is cancelled anew": {[]arrival{
			{at(0, cancelledThen), "a", order.ChangeApplied}, {at(1), "b", order.ChangeApplied}, {at(2, cancelledThen), "c", order.ChangeApplied}}, 3, at(2, cancelledThen)},
		"events without an id are told apart by what they say": {[]arrival{
			{at(0), "", order.ChangeApplied}, {at(1, note("x")), "", order.ChangeApplied}, {at(1, note("x")), "", order.ChangeSame}}, 2, at(1, note("x"))},
	} {
		t.Run(name, func(t *testing.T) {
			var state *orderv1.State
			for i, arrival := range test.arrivals {
				before := proto.CloneOf(state)
				next, change := order.Fold(state, arrival.order, order.Event{ID: arrival.event, Now: now.Add(time.Duration(i) * time.Minute)})
				if change != arrival.want {
					t.Errorf("arrival %d: %v, want %v", i, change, arrival.want)
				}
				if diff := cmp.Diff(before, state, protocmp.Transform()); state != nil && diff != "" {
					t.Fatalf("arrival %d changed the state that was passed in:\n%s", i, diff)
				}
				state = next
			}
			if state.GetRevision() != test.revision {
				t.Errorf("revision %d, want %d", state.GetRevision(), test.revision)
			}
			if diff := cmp.Diff(test.order, state.GetOrder(), protocmp.Transform()); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			if got := state.GetCapturedAt().AsTime(); !got.Equal(now) {
				t.Errorf("captured at %v, want the first arrival's %v", got, now)
			}
			if state.GetKey() != "shopify_5001" {
				t.Errorf("key %q", state.GetKey())
			}
		})
	}
}

func TestEventIDsStayBounded(t *testing.T) {
	var state *orderv1.State
	for i := range 200 {
		state, _ = order.Fold(state, at(i, note(fmt.Sprint(i))), order.Event{ID: fmt.Sprint("event-", i), Now: now})
	}
	ids := state.GetEventIds()
	if len(ids) != 64 || ids[63] != "event-199" || ids[0] != "event-136" {
		t.Errorf("kept %d ids, %v to %v; want the 64 newest", len(ids), ids[0], ids[len(ids)-1])
	}
}

// An old version is told by its time. Its id takes no place from one that cannot be
// told so: else many of them, replayed, would let versions of one second replace each
// other again.
func TestOldVersionsDisplaceNoIDs(t *testing.T) {
	var state *orderv1.State
	for i := range 100 {
		state, _ = order.Fold(state, at(i, note(fmt.Sprint(i))), order.Event{ID: fmt.Sprint("event-", i), Now: now})
	}
	for i, text := range []string{"a", "b"} {
		state, _ = order.Fold(state, at(100, note(text)), order.Event{ID: fmt.Sprint("event-", 100+i), Now: now})
	}
	before := proto.CloneOf(state)
	for round := range 2 {
		for i := range 102 {
			text := fmt.Sprint(i)
			if i >= 100 {
				text = string(rune('a' + i - 100))
			}
			var change order.Change
			if state, change = order.Fold(state, at(min(i, 100), note(text)), order.Event{ID: fmt.Sprint("event-", i), Now: now}); change == order.ChangeApplied || change == order.ChangeSame {
				t.Fatalf("round %d, event %d: %v", round, i, change)
			}
		}
	}
	if diff := cmp.Diff(before, state, protocmp.Transform()); diff != "" {
		t.Errorf("a replay of everything changed the state:\n%s", diff)
	}
}

// Whatever the order of arrival and however often each arrives, the order ends
// as its newest version, and every revision was another order.
func TestFoldEndsAtTheNewestVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(1, 20).Draw(t, "versions")
		arrivals := rapid.SliceOfN(rapid.IntRange(0, count-1), 0, 60).Draw(t, "arrivals")
		// Whatever was drawn, each version arrives at least once.
		arrivals = append(arrivals, rapid.Permutation(sequence(count)).Draw(t, "rest")...)
		var state *orderv1.State
		for _, version := range arrivals {
			next, change := order.Fold(state, at(version, note(fmt.Sprint(version))), order.Event{ID: fmt.Sprint(version), Now: now})
			grown := next.GetRevision() - state.GetRevision()
			if (change == order.ChangeApplied) != (grown == 1) || grown > 1 || grown < 0 {
				t.Fatalf("%v grew the revision by %d", change, grown)
			}
			state = next
		}
		if diff := cmp.Diff(at(count-1, note(fmt.Sprint(count-1))), state.GetOrder(), protocmp.Transform()); diff != "" {
			t.Fatalf("after %v (-want +got):\n%s", arrivals, diff)
		}
	})
}

// Versions of one second that advance the order's life end at the farthest one
// in every order of arrival.
func TestFoldOfOneSecondEndsAtTheFarthestStage(t *testing.T) {
	stages := []*orderv1.Order{at(0), at(0, paid), at(0, paid, fulfilled), at(0, paid, fulfilled, cancelled)}
	rapid.Check(t, func(t *rapid.T) {
		var state *orderv1.State
		for _, stage := range rapid.Permutation(sequence(len(stages))).Draw(t, "arrivals") {
			state, _ = order.Fold(state, stages[stage], order.Event{ID: fmt.Sprint(stage), Now: now})
		}
		if diff := cmp.Diff(stages[3], state.GetOrder(), protocmp.Transform()); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func sequence(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}
