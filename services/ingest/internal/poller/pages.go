package poller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
)

// gather adds what a page lists to a batch of so many bytes. What the batch has of it from
// before the comparison gives way, and so does the same version of a page before: some shops
// repeat the last second of a page on the next, and what is listed later is newer.
func gather(batch []*listed, bytes int, page []*listed) ([]*listed, int) {
	for _, l := range page {
		batch = slices.DeleteFunc(batch, func(before *listed) bool {
			gives := before.again && before.id == l.id || before.version() == l.version()
			if gives {
				bytes -= proto.Size(before.order)
			}
			return gives
		})
		batch = append(batch, l)
		bytes += proto.Size(l.order)
	}
	return batch, bytes
}

// endsEarly ends a comparison of which a page failed. What the pages before it had is told
// first: the next comparison begins where this one did, and may never get past that page.
func (s *source) endsEarly(ctx context.Context, batch []*listed, compared reconcile.Compared, failed error) error {
	if !ofSource(failed) {
		return failed
	}
	if batch, compared.Cursor = readBefore(batch, compared.Cursor, failed); len(batch) > 0 {
		if _, err := s.settle(ctx, batch, compared); err != nil && !ofSource(err) {
			return err
		}
	}
	return s.ends(ctx, failed)
}

// readBefore returns what can be told of a batch whose next page failed, and how far the
// cursor may go. Of a source that answers nothing no order can be read either, so that the
// cursor stops before those that are to be.
func readBefore(batch []*listed, cursor time.Time, failed error) ([]*listed, time.Time) {
	if !slices.ContainsFunc(batch, func(l *listed) bool { return !l.again }) {
		return nil, time.Time{} // the first page failed: nothing was read
	}
	var refused *refusal
	if errors.As(failed, &refused) && !withoutCredentials(refused.cause) {
		return batch, cursor
	}
	var whole []*listed
	for _, l := range batch {
		switch {
		case l.order != nil:
			whole = append(whole, l)
		case !l.again && l.updated.Before(cursor):
			cursor = l.updated
		}
	}
	return whole, cursor
}

// ends writes why a comparison did not come to its end, where that is the source's; other
// errors end the turn.
func (s *source) ends(ctx context.Context, err error) error {
	if ofSource(err) {
		return s.fail(ctx, err)
	}
	return err
}

// complete is up to when all was on a page or on those before, as far as its times tell. A
// page with a next counts by its oldest order: a shop that sorts by an index may show a newer
// time than the one that gave an order its place, and what is between is on later pages. What
// is said of that very second may be, too, and listing begins with it again.
func complete(page listing.OrderPage, now time.Time) time.Time {
	var times []time.Time
	for _, o := range page.Orders {
		if o.GetUpdatedAt() != nil {
			times = append(times, o.GetUpdatedAt().AsTime())
		}
	}
	for _, o := range page.Partial {
		times = append(times, o.UpdatedAt)
	}
	times = slices.DeleteFunc(times, func(at time.Time) bool { return !reconcile.Tells(at, now) })
	var through time.Time
	switch {
	case page.Open || len(times) == 0:
	case page.Next != "":
		through = slices.MinFunc(times, time.Time.Compare)
	default:
		through = slices.MaxFunc(times, time.Time.Compare)
	}
	if page.Through.After(through) && reconcile.Tells(page.Through, now) {
		return page.Through
	}
	return through
}

// emptyPages are more pages without an order than any shop has one after another: a page of
// the largest has 250, so that these are 50,000 orders of a kind that is not listed.
const emptyPages = 200

// pageTurns is how the pages of a comparison follow each other. It notices those that come
// again by one page that it has marked, each time after twice as many: pages that go round
// come to it, and it takes no memory of the others.
type pageTurns struct {
	marked       string
	turns, until int
	empty        int
}

// turn returns why a page's next is not to be asked for.
func (t *pageTurns) turn(asked string, page listing.OrderPage) error {
	if page.Next == "" {
		return nil
	}
	if page.Next == asked || page.Next == t.marked {
		return fmt.Errorf("page %q comes again after %q: the pages have no end", page.Next, asked)
	}
	t.empty++
	if len(page.Orders)+len(page.Partial) > 0 {
		t.empty = 0
	}
	if t.empty >= emptyPages {
		return fmt.Errorf("%d pages up to %q have no order, and there are more", t.empty, asked)
	}
	t.turns++
	if t.turns >= t.until {
		t.marked, t.turns, t.until = page.Next, 0, max(1, 2*t.until)
	}
	return nil
}

// list asks for a page of orders, and takes in whether the source refuses that. That it
// answers says the last page: where a later one is refused for good, the first would end
// its hold at each try.
func (s *source) list(ctx context.Context, page listing.Orders, turns *pageTurns) (listing.OrderPage, error) {
	answer, err := s.listPage(ctx, page, turns)
	if err == nil && answer.Next != "" {
		return answer, nil
	}
	if said := s.heed(ctx, connectors.OperationListOrders, err, nil); said != nil {
		return listing.OrderPage{}, said
	}
	return answer, err
}

func (s *source) listPage(ctx context.Context, page listing.Orders, turns *pageTurns) (listing.OrderPage, error) {
	result, err := s.askInTurn(ctx, connectors.OperationListOrders, page.Arguments())
	if err != nil {
		return listing.OrderPage{}, err
	}
	answer, err := listing.ParseOrderPage(result.GetValue())
	if err == nil {
		err = turns.turn(page.Page, answer)
	}
	if err != nil {
		return listing.OrderPage{}, &refusal{connectors.OperationListOrders, cause("unreadable-answer", err)}
	}
	return answer, nil
}

func (s *source) listed(page listing.OrderPage, now time.Time) []*listed {
	all := make([]*listed, 0, len(page.Orders)+len(page.Partial))
	for _, o := range page.Orders {
		updated := o.GetUpdatedAt().AsTime()
		all = append(all, &listed{id: o.GetId(), updated: updated, order: o, wait: reconcile.Wait(updated, now, s.grace)})
	}
	for _, o := range page.Partial {
		all = append(all, &listed{id: o.ID, updated: o.UpdatedAt, wait: reconcile.Wait(o.UpdatedAt, now, s.grace)})
	}
	return all
}
