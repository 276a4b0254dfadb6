package poller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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

// complete reads those that a page could not hold. skipped says which cannot be read; they
// are on hold, and asked for again. stuck is why one is not on hold, behind which the
// cursor must not go.
func (s *source) complete(ctx context.Context, suspects []*listed) (skipped string, stuck, err error) {
	for _, l := range suspects {
		if l.order != nil {
			continue
		}
		refused, err := s.read(ctx, l)
		if err != nil {
			return "", nil, err
		}
		order := &listing.Partial{ID: l.id, UpdatedAt: l.updated}
		switch code := refused.code(); {
		case refused == nil || code == connectors.CodeNoSuchOrder:
			err = s.heed(ctx, connectors.OperationReadOrder, nil, order)
		case code == codeOrderChanges: // it is listed again
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

// cameIn takes orders off the hold that could not be read and are known meanwhile, by their
// webhooks.
func (s *source) cameIn(ctx context.Context, batch []*listed) error {
	var ids []string
	for _, l := range batch {
		if l.judgment == reconcile.Known && slices.ContainsFunc(s.unreadBefore(), func(before *listed) bool {
			return before.id == l.id && !before.updated.After(l.updated)
		}) {
			ids = append(ids, l.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return s.answered(ctx, connectors.OperationReadOrder, "the orders that could not be read came in by themselves", ids...)
}

// read reads an order whole, or says why it cannot be; one that was refused is not asked
// for again for a while. The error ends the comparison.
func (s *source) read(ctx context.Context, l *listed) (*refusal, error) {
	v := l.version()
	if known, before := s.unread[v]; before && time.Now().Before(known.until) {
		return known.why, nil
	}
	err := s.readWhole(ctx, l)
	var refused *refusal
	switch {
	case err == nil:
		delete(s.unread, v)
		return nil, nil //nolint:nilnil // it is not refused
	case !errors.As(err, &refused) || withoutCredentials(refused.cause):
		return nil, err
	}
	s.unread[v] = unread{refused, time.Now().Add(longestWatch)}
	if refused.code() != connectors.CodeNoSuchOrder {
		s.log.ErrorContext(ctx, "an order that no webhook told of cannot be read; have a look at it", "order", l.id, "error", refused)
	}
	return refused, nil
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
		result, err := s.ask(ctx, connectors.OperationReadOrder, asked.Arguments())
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
