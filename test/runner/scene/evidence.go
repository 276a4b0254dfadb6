package scene

import (
	"errors"
	"slices"
	"time"

	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// Evidence gathers what there is now. What a world that runs elsewhere does not tell any
// more is as if it had not happened, and the reason is joined to late.
func (s *Stage) Evidence(late error) Evidence {
	s.sampleMemory()
	records, err := s.outside.records()
	e := Evidence{Script: s.Script, World: records.report, PeakMemory: s.peakMemory, Late: errors.Join(late, err)}
	e.ReceiptShown = receiptShown(s.Script, e.World.Receipts, records.changes)
	return e.withFeeding(records.calls.Origin, records.calls.Log, s.downtimes)
}

// withFeeding adds what the ERP's log of arrivals says: the pace, and the returns
// to work after each downtime.
func (e Evidence) withFeeding(origin time.Time, log []arrivals.Arrival, downtimes []Downtime) Evidence {
	// resumed returns when the first order after a moment was accepted. A probe or
	// a stock read that is accepted does not end a pause.
	resumed := func(moment time.Time) (time.Time, bool) {
		i := slices.IndexFunc(log, func(a arrivals.Arrival) bool { return isOrder(a) && a.At >= moment.Sub(origin) })
		if i < 0 {
			return e.World.At, false
		}
		return origin.Add(log[i].At), true
	}
	var pauses []arrivals.Pause
	pause := func(from, to time.Time) {
		pauses = append(pauses, arrivals.Pause{From: from.Sub(origin), To: to.Sub(origin)})
	}
	for _, m := range e.World.Maintenance {
		end := e.World.At
		if m.End != nil {
			end, _ = resumed(*m.End)
		}
		pause(m.Start, end)
	}
	for _, d := range downtimes {
		at, ok := resumed(d.To)
		pause(d.From, at)
		after := time.Duration(-1)
		if ok {
			after = at.Sub(d.To)
		}
		e.Restarts = append(e.Restarts, after)
	}
	if e.World.FirstAccepted == nil {
		return e
	}
	rate := func(counts func(arrivals.Arrival) bool) float64 {
		var at []time.Duration
		for _, a := range log {
			if counts(a) {
				at = append(at, a.At)
			}
		}
		return 60 * arrivals.Rate(at, e.World.FirstAccepted.Sub(origin), e.World.LastAccepted.Sub(origin), pauses)
	}
	e.CallsPerMinute = rate(func(a arrivals.Arrival) bool { return a.Outcome == arrivals.Accepted })
	e.OrdersPerMinute = rate(isOrder)
	return e
}

// isOrder says that the arrival was an order that the ERP took: its only writes
// are orders.
func isOrder(a arrivals.Arrival) bool { return a.Write && a.Outcome == arrivals.Accepted }

// receiptShown finds the first write of the product after the receipt that left
// the shop short of what is free by no more than a fiftieth of the receipt.
// While orders are fed, the shop is always short of a few: those that the ERP
// may have accepted between being asked for its stock and the write.
func receiptShown(script Script, receipts []sim.Receipt, changes []shopify.Change) time.Duration {
	if len(receipts) == 0 {
		return -1
	}
	free := script.Units + receipts[0].Quantity
	for _, c := range changes {
		switch {
		case c.Cause == "sale":
			free += c.Delta
		case c.Cause == "set" && !c.At.Before(receipts[0].At) && free-c.Available <= receipts[0].Quantity/50:
			return c.At.Sub(receipts[0].At)
		}
	}
	return -1
}
