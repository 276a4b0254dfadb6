package order_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
)

func lines(titles ...string) func(*orderv1.Order) {
	return func(o *orderv1.Order) {
		for _, title := range titles {
			o.Lines = append(o.Lines, &orderv1.Line{Title: title})
		}
	}
}

func TestPartsOfAnOrder(t *testing.T) {
	const repeated, last, more, again = order.TakenRepeated, order.TakenLast, order.TakenMore, order.TakenAgain
	part := func(number int64, index int, o *orderv1.Order, next string, seconds float64) order.Part {
		return order.Part{Number: number, Index: index, Order: o, Next: next, AskedAt: after(seconds)}
	}
	state := new(play).event(at(0, note("a")), told("1", 0)).event(at(0, note("b")), told("2", 0)).state
	heavy := strings.Repeat("x", order.MaxReadBytes/2)
	for name, test := range map[string]struct {
		parts []order.Part
		event *orderv1.Order // is folded before the last of them
		want  []order.Taken
	}{
		"one that is whole":                       {[]order.Part{part(1, 1, at(0), "", 1)}, nil, []order.Taken{last}},
		"one after the other":                     {[]order.Part{part(1, 1, at(0), "1", 1), part(1, 2, at(0), "2", 1), part(1, 3, at(0), "", 1)}, nil, []order.Taken{more, more, last}},
		"of another reading":                      {[]order.Part{part(2, 1, at(0), "1", 1)}, nil, []order.Taken{repeated}},
		"one that comes twice":                    {[]order.Part{part(1, 1, at(0), "1", 1), part(1, 1, at(0), "1", 1)}, nil, []order.Taken{more, repeated}},
		"one too early":                           {[]order.Part{part(1, 2, at(0), "1", 1)}, nil, []order.Taken{repeated}},
		"of another version":                      {[]order.Part{part(1, 1, at(0), "1", 1), part(1, 2, at(1), "2", 1)}, nil, []order.Taken{more, again}},
		"too many":                                {[]order.Part{part(1, 1, at(0), "1", 1), part(1, 2, at(0), "2", 1), part(1, 3, at(0), "3", 1)}, nil, []order.Taken{more, more, order.TakenTooLarge}},
		"too large":                               {[]order.Part{part(1, 1, at(0, lines(heavy)), "1", 1), part(1, 2, at(0, lines(heavy)), "", 1)}, nil, []order.Taken{more, order.TakenTooLarge}},
		"an event of the version may be newer":    {[]order.Part{part(1, 1, at(0), "1", 1), part(1, 2, at(0), "2", 9)}, at(0, note("c")), []order.Taken{more, again}},
		"an event that says what is known is not": {[]order.Part{part(1, 1, at(0), "1", 1), part(1, 2, at(0), "2", 9)}, at(0, note("b")), []order.Taken{more, more}},
	} {
		t.Run(name, func(t *testing.T) {
			state := state
			for i, p := range test.parts {
				if test.event != nil && i == len(test.parts)-1 {
					state, _ = order.Fold(state, test.event, told("3", 5))
				}
				next, taken := order.Take(state, p, 3)
				if taken != test.want[i] {
					t.Fatalf("part %d is %v, want %v", i+1, taken, test.want[i])
				}
				if taken != more && taken != again && !proto.Equal(next, state) {
					t.Errorf("part %d, %v, makes %v", i+1, taken, next.GetReading())
				}
				if taken == again && (next.GetReading().GetNumber() != 2 || next.GetReading().GetParts() != nil) {
					t.Errorf("it is read from the start as %v", next.GetReading())
				}
				state = next
			}
		})
	}
}

func TestAnOrderThatIsNeverTheSameIsReadThreeTimes(t *testing.T) {
	state := new(play).event(at(0, note("a")), told("1", 0)).event(at(0, note("b")), told("2", 0)).state
	var all []order.Taken
	for number := range int64(3) {
		for index := range 2 {
			next, taken := order.Take(state, order.Part{Number: number + 1, Index: index + 1, Order: at(int(number)*2 + index), Next: "x", AskedAt: after(1)}, 9)
			state, all = next, append(all, taken)
		}
	}
	want := []order.Taken{order.TakenMore, order.TakenAgain, order.TakenMore, order.TakenAgain, order.TakenMore, order.TakenChanges}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Another question, of other events, begins anew.
	state, _, _ = order.Unanswered(state, 3)
	if next, asked := order.Ask(state, "bulk"); !asked || next.GetReading().GetRestarts() != 0 || next.GetReading().GetNumber() != 4 {
		t.Errorf("asked again as %v", next.GetReading())
	}
}

// reader asks a shop for an order line by line.
type reader struct {
	*shop
	// waiting is the part that was asked for and is not taken in yet, taken are those that were.
	waiting *order.Part
	taken   []*orderv1.Line
	gaveUp  bool
}

func (r *reader) askPart(t *rapid.T) {
	reading := r.state.GetReading()
	if reading == nil || r.waiting != nil {
		return
	}
	index := int(reading.GetParts().GetAnswered())
	part := proto.CloneOf(r.current)
	part.Lines = part.GetLines()[index : index+1]
	r.waiting = &order.Part{Number: reading.GetNumber(), Index: index + 1, Order: part, AskedAt: r.skewed(t)}
	if index+1 < len(r.current.GetLines()) {
		r.waiting.Next = fmt.Sprint(index + 1)
	}
}

func (r *reader) takePart(*rapid.T) {
	if r.waiting == nil {
		return
	}
	p := *r.waiting
	r.waiting = nil
	next, taken := order.Take(r.state, p, 9)
	switch taken {
	case order.TakenMore:
		r.taken = append(r.taken[:p.Index-1], p.Order.GetLines()...)
	case order.TakenLast:
		whole, asked := proto.CloneOf(p.Order), r.state.GetReading().GetParts().GetAskedAt().AsTime()
		whole.Lines = slices.Concat(r.taken[:p.Index-1], p.Order.GetLines())
		next, _ = order.Answer(r.state, p.Number, whole, asked)
	case order.TakenChanges:
		next, _, _ = order.Unanswered(r.state, p.Number)
		r.gaveUp = true
	case order.TakenRepeated, order.TakenAgain, order.TakenTooLarge:
	}
	r.state = next
}

// Whatever the shop does while its order is read line by line, and whatever is told of it
// meanwhile: what is put together is one version that the shop has had, and in the end the
// order is as the shop has it, unless it was given up.
func TestTheOrderThatIsReadInPartsEndsAsTheShopHasIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &reader{shop: &shop{now: now, asked: map[int64]answer{}}}
		change := func(t *rapid.T) {
			r.change(t)
			lines(r.current.GetNote(), r.current.GetFinancialStatus(), "z")(r.current)
		}
		change(t)
		t.Repeat(map[string]func(*rapid.T){
			"change": change,
			"receive": func(t *rapid.T) {
				if len(r.sent) > 0 {
					r.receive(t)
				}
			},
			"fold": func(t *rapid.T) {
				if len(r.received) > 0 {
					r.fold(t)
				}
			},
			"ask":  r.askPart,
			"take": r.takePart,
			"pass": r.pass,
		})
		for len(r.sent) > 0 {
			r.receive(t)
		}
		for len(r.received) > 0 {
			r.fold(t)
		}
		for r.state.GetReading() != nil {
			r.askPart(t)
			r.now = r.now.Add(time.Second)
			r.takePart(t)
		}
		if r.gaveUp {
			return
		}
		if diff := cmp.Diff(r.current, r.state.GetOrder(), protocmp.Transform()); diff != "" {
			t.Fatalf("(-shop +state):\n%s", diff)
		}
		if r.state.GetReadings() > int64(3*r.changes) {
			t.Fatalf("asked %d times about %d changes", r.state.GetReadings(), r.changes)
		}
	})
}
