package listing

import (
	"time"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// Entry is one of the orders that a system lists on a page.
type Entry struct {
	ID string
	// ChangedAt is zero where the page does not say; then that of Order counts, which may be
	// when it was made.
	ChangedAt time.Time
	// Order is nil where it cannot be read.
	Order *orderv1.Order
	// None: nobody has ordered it yet, and it is left out.
	None bool
}

// Taken is what of a page goes into the answer.
type Taken struct {
	Page OrderPage
	// Count is how many entries were taken, and Last when the newest of them was changed.
	Count int
	Last  time.Time
	// Cut: there are more in the page than the answer holds.
	Cut bool
	// Nameless: there is something in the page that is no order.
	Nameless bool
}

// Take takes the orders of a page until the answer is full. One that cannot be read is left
// to readOrder, which says why, or it would hide all that changed after it; and so is one
// that is larger than an answer, or that does not fit where whole says that the next page
// begins behind this one.
func Take(entries []Entry, whole bool) Taken {
	var t Taken
	size := 0
	for _, entry := range entries {
		takes := 0
		if entry.Order != nil {
			takes = Size(entry.Order)
		}
		switch {
		case entry.None:
		case entry.Order == nil:
			t.partial(entry)
		case size+takes <= MaxValueBytes:
			size += takes
			t.Page.Orders = append(t.Page.Orders, entry.Order)
		case !whole && len(t.Page.Orders) > 0:
			t.Cut = true
			return t
		default:
			t.partial(entry)
		}
		t.Count++
		changed := entry.ChangedAt
		if changed.IsZero() && entry.Order.GetUpdatedAt() != nil {
			changed = entry.Order.GetUpdatedAt().AsTime()
		}
		if changed.After(t.Last) {
			t.Last = changed
		}
	}
	return t
}

func (t *Taken) partial(entry Entry) {
	t.Page.Partial = append(t.Page.Partial, Partial{ID: entry.ID, UpdatedAt: entry.ChangedAt})
	t.Nameless = t.Nameless || entry.ID == ""
}
