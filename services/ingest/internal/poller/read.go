package poller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
)

const (
	// changesWhileRead bounds the calls for an order that is never the same twice; it is
	// listed again when it is.
	changesWhileRead = 3
	// codeOrderChanges is the cause of an order that is never the same twice. It is no
	// refusal, and nobody has to mend it.
	codeOrderChanges = "order-changes"
)

// unreadBefore are the orders that could not be read in comparisons before. The cursor has
// gone past them, so that no list has them any more.
func (s *source) unreadBefore() []*listed {
	var again []*listed
	for _, o := range reconcile.Unread(s.refusals[connectors.OperationReadOrder].hold) {
		again = append(again, &listed{id: o.ID, updated: o.UpdatedAt, again: true})
	}
	return again
}

// complete reads those that a page could not hold. skipped says which cannot be read, or
// stored; they are on hold, and asked for again. stuck is why one is not on hold, behind
// which the cursor must not go. What was read stays on hold until it is told: nothing else
// remembers it.
func (s *source) complete(ctx context.Context, suspects []*listed) (skipped string, stuck, err error) {
	for _, l := range suspects {
		said := s.remembered(l) != nil
		refused, err := s.read(ctx, l)
		if err != nil {
			return "", nil, err
		}
		order := &listing.Partial{ID: l.id, UpdatedAt: l.updated}
		switch code := refused.code(); {
		case refused == nil || code == connectors.CodeNoSuchOrder:
			l.settled = true
		case code == codeOrderChanges, said && s.isHeld(l):
			// It is listed again, or its hold says so. Of orders with two causes each would
			// write its own into the hold, in each comparison.
			skipped = fmt.Sprintf("order %s: %v", l.id, refused)
		case !s.isHeld(l) && len(s.unreadBefore()) >= reconcile.MaxUnread:
			stuck = fmt.Errorf("order %s and %d others: %w", l.id, reconcile.MaxUnread, refused)
		default:
			skipped = fmt.Sprintf("order %s: %v", l.id, refused)
			if err = s.heed(ctx, connectors.OperationReadOrder, refused, order); !s.isHeld(l) {
				stuck = fmt.Errorf("order %s cannot be put into the Error Hold: %w", l.id, refused)
			}
		}
		if err != nil {
			return "", nil, err
		}
	}
	return skipped, stuck, nil
}

// isHeld reports whether the Error Hold says that this version cannot be read.
func (s *source) isHeld(l *listed) bool {
	return slices.ContainsFunc(s.unreadBefore(), func(before *listed) bool { return before.version() == l.version() })
}

// takeOff takes orders off the hold that could not be read and are told of now, are not
// there any more, or are known meanwhile, by their webhooks.
func (s *source) takeOff(ctx context.Context, batch []*listed) error {
	held := map[string]time.Time{}
	for _, before := range s.unreadBefore() {
		held[before.id] = before.updated
	}
	var settled, cameIn []string
	for _, l := range batch {
		switch at, there := held[l.id]; {
		case there && at.After(l.updated): // another version
		case l.settled:
			settled = append(settled, l.id)
		case there && l.judgment == reconcile.Known:
			cameIn = append(cameIn, l.id)
		}
	}
	// Without an order the hold would be closed.
	if len(settled) > 0 {
		if err := s.answered(ctx, connectors.OperationReadOrder, answers, settled...); err != nil {
			return err
		}
	}
	if len(cameIn) > 0 {
		return s.answered(ctx, connectors.OperationReadOrder, "the orders that could not be read came in by themselves", cameIn...)
	}
	return nil
}

// remembered is why a version could not be read within the last hour; nil is no reason.
func (s *source) remembered(l *listed) *refusal {
	if known, before := s.unread[l.version()]; before && time.Now().Before(known.until) {
		return known.why
	}
	return nil
}

// read reads an order whole that a page did not hold, or says why it cannot be read, or
// stored; one that was refused is not asked for again for a while. The error ends the
// comparison.
func (s *source) read(ctx context.Context, l *listed) (*refusal, error) {
	v, said := l.version(), s.remembered(l)
	var err error
	if l.order == nil {
		if said != nil {
			return said, nil
		}
		err = s.readWhole(ctx, l)
	}
	if err == nil {
		err = s.storable(l)
	}
	var refused *refusal
	switch {
	case err == nil:
		delete(s.unread, v)
		return nil, nil //nolint:nilnil // it is not refused
	case !errors.As(err, &refused) || withoutCredentials(refused.cause):
		return nil, err
	}
	l.order = nil
	s.unread[v] = unread{refused, time.Now().Add(longestWatch)}
	if said == nil && refused.code() != connectors.CodeNoSuchOrder {
		s.log.ErrorContext(ctx, "an order that no webhook told of cannot be read, or stored; have a look at it", "order", l.id, "error", refused)
	}
	return refused, nil
}

// storable refuses an order that is too large to be told. What webhooks bring has the same
// bound, so that another try is in vain until the order is another.
func (s *source) storable(l *listed) error {
	for _, event := range s.telling().Events(l.known, l.order) {
		// As large as it gets when it is told.
		event.Bulk, event.ReceivedAt = true, &timestamppb.Timestamp{Seconds: time.Now().Unix(), Nanos: int32(time.Second - 1)}
		data, err := proto.Marshal(event)
		if err != nil {
			return &refusal{connectors.OperationReadOrder, cause("unreadable-answer", err)}
		}
		if len(data) > s.config.MaxEventBytes {
			return &refusal{connectors.OperationReadOrder, cause(connectors.CodeOrderTooLarge,
				fmt.Errorf("an event of it has %d bytes, and at most %d can be stored", len(data), s.config.MaxEventBytes))}
		}
	}
	return nil
}

// readWhole reads an order that a page could not hold, in parts where one answer cannot
// either. All of them have to be of one version: an order that is changed meanwhile is read
// from the start.
func (s *source) readWhole(ctx context.Context, l *listed) error {
	for range changesWhileRead {
		o, err := s.readParts(ctx, l.id)
		if err != nil || o != nil {
			l.order = o
			return err
		}
	}
	return &refusal{connectors.OperationReadOrder, cause(codeOrderChanges, fmt.Errorf("it was changed %d times while it was read in parts", changesWhileRead))}
}

// readParts returns nil for an order that was changed between two parts.
func (s *source) readParts(ctx context.Context, id string) (*orderv1.Order, error) {
	var whole *orderv1.Order
	asked := listing.OrderPart{ID: id}
	for range listing.MaxOrderParts {
		result, err := s.askInTurn(ctx, connectors.OperationReadOrder, asked.Arguments())
		if err != nil {
			return nil, err
		}
		part, next, err := listing.ParsePart(result.GetValue())
		switch {
		case err != nil:
			return nil, &refusal{connectors.OperationReadOrder, cause("unreadable-answer", err)}
		case whole == nil:
			whole = part
		case !part.GetUpdatedAt().AsTime().Equal(whole.GetUpdatedAt().AsTime()):
			return nil, nil //nolint:nilnil // as documented
		default:
			whole.Lines = append(whole.Lines, part.GetLines()...)
		}
		if next == "" {
			return whole, nil
		}
		asked.Page = next
	}
	return nil, &refusal{connectors.OperationReadOrder, cause(connectors.CodeOrderTooLarge, fmt.Errorf("it has more than %d parts", listing.MaxOrderParts))}
}
