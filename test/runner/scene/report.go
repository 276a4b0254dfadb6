package scene

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/peppasync/peppasync/test/sim"
)

// Report is the judgment of a scene with all figures behind it.
type Report struct {
	Kept     bool      `json:"kept"`
	Promises []Promise `json:"promises"`
	Script   Script    `json:"script"`
	// CallsPerMinute, OrdersPerMinute and PeakMemory are those of the Evidence.
	CallsPerMinute  float64 `json:"callsPerMinute"`
	OrdersPerMinute float64 `json:"ordersPerMinute"`
	// ReceiptShownMs is how long after the receipt the shop showed it, but for a
	// few units on their way; less than zero for never.
	ReceiptShownMs int64      `json:"receiptShownMs"`
	PeakMemory     int64      `json:"peakMemoryBytes"`
	Downtimes      []Downtime `json:"downtimes,omitempty"`
	World          sim.Report `json:"world"`
}

// Report judges the scene as it is now. late is the error of Play.
func (s *Stage) Report(late error) Report {
	e := s.Evidence(late)
	r := Report{
		Kept: true, Promises: Judge(e), Script: s.Script, CallsPerMinute: e.CallsPerMinute, OrdersPerMinute: e.OrdersPerMinute,
		ReceiptShownMs: e.ReceiptShown.Milliseconds(), PeakMemory: e.PeakMemory,
		Downtimes: s.downtimes, World: e.World,
	}
	for _, p := range r.Promises {
		r.Kept = r.Kept && p.Kept
	}
	return r
}

// Broken returns the promises that were not kept.
func (r Report) Broken() []Promise {
	var broken []Promise
	for _, p := range r.Promises {
		if !p.Kept {
			broken = append(broken, p)
		}
	}
	return broken
}

// WriteText prints the report for a reader: a line for each promise.
func (r Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range r.Promises {
		verdict, found := "ok", p.Found
		if !p.Kept {
			verdict, found = "BROKEN", fmt.Sprintf("%s (promised: %s)", p.Found, p.Promised)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", verdict, p.Name, found)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	calls := r.World.Calls
	fmt.Fprintf(w, "calls seen: %d by the ERP, %d by the WMS, %d by the shop, %d by Twilio\n", calls["erp"], calls["wms"], calls["shop"], calls["twilio"])
	_, err := fmt.Fprintf(w, "%d of %d promises kept, by the records of the outside world\n", len(r.Promises)-len(r.Broken()), len(r.Promises))
	return err
}

// WriteJSON prints the report for a program.
func (r Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
