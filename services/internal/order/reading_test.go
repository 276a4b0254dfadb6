package order_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
)

// told is an event of a source that can be asked, received a number of seconds after noon.
func told(id string, seconds float64) order.Event {
	return order.Event{ID: id, Topic: "orders/" + id, ReceivedAt: after(seconds), Now: after(seconds), Ask: &orderv1.Reading{Lane: "bulk"}}
}

func after(seconds float64) time.Time { return now.Add(time.Duration(seconds * float64(time.Second))) }

// play folds what is given: an order with its event, or an answer.
type play struct {
	state   *orderv1.State
	changes []order.Change
}

func (p *play) event(o *orderv1.Order, e order.Event) *play {
	next, change := order.Fold(p.state, o, e)
	p.state, p.changes = next, append(p.changes, change)
	return p
}

func (p *play) answer(number int64, o *orderv1.Order, seconds float64) *play {
	next, change := order.Answer(p.state, number, o, after(seconds))
	p.state, p.changes = next, append(p.changes, change)
	return p
}

func (p *play) unanswered(number int64) *play {
	p.state, _, _ = order.Unanswered(p.state, number)
	return p
}

func TestEventsOfOneVersionThatDisagreeAreAskedAbout(t *testing.T) {
	const applied, same, stale, repeated = order.ChangeApplied, order.ChangeSame, order.ChangeStale, order.ChangeRepeated
	a, b, c := at(0, note("a")), at(0, note("b")), at(0, note("c"))
	early := at(-5, note("early"))
	tests := map[string]struct {
		play    *play
		changes []order.Change
		note    string
		open    int64
		topics  []string
	}{
		"nothing is asked of a version that is newer": {
			new(play).event(a, told("1", 0)).event(at(1, note("b")), told("2", 1)), []order.Change{applied, applied}, "b", 0, nil},
		"nor of one that says the same": {
			new(play).event(a, told("1", 0)).event(a, told("2", 0)), []order.Change{applied, same}, "a", 0, nil},
		"the later one counts until the source has answered": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)), []order.Change{applied, applied}, "b", 1, []string{"orders/2"}},
		"one that steps back is asked about, too": {
			new(play).event(at(0, paid), told("1", 0)).event(b, told("2", 0)), []order.Change{applied, stale}, "", 1, []string{"orders/2"}},
		"where the source cannot be asked the later one counts": {
			new(play).event(a, order.Event{ID: "1"}).event(b, order.Event{ID: "2"}), []order.Change{applied, applied}, "b", 0, nil},
		"the answer counts": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).answer(1, a, 1), []order.Change{applied, applied, applied}, "a", 0, nil},
		"an answer counts once": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).answer(1, a, 1).answer(1, b, 1), []order.Change{applied, applied, applied, repeated}, "a", 0, nil},
		"an answer that says what is known is no new revision": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).answer(1, b, 1), []order.Change{applied, applied, same}, "b", 0, nil},
		"a newer answer counts": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).answer(1, at(1, note("c")), 1), []order.Change{applied, applied, applied}, "c", 0, nil},
		"several that disagree need one answer, if it is newer than each": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).event(c, told("3", 1)).answer(1, a, 5),
			[]order.Change{applied, applied, applied, applied}, "a", 0, nil},
		"and another one if it may be older than one of them": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).event(c, told("3", 1)).answer(1, b, 0.5),
			[]order.Change{applied, applied, applied, stale}, "c", 2, []string{"orders/2", "orders/3"}},
		"which then counts": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).event(c, told("3", 1)).answer(1, b, 0.5).answer(2, a, 0.7),
			[]order.Change{applied, applied, applied, stale, applied}, "a", 0, nil},
		"a repetition of what is known, later, does not make a second answer necessary where the first confirms it": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).event(b, told("3", 1)).answer(1, b, 0.5), []order.Change{applied, applied, same, same}, "b", 0, nil},
		"and does where the first says something else": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).event(b, told("3", 1)).answer(1, a, 0.5), []order.Change{applied, applied, same, stale}, "b", 2, []string{"orders/2"}},
		"an answer that is older than what came meanwhile is of no use": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).event(at(1, note("c")), told("3", 1)).answer(1, a, 0.5),
			[]order.Change{applied, applied, applied, stale}, "c", 0, nil},
		"the answer stands against one that comes late, and is asked for once more": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).answer(1, b, 1).event(c, told("3", 2)), []order.Change{applied, applied, same, stale}, "b", 2, []string{"orders/3"}},
		"once nothing can happen in that second any more it is the last word": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).answer(1, b, 60).event(c, told("3", 61)), []order.Change{applied, applied, same, stale}, "b", 0, nil},
		"what is received well after the last word is asked about, because some shops change an order without its time": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).answer(1, b, 60).event(c, told("3", 120)), []order.Change{applied, applied, same, stale}, "b", 2, []string{"orders/3"}},
		"and then counts": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).answer(1, b, 60).event(c, told("3", 120)).answer(2, c, 121),
			[]order.Change{applied, applied, same, stale, applied}, "c", 0, nil},
		"a replay of what was received before asks nothing": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).answer(1, b, 60).event(c, order.Event{
				ID: "3", ReceivedAt: after(3), Now: after(9000), Ask: &orderv1.Reading{Lane: "bulk"},
			}), []order.Change{applied, applied, same, stale}, "b", 0, nil},
		"a newer version has been told by nobody but its sender": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).answer(1, b, 60).event(at(1, note("b")), told("3", 61)).event(at(1, note("c")), told("4", 61)),
			[]order.Change{applied, applied, same, same, applied}, "c", 2, []string{"orders/4"}},
		"without an answer the later one stays": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).unanswered(1), []order.Change{applied, applied}, "b", 0, nil},
		"what the source was asked for its name alone needs no second question": {
			new(play).event(a, order.Event{ID: "1", ReadAt: after(1)}).event(b, order.Event{ID: "2", ReadAt: after(2)}), []order.Change{applied, applied}, "b", 0, nil},
		"nor does it undo what it was asked later": {
			new(play).event(a, order.Event{ID: "1", ReadAt: after(2)}).event(b, order.Event{ID: "2", ReadAt: after(1)}), []order.Change{applied, stale}, "a", 0, nil},
		"an order of before is of no matter": {
			new(play).event(a, told("1", 0)).event(b, told("2", 0)).event(early, told("3", 3)).answer(1, a, 1), []order.Change{applied, applied, stale, applied}, "a", 0, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			state := test.play.state
			if diff := cmp.Diff(test.changes, test.play.changes); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if got := state.GetOrder().GetNote(); got != test.note {
				t.Errorf("the order is %q, want %q", got, test.note)
			}
			if got := state.GetReading(); got.GetNumber() != test.open || !slices.Equal(got.GetTopics(), test.topics) {
				t.Errorf("the reading is %v, want number %d of %v", got, test.open, test.topics)
			}
			if test.open > 0 && (state.GetReading().GetLane() != "bulk" || state.GetReading().GetSinceRevision() == 0) {
				t.Errorf("the reading is %v", state.GetReading())
			}
		})
	}
}

func TestAPersonHasASourceAskedAgain(t *testing.T) {
	state := new(play).event(at(0), told("1", 0)).state
	next, asked := order.Ask(state, "bulk")
	if !asked || next.GetReading().GetNumber() != 1 || next.GetReading().GetLane() != "bulk" || state.GetReading() != nil {
		t.Errorf("asked %v: %v", asked, next.GetReading())
	}
	if again, asked := order.Ask(next, "bulk"); asked || !proto.Equal(again, next) {
		t.Errorf("asked twice: %v", again.GetReading())
	}
	if _, asked := order.Ask(nil, "bulk"); asked {
		t.Error("asked for an order that is not there")
	}
}

// shop is a source that changes an order, several times a second, tells of each change by
// events that come late, in any order and twice, and is asked.
type shop struct {
	now     time.Time
	current *orderv1.Order
	changes int
	// sent are under way, received are at the gate's door.
	sent, received []arrival
	state          *orderv1.State
	// asked by the number of the reading.
	asked map[int64]answer
}

type arrival struct {
	order *orderv1.Order
	event order.Event
}

type answer struct {
	order *orderv1.Order
	at    time.Time
}

// skewed is a clock of ours: they are less than a second apart.
func (s *shop) skewed(t *rapid.T) time.Time {
	return s.now.Add(time.Duration(rapid.IntRange(-900, 900).Draw(t, "skew")) * time.Millisecond)
}

func (s *shop) change(t *rapid.T) {
	s.changes++
	s.current = &orderv1.Order{
		Source: "shopify", Id: "5001", UpdatedAt: timestamppb.New(s.now.Truncate(time.Second)),
		// As it may have been before.
		Note:            rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "note"),
		FinancialStatus: rapid.SampledFrom([]string{"pending", "paid"}).Draw(t, "status"),
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "events") {
		event := order.Event{ID: fmt.Sprint(s.changes, ".", i), Topic: fmt.Sprint("topic-", i), Ask: &orderv1.Reading{Lane: "bulk"}}
		s.sent = append(s.sent, arrival{s.current, event})
	}
}

func (s *shop) receive(t *rapid.T) {
	i := rapid.IntRange(0, len(s.sent)-1).Draw(t, "which")
	a := s.sent[i]
	a.event.ReceivedAt = s.skewed(t)
	s.received, s.sent = append(s.received, a), slices.Delete(s.sent, i, i+1)
}

// fold takes one in. Where the gate dies before it has acknowledged it, it comes again.
func (s *shop) fold(t *rapid.T) {
	i := rapid.IntRange(0, len(s.received)-1).Draw(t, "which")
	a := s.received[i]
	a.event.Now = s.now
	s.state, _ = order.Fold(s.state, a.order, a.event)
	if !rapid.Bool().Draw(t, "dies") {
		s.received = slices.Delete(s.received, i, i+1)
	}
}

// ask is the throttle-dispatcher: it carries a call out once.
func (s *shop) ask(t *rapid.T) {
	if n := s.state.GetReading().GetNumber(); n > 0 && s.asked[n].order == nil {
		s.asked[n] = answer{s.current, s.skewed(t)}
	}
}

// answered brings any answer, also one that was there before.
func (s *shop) answered(t *rapid.T) {
	if len(s.asked) == 0 {
		return
	}
	n := int64(rapid.IntRange(1, len(s.asked)).Draw(t, "answer"))
	before := s.state
	var change order.Change
	s.state, change = order.Answer(before, n, s.asked[n].order, s.asked[n].at)
	if (change == order.ChangeApplied) != (s.state.GetRevision() == before.GetRevision()+1) {
		t.Fatalf("%v made revision %d of %d", change, s.state.GetRevision(), before.GetRevision())
	}
	if again, change := order.Answer(s.state, n, s.asked[n].order, s.asked[n].at); change != order.ChangeRepeated || !proto.Equal(again, s.state) {
		t.Fatalf("answer %d counts twice: %v", n, change)
	}
}

func (s *shop) pass(t *rapid.T) {
	s.now = s.now.Add(time.Duration(rapid.SampledFrom([]int{1, 50, 300, 1000, 5000, 61_000}).Draw(t, "ms")) * time.Millisecond)
}

// Whatever the shop does within a second, in whatever order it is told, and whenever the
// source is asked: when all was told and answered the order is as the shop has it, and no
// more was asked than there were events.
func TestTheOrderEndsAsTheShopHasIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &shop{now: now, asked: map[int64]answer{}}
		s.change(t)
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) { s.change(t) },
			"receive": func(t *rapid.T) {
				if len(s.sent) > 0 {
					s.receive(t)
				}
			},
			"fold": func(t *rapid.T) {
				if len(s.received) > 0 {
					s.fold(t)
				}
			},
			"ask":    s.ask,
			"answer": s.answered,
			"pass":   s.pass,
		})
		for len(s.sent) > 0 {
			s.receive(t)
		}
		for len(s.received) > 0 {
			s.fold(t)
		}
		for s.state.GetReading() != nil {
			s.ask(t)
			n := s.state.GetReading().GetNumber()
			s.state, _ = order.Answer(s.state, n, s.asked[n].order, s.asked[n].at)
		}
		if diff := cmp.Diff(s.current, s.state.GetOrder(), protocmp.Transform()); diff != "" {
			t.Fatalf("(-shop +state):\n%s", diff)
		}
		if s.state.GetReadings() > int64(2*s.changes) {
			t.Fatalf("asked %d times about %d changes", s.state.GetReadings(), s.changes)
		}
	})
}
