package throttledispatcher

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/notice"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
)

const (
	// keyRefused is the key of the holds of messages, whatever these say: no order has it.
	keyRefused = "refused"
	// mostRefused is how many messages that may be anybody's wait for a person, of one
	// connector. Who can send one can send a million, and 20 show what they are.
	mostRefused = 20
	// recountAfter is how often it is looked whether a person has discarded some.
	recountAfter = time.Minute
	// countTimeout bounds that.
	countTimeout = 5 * time.Second
	// keptOfAnybodys is what is kept of such a message; a question to a source has some
	// hundred bytes. Of others all is kept that fits, with what stands beside it, into a
	// message of a server as it comes, of 1 MiB.
	keptOfAnybodys = 4 << 10
	keptOfRoles    = 1<<20 - 16<<10
	// toldEvery is how often the log hears of them.
	toldEvery = time.Minute
	// maxSubject bounds what is kept of a subject: up to the key it is shorter, as names
	// of connectors and lanes are.
	maxSubject = 1024
)

// refused is what becomes of messages of DISPATCH at a connector that are no deliveries
// that may be made. They are put aside beside the loop, one at a time: turns, open,
// countedAt and over belong to whoever has the turn.
type refused struct {
	connector string
	bus       *bus.Bus
	records   records
	counted   *refusedTally
	notices   *notice.Board
	turns     tellers
	// open is how many that may be anybody's waited for a person at countedAt, and those
	// since. over are holds that were discarded, or are none of these.
	open      int
	countedAt time.Time
	over      map[string]bool

	mu sync.Mutex
	// newest are those that are being put aside, each as it came last.
	newest map[uint64]*bus.Incoming
}

// refusedTally counts such messages: those that are held, and those that were removed
// because enough of them are.
type refusedTally struct{ held, removed atomic.Int64 }

func newRefused(connector string, config Config, records records, log *slog.Logger, counted *refusedTally) *refused {
	return &refused{
		connector: connector, bus: config.Bus, records: records, counted: counted, notices: notice.New(log, toldEvery), turns: tellers{most: 1},
		over: map[string]bool{}, newest: map[uint64]*bus.Incoming{},
	}
}

// turnAway puts a message aside that is no delivery that may be made: into the Error Hold,
// and only then out of the stream, where it would take a place of its lane for good.
func (w *worker) turnAway(ctx context.Context, m *bus.Incoming, cause *fault.Cause) {
	if !w.refused.begin(m) {
		return
	}
	w.refused.turns.do(&w.finishers, func() {
		defer w.refused.end(m.Sequence)
		hold := w.refused.hold(m, cause)
		settled := false
		w.insist(ctx, hold.GetDelivery().GetId(), func() (err error) {
			if !settled {
				if settled, err = w.refused.settle(ctx, hold); err != nil {
					return err
				}
			}
			if !settled {
				return m.AckAsync() // that may be lost; then it comes again
			}
			return w.refused.acknowledge(ctx, m.Sequence)
		})
	})
}

// begin reports whether a message is to be put aside, and is not being so already.
func (r *refused) begin(m *bus.Incoming) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.newest[m.Sequence]
	r.newest[m.Sequence] = m
	return !known
}

func (r *refused) end(sequence uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.newest, sequence)
}

// acknowledge takes the message out of the stream, as it came last: of one that has come
// again an earlier acknowledgment is not answered.
func (r *refused) acknowledge(ctx context.Context, sequence uint64) error {
	r.mu.Lock()
	m := r.newest[sequence]
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	return r.records.Ack(ctx, m)
}

// hold is what a person is to see of a message. Nothing that it says is taken from it but
// the cause: neither its connector nor its key, nor who asks.
func (r *refused) hold(m *bus.Incoming, cause *fault.Cause) *dispatchv1.Hold {
	kept := keptOfRoles
	if mayBeAnybodys(m.Subject) {
		kept = keptOfAnybodys
	}
	hash := sha256.Sum256(m.Data)
	d := &dispatchv1.Delivery{
		// The time too: a stream that was made anew counts from 1.
		Id:        fmt.Sprintf("message-%d-%d", m.Sequence, m.Time.UnixMicro()),
		Connector: r.connector, Key: keyRefused, Requester: Role, CreatedAt: timestamppb.New(m.Time),
	}
	return &dispatchv1.Hold{
		Delivery: d, Cause: causeOf(d, *cause), HeldAt: timestamppb.Now(), PayloadHash: hash[:],
		Refused: &dispatchv1.RefusedMessage{
			Subject: told(m.Subject, maxSubject), Sequence: m.Sequence, PublishedAt: timestamppb.New(m.Time),
			Data: m.Data[:min(len(m.Data), kept)], Size: int64(len(m.Data)),
		},
	}
}

// settle stores the hold and returns true, or false where the message may be anybody's and
// enough of those wait for a person.
func (r *refused) settle(ctx context.Context, hold *dispatchv1.Hold) (held bool, err error) {
	message := hold.GetRefused()
	about := []slog.Attr{
		slog.String("subject", message.GetSubject()), slog.Uint64("sequence", message.GetSequence()), slog.Int64("bytes", message.GetSize()),
		slog.String("cause", hold.GetCause().GetCode()), slog.String("detail", hold.GetCause().GetDetail()),
	}
	anybodys := mayBeAnybodys(message.GetSubject())
	if anybodys {
		if err := r.count(ctx); err != nil {
			return false, err
		}
		if r.open >= mostRefused {
			r.counted.removed.Add(1)
			r.notices.Post(slog.LevelError, "removed", "messages of DISPATCH that nobody may send are removed, because enough of them are in the Error Hold; "+
				"find out who sends them, and discard those", append(about, slog.Int("held", r.open))...)
			return false, nil
		}
	}
	if err := r.publish(ctx, hold); err != nil {
		return false, err
	}
	r.counted.held.Add(1)
	if anybodys {
		r.open++
	}
	r.notices.Post(slog.LevelError, hold.GetCause().GetCode(), "a message of DISPATCH is no delivery that may be made, and is put into the Error Hold",
		about...)
	return true, nil
}

func (r *refused) publish(ctx context.Context, hold *dispatchv1.Hold) error {
	m, err := unique(ctx, bus.HoldSubject(r.connector, keyRefused, hold.GetDelivery().GetId()), hold)
	if err != nil {
		return err
	}
	if _, err = r.records.Publish(ctx, m); bus.IsConflict(err) {
		_, err = bus.Instead(ctx, r.records, bus.StreamErrorHold, m, err)
	}
	return err
}

// count finds out how many that may be anybody's wait for a person, where that is not
// known or may have become less.
func (r *refused) count(ctx context.Context) error {
	now := time.Now()
	if !r.countedAt.IsZero() && (r.open < mostRefused || now.Sub(r.countedAt) < recountAfter) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	subjects, err := r.bus.Tally(ctx, bus.StreamErrorHold, bus.HoldKeyFilter(r.connector, keyRefused))
	if err != nil {
		return err
	}
	open := 0
	for subject := range subjects {
		if r.over[subject] {
			continue
		}
		hold, err := r.held(ctx, subject)
		if err != nil {
			return err
		}
		if hold.GetRelease() != nil || !mayBeAnybodys(hold.GetRefused().GetSubject()) {
			r.over[subject] = true
			continue
		}
		open++
	}
	r.open, r.countedAt = open, now
	return nil
}

// held returns what is on hold on a subject; nothing where that cannot be read.
func (r *refused) held(ctx context.Context, subject string) (*dispatchv1.Hold, error) {
	hold := &dispatchv1.Hold{}
	record, err := r.records.Last(ctx, bus.StreamErrorHold, subject)
	if errors.Is(err, bus.ErrNotFound) {
		return hold, nil
	}
	if err != nil {
		return nil, fmt.Errorf("counting the refused messages in the Error Hold: %w", err)
	}
	if err := proto.Unmarshal(record.Data, hold); err != nil {
		return &dispatchv1.Hold{}, nil //nolint:nilerr // it is none that this role made
	}
	return hold, nil
}
