package order

import (
	"time"

	"google.golang.org/protobuf/proto"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

const (
	// maxRestarts bounds the calls for an order that is never the same for two parts: it is
	// read three times at most. Each change of it is told by a webhook, too.
	maxRestarts = 2
	// MaxReadBytes bounds an order that is read in parts. A state has to fit into a message
	// of 1 MiB with it, and with up to 96 KiB of events that only name it beside some fifty
	// deliveries. A webhook of 1 MiB has some 850 lines, and they are a third of this.
	MaxReadBytes = 640 << 10
)

// Part is an answer to a reading: an order, or some of its lines.
type Part struct {
	// Number is that of the reading, and Index counts its answers from 1.
	Number int64
	Index  int
	Order  *orderv1.Order
	// Next is where the next part begins, empty for the last one.
	Next string
	// AskedAt is when it was asked for, by the clock of whoever asked.
	AskedAt time.Time
}

// Taken is what becomes of a part.
type Taken int

const (
	// TakenRepeated: nobody waits for it. Nothing changed.
	TakenRepeated Taken = iota
	// TakenLast: with those before it the order is whole, and is an Answer. Nothing changed.
	TakenLast
	// TakenMore: the state waits for the next one.
	TakenMore
	// TakenAgain: the order was changed between two parts, or an event disagrees that may be
	// newer than the first of them. The state has it read from the start.
	TakenAgain
	// TakenChanges: it was changed so often that it is not read again. Nothing changed.
	TakenChanges
	// TakenTooLarge: it has more parts, or bytes, than are read. Nothing changed.
	TakenTooLarge
)

// Awaited reports whether a reading waits for that answer.
func Awaited(state *orderv1.State, number int64, index int) bool {
	r := state.GetReading()
	return r != nil && r.GetNumber() == number && int(r.GetParts().GetAnswered())+1 == index
}

// Take returns the state after one of the answers to a reading, of which there may be maxParts.
func Take(state *orderv1.State, p Part, maxParts int) (*orderv1.State, Taken) {
	if !Awaited(state, p.Number, p.Index) {
		return state, TakenRepeated
	}
	r, parts := state.GetReading(), state.GetReading().GetParts()
	asked, bytes := p.AskedAt, int64(proto.Size(p.Order))
	if p.Index > 1 {
		if !p.Order.GetUpdatedAt().AsTime().Equal(parts.GetUpdatedAt().AsTime()) {
			return Restart(state)
		}
		asked, bytes = parts.GetAskedAt().AsTime(), parts.GetBytes()
		for _, line := range p.Order.GetLines() {
			bytes += int64(proto.Size(line))
		}
	}
	switch {
	case p.Next == "" && p.Index == 1:
		return state, TakenLast // as large as one answer may be
	case bytes > MaxReadBytes || p.Next != "" && p.Index >= maxParts:
		return state, TakenTooLarge
	case p.Next == "":
		return state, TakenLast
	case r.GetDisputed() && !covered(r, asked):
		// What the other parts say would not count.
		next := proto.CloneOf(state)
		open(next, next.GetReading())
		return next, TakenAgain
	}
	next := proto.CloneOf(state)
	next.Reading.Parts = &orderv1.Parts{
		Answered: int32(p.Index), Next: p.Next, UpdatedAt: p.Order.GetUpdatedAt(), AskedAt: stamp(asked), Bytes: bytes, //nolint:gosec // maxParts at most
	}
	return next, TakenMore
}

// Restart returns the state with the order read from its first part again, TakenAgain; or
// TakenChanges where that was done too often. There must be a reading.
func Restart(state *orderv1.State) (*orderv1.State, Taken) {
	restarts := state.GetReading().GetRestarts() + 1
	if restarts > maxRestarts {
		return state, TakenChanges
	}
	next := proto.CloneOf(state)
	open(next, next.GetReading())
	next.Reading.Restarts = restarts
	return next, TakenAgain
}
