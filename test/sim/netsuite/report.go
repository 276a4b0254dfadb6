package netsuite

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
)

// Report is what the account holds and what it saw.
type Report struct {
	account.Report
	// Orders is the number of sales orders, duplicates included.
	Orders int `json:"orders"`
	// Updates counts accepted writes to an order that existed; IdenticalRewrites those of them that repeated the last
	// payload byte for byte, as a resend of an unknown outcome does.
	Updates           int `json:"updates"`
	IdenticalRewrites int `json:"identicalRewrites"`
	// DuplicateOrders counts orders beyond the first for the same external id or, else, the same otherRefNum.
	DuplicateOrders int `json:"duplicateOrders"`
	// DuplicateLines counts lines that an update without replace=item added to those that were there.
	DuplicateLines int `json:"duplicateLines"`
	// Undone counts writes that took effect after one with another payload that had arrived later: they undid it.
	Undone  int       `json:"undone"`
	Refused []Refusal `json:"refused,omitempty"`
	// FirstAccepted and LastAccepted are the arrivals of the first and the last accepted order write.
	FirstAccepted *time.Time `json:"firstAccepted,omitempty"`
	LastAccepted  *time.Time `json:"lastAccepted,omitempty"`
	// CallsPerMinute is the pace of all accepted calls between those two, OrdersPerMinute that of new orders alone; both
	// leave out maintenance up to the first order write that was accepted after it.
	CallsPerMinute  float64 `json:"callsPerMinute"`
	OrdersPerMinute float64 `json:"ordersPerMinute"`
	Stock           []Stock `json:"stock"`
	// OversoldUnits is the number of units promised and not there now; LargestOversold the largest it ever was.
	OversoldUnits   int       `json:"oversoldUnits"`
	LargestOversold int       `json:"largestOversold"`
	Receipts        []Receipt `json:"receipts,omitempty"`
}

// Stock is one item at one location.
type Stock struct {
	SKU       string `json:"sku"`
	Location  string `json:"location"`
	OnHand    int    `json:"onHand"`
	Available int    `json:"available"`
	// LowestAvailable is the lowest that Available ever was.
	LowestAvailable int `json:"lowestAvailable"`
}

// Report returns the state of the account now.
func (a *Account) Report() Report {
	r, accepted := a.snapshot()
	if r.FirstAccepted != nil {
		r.CallsPerMinute = a.Rate(*r.FirstAccepted, *r.LastAccepted)
		r.OrdersPerMinute = a.RateOf(accepted, *r.FirstAccepted, *r.LastAccepted)
	}
	return r
}

// snapshot takes what needs the lock. The rates walk over the whole arrival log and are left out: whoever looks at the
// account must not slow its replies.
func (a *Account) snapshot() (r Report, accepted []time.Duration) {
	r = Report{Report: a.Front.Report()}
	a.mu.Lock()
	defer a.mu.Unlock()
	t := &a.tally
	r.Orders, r.Updates, r.IdenticalRewrites = len(a.orders), t.updates, t.identicalRewrite
	r.DuplicateOrders, r.DuplicateLines, r.Undone = t.duplicateOrders, t.duplicateLines, t.undone
	r.Refused, r.Receipts = slices.Clone(t.refused), slices.Clone(t.receipts)
	r.OversoldUnits, r.LargestOversold = t.oversold, t.largestOversold
	if !t.first.IsZero() {
		first, last := t.first, t.last
		r.FirstAccepted, r.LastAccepted = &first, &last
	}
	for at, l := range a.stock {
		r.Stock = append(r.Stock, Stock{
			SKU: a.byID[at.item].sku, Location: at.location, OnHand: l.onHand, Available: l.available, LowestAvailable: l.lowest,
		})
	}
	slices.SortFunc(r.Stock, func(a, b Stock) int {
		return cmp.Or(strings.Compare(a.SKU, b.SKU), strings.Compare(a.Location, b.Location))
	})
	return r, a.acceptedAt()
}

func (a *Account) acceptedAt() []time.Duration {
	origin := a.Arrivals().Origin()
	at := make([]time.Duration, len(a.tally.accepted))
	for i, t := range a.tally.accepted {
		at[i] = t.Sub(origin)
	}
	return at
}
