package sim

import (
	"slices"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// Balance judges shop and ERP together for one SKU. Free is what is there to sell: the ERP's available at the start plus
// receipts less what the shop has sold and not cancelled, whether or not the ERP knows of it yet. It holds where the shop
// is the only one who sells.
type Balance struct {
	SKU  string `json:"sku"`
	Free int    `json:"free"`
	// Shown is the shop's available now; it equals Free when the two are in step.
	Shown int `json:"shown"`
	// LargestOversold is by how much Free was ever below zero.
	LargestOversold int `json:"largestOversold"`
	// GhostZeroMs is for how long the shop showed zero or less while units were free; LongestGhostZeroMs the longest of
	// those spans.
	GhostZeroMs        float64 `json:"ghostZeroMs"`
	LongestGhostZeroMs float64 `json:"longestGhostZeroMs"`
	// LargestOvershown is by how much the shop ever showed more than was free.
	LargestOvershown int `json:"largestOvershown"`
}

// Receipt is goods that came in at the ERP. InShopAfterMs is how long it took until the engine had raised the shop's
// available by that many units; absent while it has not.
type Receipt struct {
	netsuite.Receipt
	InShopAfterMs *float64 `json:"inShopAfterMs,omitempty"`
}

// event is one change on either side.
type event struct {
	at    time.Time
	free  int  // change of what is free
	shown *int // the shop's available after it
}

// balance replays both histories in the order of time.
func balance(changes []shopify.Change, movements []netsuite.Movement, now time.Time) []Balance {
	events := make(map[string][]event)
	known := make(map[string]int)
	for _, m := range movements {
		switch m.Cause {
		case "start":
			known[m.SKU] = m.Available
			events[m.SKU] = append(events[m.SKU], event{at: m.At, free: m.Available})
		case "receipt":
			events[m.SKU] = append(events[m.SKU], event{at: m.At, free: received(movements, m)})
		}
	}
	for _, c := range changes {
		shown := c.Available
		e := event{at: c.At, shown: &shown}
		if c.Cause != "set" && c.Cause != "start" {
			e.free = c.Delta
		}
		events[c.SKU] = append(events[c.SKU], e)
	}
	var all []Balance
	for _, c := range changes {
		if _, ok := known[c.SKU]; ok && c.Cause == "start" {
			all = append(all, replay(c.SKU, events[c.SKU], now))
		}
	}
	return all
}

// received is by how many units a receipt raised on hand.
func received(movements []netsuite.Movement, m netsuite.Movement) int {
	before := 0
	for _, earlier := range movements {
		if earlier == m {
			break
		}
		if earlier.SKU == m.SKU && earlier.Location == m.Location {
			before = earlier.OnHand
		}
	}
	return m.OnHand - before
}

func replay(sku string, events []event, now time.Time) Balance {
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	b := Balance{SKU: sku}
	var since time.Time // start of the ghost zero that is on
	end := func(at time.Time) {
		if since.IsZero() {
			return
		}
		ms := float64(at.Sub(since)) / float64(time.Millisecond)
		b.GhostZeroMs += ms
		b.LongestGhostZeroMs = max(b.LongestGhostZeroMs, ms)
		since = time.Time{}
	}
	shopOpen := false
	for _, e := range events {
		b.Free += e.free
		if e.shown != nil {
			b.Shown, shopOpen = *e.shown, true
		}
		b.LargestOversold = max(b.LargestOversold, -b.Free)
		if !shopOpen {
			continue
		}
		b.LargestOvershown = max(b.LargestOvershown, b.Shown-max(b.Free, 0))
		switch ghost := b.Shown <= 0 && b.Free > 0; {
		case ghost && since.IsZero():
			since = e.at
		case !ghost:
			end(e.at)
		}
	}
	end(now)
	return b
}

// receipts finds, for each receipt, the set that completed the raise at the shop.
func receipts(booked []netsuite.Receipt, changes []shopify.Change) []Receipt {
	all := []Receipt{}
	for _, r := range booked {
		out := Receipt{Receipt: r}
		raised := 0
		for _, c := range changes {
			if c.SKU != r.SKU || c.Cause != "set" || c.Delta <= 0 || c.At.Before(r.At) {
				continue
			}
			if raised += c.Delta; raised >= r.Quantity {
				ms := float64(c.At.Sub(r.At)) / float64(time.Millisecond)
				out.InShopAfterMs = &ms
				break
			}
		}
		all = append(all, out)
	}
	return all
}

func orderNumber(name string) int {
	n, err := strconv.Atoi(digits(name))
	if err != nil {
		return 0
	}
	return n
}
