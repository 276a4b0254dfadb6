package scene

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/peppasync/peppasync/test/sim"
)

const (
	// pacePromised is the share of the paced rate that is used while there is a
	// backlog.
	pacePromised = 0.99
	// ordersPromised is the share of the paced rate that is orders. Stock reads
	// may take a fifth of the calls; a twentieth is for look-ups and for where
	// the counting begins and ends.
	ordersPromised = 0.75
	// resumePromised is how long after maintenance the ERP is fed again.
	resumePromised = time.Second
	// memoryPromised is what the product's process may hold.
	memoryPromised = 300 << 20
	// restartBound is how long a restarted product may take until it feeds
	// again. The promise is the pace outside the downtime; this keeps the
	// downtime from hiding a slow start.
	restartBound = 15 * time.Second
)

// Promise is one thing that is promised, and what was found.
type Promise struct {
	Name  string `json:"name"`
	Kept  bool   `json:"kept"`
	Found string `json:"found"`
	// Promised says what was to be found.
	Promised string `json:"promised"`
}

// Evidence is what a scene is judged by. All of it but PeakMemory is the outside
// world's.
type Evidence struct {
	Script Script
	World  sim.Report
	// CallsPerMinute is the pace of all calls that the ERP accepted, orders and
	// stock reads, from the first to the last order, outside of maintenance and
	// downtime. OrdersPerMinute is that of the orders among them. What was
	// refused took nothing forward and counts as no call, and a maintenance or
	// downtime lasts until an order is accepted.
	CallsPerMinute, OrdersPerMinute float64
	// Restarts are how long after each start of a killed product the ERP
	// accepted an order; less than zero for never.
	Restarts []time.Duration
	// ReceiptShown is how long after the receipt the shop showed it; less than
	// zero for never.
	ReceiptShown time.Duration
	// PeakMemory is the largest resident size of the product's process in bytes.
	PeakMemory int64
	// Late is why the scene did not end by itself; nil where it did.
	Late error
}

// Judge returns every promise of the scene, kept or broken. It is a pure
// function.
func Judge(e Evidence) []Promise {
	promises := slices.Concat(e.orders(), e.pace(), e.stock())
	promises = append(promises, Promise{
		Name: "memory", Kept: e.PeakMemory > 0 && e.PeakMemory < memoryPromised,
		Found: fmt.Sprintf("at most %d MB resident", e.PeakMemory>>20), Promised: fmt.Sprintf("less than %d MB", memoryPromised>>20),
	})
	if e.Late != nil {
		promises = append(promises, Promise{Name: "the end", Found: e.Late.Error(), Promised: "everything fed or held, and stock in step"})
	}
	return promises
}

// equal is a promise about a number.
func equal(name string, found, want int, detail string) Promise {
	return Promise{Name: name, Kept: found == want, Found: number(found) + detail, Promised: number(want)}
}

func (e Evidence) orders() []Promise {
	w, good := e.World, e.Script.Orders-1
	return []Promise{
		equal("captured", w.Captured, e.Script.Orders, fmt.Sprintf(" orders, acknowledged in p50 %.0f ms, p99 %.0f ms", w.AckP50Ms, w.AckP99Ms)),
		equal("fed to the WMS", w.WMSAccepted, good, " orders"),
		equal("fed to the ERP", w.Fed, good, " orders"),
		e.held(),
		e.told(),
		equal("duplicates", w.Duplicates, 0, ""),
		equal("lost", w.Lost, 0, unfedNames(w.Unfed)),
	}
}

func (e Evidence) held() Promise {
	p := Promise{Name: "held", Promised: "order " + e.Script.badName() + " alone, for its configuration", Found: "nothing"}
	var found []string
	for _, u := range e.World.Unfed {
		if u.Cause != "" {
			found = append(found, fmt.Sprintf("order %s: %s", u.Order, u.Cause))
		}
	}
	if len(found) > 0 {
		p.Found = shorten(found)
	}
	p.Kept = len(found) == 1 && len(e.World.WMSRefused) == 1 && e.World.Unfed[slices.IndexFunc(e.World.Unfed, caused)].Order == e.Script.badName() &&
		strings.Contains(found[0], UnknownConfiguration)
	return p
}

func caused(u sim.Unfed) bool { return u.Cause != "" }

func (e Evidence) told() Promise {
	p := Promise{Name: "told", Promised: "one text, which names order " + e.Script.badName(), Found: "no text"}
	var bodies []string
	for _, t := range e.World.Texts {
		bodies = append(bodies, fmt.Sprintf("%q to %s", t.Body, t.To))
	}
	if len(bodies) > 0 {
		p.Found = shorten(bodies)
	}
	p.Kept = len(bodies) == 1 && strings.Contains(e.World.Texts[0].Body, e.Script.badName())
	return p
}

func (e Evidence) pace() []Promise {
	var promises []Promise
	for _, l := range e.World.Limits {
		promises = append(promises, Promise{
			Name: "limit of " + system(l.System), Kept: l.Limit > 0 && l.Largest <= l.Limit,
			Found:    fmt.Sprintf("at most %s of %s calls in any %s", number(l.Largest), number(l.Limit), span(l.WindowMs)),
			Promised: fmt.Sprintf("at most %s", number(l.Limit)),
		})
	}
	share, orders := e.CallsPerMinute/float64(e.Script.Paced()), e.OrdersPerMinute/float64(e.Script.Paced())
	promises = append(
		promises,
		equal("throttled replies", e.World.Throttled, 0, ""),
		Promise{
			Name: "pace", Kept: share >= pacePromised && orders >= ordersPromised,
			Found: fmt.Sprintf("%.1f accepted calls a minute while there was a backlog, %.2f%% of the paced %s, and of them %.1f orders",
				e.CallsPerMinute, 100*share, number(e.Script.Paced()), e.OrdersPerMinute),
			Promised: fmt.Sprintf("at least %.0f%% of %s, and %.0f%% with orders", 100*pacePromised, number(e.Script.Paced()), 100*ordersPromised),
		},
	)
	resumed := Promise{Name: "after maintenance", Found: "not fed again", Promised: fmt.Sprintf("within %v", resumePromised)}
	if n := len(e.World.Maintenance); n == 1 && e.World.Maintenance[0].FirstAcceptedAfterMs != nil {
		after := *e.World.Maintenance[0].FirstAcceptedAfterMs
		resumed.Found = fmt.Sprintf("fed again after %.0f ms", after)
		resumed.Kept = after <= float64(resumePromised.Milliseconds())
	}
	promises = append(promises, resumed)
	for _, after := range e.Restarts {
		restarted := Promise{Name: "after a kill", Found: "not fed again", Promised: fmt.Sprintf("within %v", restartBound)}
		if after >= 0 {
			restarted.Kept = after <= restartBound
			restarted.Found = fmt.Sprintf("fed again %d ms after the start", after.Milliseconds())
		}
		promises = append(promises, restarted)
	}
	return promises
}

func (e Evidence) stock() []Promise {
	w, script := e.World, e.Script
	available := script.Units + script.Receipt - (script.Orders - 1)
	step := Promise{
		Name: "stock", Found: "unknown",
		Promised: fmt.Sprintf("%s at the ERP, and at the shop one less, for the order that is held", number(available)),
	}
	if len(w.ERPStock) == 1 && len(w.ShopStock) == 1 {
		erp, shop := w.ERPStock[0].Available, w.ShopStock[0].Available
		step.Kept = erp == available && shop == available-1
		step.Found = fmt.Sprintf("%s available at the ERP, %s at the shop", number(erp), number(shop))
	}
	receipt := Promise{
		Name: "goods received", Found: "none in the shop",
		Promised: fmt.Sprintf("%s units in the shop within %v", number(script.Receipt), script.ReceiptWithin.Std()),
	}
	if len(w.Receipts) == 1 && e.ReceiptShown >= 0 {
		receipt.Kept = e.ReceiptShown <= script.ReceiptWithin.Std()
		receipt.Found = fmt.Sprintf("%s units in the shop after %.1f s", number(w.Receipts[0].Quantity), e.ReceiptShown.Seconds())
	}
	ghost := Promise{Name: "ghost zeros", Found: "unknown", Promised: "the shop never shows 0 while units are free"}
	if len(w.Balance) == 1 {
		ghost.Kept = w.Balance[0].GhostZeroMs == 0
		ghost.Found = fmt.Sprintf("the shop showed 0 for %.0f ms while units were free", w.Balance[0].GhostZeroMs)
	}
	shown := Promise{Name: "overshown", Found: "unknown", Promised: "the shop never shows more units than are free"}
	if len(w.Balance) == 1 {
		shown.Kept = w.Balance[0].LargestOvershown == 0
		shown.Found = fmt.Sprintf("the shop showed at most %s units more than were free", number(w.Balance[0].LargestOvershown))
	}
	return []Promise{step, receipt, ghost, shown, equal("oversold", max(w.OversoldUnits, w.Systems.ERP.LargestOversold), 0, " units")}
}

func system(name string) string {
	switch name {
	case "erp", "wms":
		return "the " + strings.ToUpper(name)
	case "shop":
		return "the shop"
	}
	return "texts"
}

func span(ms int64) string {
	length := time.Duration(ms) * time.Millisecond
	if length <= time.Minute {
		return fmt.Sprintf("%.0f s", length.Seconds())
	}
	return length.String()
}

func unfedNames(unfed []sim.Unfed) string {
	var names []string
	for _, u := range unfed {
		if u.Lost() {
			names = append(names, u.Order)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ": " + shorten(names)
}

// shorten keeps a line readable when everything goes wrong at once.
func shorten(items []string) string {
	const most = 5
	if len(items) <= most {
		return strings.Join(items, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(items[:most], "; "), len(items)-most)
}

// number writes thousands apart, as in 1,000.
func number(n int) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	text := ""
	for ; n >= 1000; n /= 1000 {
		text = fmt.Sprintf(",%03d%s", n%1000, text)
	}
	return fmt.Sprintf("%s%d%s", sign, n, text)
}
