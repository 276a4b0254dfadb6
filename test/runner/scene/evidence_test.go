package scene

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/arrivals"
)

// TestFeedingIsAcceptedOrders has an ERP that takes an order a second, with
// calls between them that must not pass for feeding.
func TestFeedingIsAcceptedOrders(t *testing.T) {
	origin := time.Now()
	at := func(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
	order := func(seconds float64) arrivals.Arrival {
		return arrivals.Arrival{At: at(seconds), Outcome: arrivals.Accepted, Write: true}
	}
	read := func(seconds float64) arrivals.Arrival {
		return arrivals.Arrival{At: at(seconds), Outcome: arrivals.Accepted}
	}
	refused := func(seconds float64, why arrivals.Outcome) arrivals.Arrival {
		return arrivals.Arrival{At: at(seconds), Outcome: why, Write: true}
	}
	log := []arrivals.Arrival{
		order(0), order(1), read(1.5), order(2), refused(2.2, arrivals.Refused), refused(2.4, arrivals.Throttled), order(3),
		// Killed from 3.5 to 10: the stock is read, and nothing fed until 14.
		read(10.5), refused(11, arrivals.Unavailable), order(14), order(15),
		// In maintenance from 15.5 to 20: a probe is answered at once, an order taken at 22.
		refused(16, arrivals.Unavailable), read(20.1), order(22), order(23),
	}
	first, last, end := origin, origin.Add(at(23)), origin.Add(at(20))
	without := Evidence{World: sim.Report{
		At: origin.Add(at(30)), FirstAccepted: &first, LastAccepted: &last,
		Maintenance: []account.MaintenanceReport{{Start: origin.Add(at(15.5)), End: &end}},
	}}
	down := Downtime{From: origin.Add(at(3.5)), To: origin.Add(at(10))}
	e := without.withFeeding(origin, log, []Downtime{down})
	if len(e.Restarts) != 1 || e.Restarts[0] != at(4) {
		t.Errorf("fed again %v after the start, want 4s: a stock read is no order", e.Restarts)
	}
	// Of 23 s, 10.5 and 6.5 are pauses. In the 6 that are left there are seven
	// orders but the first, and one read.
	if want := 60.0 * 7 / 6; e.OrdersPerMinute != want {
		t.Errorf("%.1f orders a minute, want %.1f", e.OrdersPerMinute, want)
	}
	if want := 60.0 * 8 / 6; e.CallsPerMinute != want {
		t.Errorf("%.1f calls a minute, want %.1f", e.CallsPerMinute, want)
	}

	e = without.withFeeding(origin, log[:9], []Downtime{down})
	if e.Restarts[0] >= 0 {
		t.Errorf("fed again %v after the start, want never", e.Restarts[0])
	}
}
