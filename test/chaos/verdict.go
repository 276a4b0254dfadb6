package chaos

import (
	"fmt"
	"strings"

	"github.com/peppasync/peppasync/test/sim/netsuite"
)

// cancellation is the memo of a write that says that an order is cancelled.
const cancellation = "cancelled"

// mostListed is how many orders a finding lists.
const mostListed = 5

// fate is how an order ends that is cancelled.
type fate int

const (
	// unmade: the ERP never gets a call for it.
	unmade fate = iota + 1
	// told: it is there, and cancelled.
	told
	// either of the two.
	either
)

// evidence is what the ERP holds and saw, and what it should hold.
type evidence struct {
	// want is the quantity that each order must have in the end, by its name in the
	// shop. Edits only ever raise it.
	want map[string]int
	// cancelled says how orders end that were cancelled, of which nothing is wanted.
	cancelled map[string]fate
	// refusable are the orders whose writes the ERP may refuse for their content.
	refusable map[string]bool
	orders    []netsuite.Order
	history   map[string][]netsuite.Revision
	report    netsuite.Report
}

// missing returns how many orders are not there as wanted.
func (e evidence) missing() int {
	there := make(map[string]bool, len(e.orders))
	missing := len(e.want)
	for _, o := range e.orders {
		there[o.OtherRefNum] = true
		if quantity, ok := e.want[o.OtherRefNum]; ok && units(o) == quantity {
			missing--
		}
	}
	for name, as := range e.cancelled {
		if as != told && !there[name] {
			missing--
		}
	}
	return missing
}

// broken returns what was promised and is not so.
func (e evidence) broken() []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, limit := range e.report.Limits {
		if limit.Limit > 0 && limit.Largest > limit.Limit {
			add("over the limit: %d calls within %d ms, the limit is %d", limit.Largest, limit.WindowMs, limit.Limit)
		}
	}
	if c := e.report.Concurrency; c.Limit > 0 && c.Largest > c.Limit {
		add("over the limit: %d calls at once, the limit is %d", c.Largest, c.Limit)
	}
	if e.report.Throttled > 0 {
		add("%d calls were refused because of a limit", e.report.Throttled)
	}
	if n := e.report.DuplicateOrders + e.report.DuplicateLines; n > 0 {
		add("duplicate effects: %d orders and %d lines", e.report.DuplicateOrders, e.report.DuplicateLines)
	}
	if e.report.Undone > 0 {
		add("out of order: %d writes undid a later one", e.report.Undone)
	}
	if refused := e.refused(); len(refused) > 0 {
		add("%d writes were refused for their content, the first: %+v", len(refused), refused[0])
	}
	found = append(found, e.outOfOrder()...)
	return append(found, e.lost()...)
}

// refused returns the writes that were refused and should not have been.
func (e evidence) refused() []netsuite.Refusal {
	if len(e.refusable) == 0 {
		return e.report.Refused
	}
	names := e.names()
	var found []netsuite.Refusal
	for _, r := range e.report.Refused {
		if !e.refusable[names[strings.ToLower(r.ExternalID)]] {
			found = append(found, r)
		}
	}
	return found
}

// names are the names of orders in the shop by their external ids, in lower case.
func (e evidence) names() map[string]string {
	names := make(map[string]string, len(e.orders))
	for _, o := range e.orders {
		names[strings.ToLower(o.ExternalID)] = o.OtherRefNum
	}
	return names
}

// editedFirst finds orders whose first write was not their creation, by the memo that
// each kind of write leaves.
func (e evidence) editedFirst(creation string) []string {
	var found []string
	for _, o := range e.orders {
		if history := e.history[o.ExternalID]; len(history) > 0 && history[0].Memo != creation {
			found = append(found, fmt.Sprintf("out of order: order %s began with its %s", o.OtherRefNum, history[0].Memo))
		}
	}
	return abridged(found)
}

func (e evidence) outOfOrder() []string {
	var found []string
	for _, o := range e.orders {
		last, over := 0, false
		for _, revision := range e.history[o.ExternalID] {
			if over && revision.Memo != cancellation {
				found = append(found, fmt.Sprintf("out of order: order %s was written as %q after its cancellation", o.OtherRefNum, revision.Memo))
				break
			}
			if over = revision.Memo == cancellation; over {
				continue
			}
			if revision.Quantity < last {
				found = append(found, fmt.Sprintf("out of order: order %s went from quantity %d to %d", o.OtherRefNum, last, revision.Quantity))
				break
			}
			last = revision.Quantity
		}
	}
	return abridged(found)
}

func (e evidence) lost() []string {
	var found []string
	there := make(map[string]int, len(e.orders))
	for _, o := range e.orders {
		there[o.OtherRefNum] = units(o)
	}
	for name, want := range e.want {
		as := e.cancelled[name]
		quantity, ok := there[name]
		switch {
		case ok && as == unmade:
			found = append(found, fmt.Sprintf("made: order %s is at the ERP, and was cancelled before any call for it", name))
		case !ok && (as == unmade || as == either):
		case !ok:
			found = append(found, fmt.Sprintf("lost: order %s is not at the ERP", name))
		case quantity != want:
			found = append(found, fmt.Sprintf("lost: order %s has quantity %d at the ERP, want %d", name, quantity, want))
		}
	}
	return abridged(found)
}

func units(o netsuite.Order) int {
	sum := 0
	for _, quantity := range o.Quantities {
		sum += quantity
	}
	return sum
}

func abridged(found []string) []string {
	if len(found) <= mostListed {
		return found
	}
	return append(found[:mostListed:mostListed], fmt.Sprintf("and %d more like these", len(found)-mostListed))
}
