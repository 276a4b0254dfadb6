package main

import (
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/test/sim"
)

func newReport() *cobra.Command {
	var client controlClient
	var output string
	c := &cobra.Command{
		Use:   "report",
		Short: "Print what the outside world has seen",
		Long: `Print what the systems have seen: what was captured and fed, what was refused and why, the largest number of calls in
any rolling window against its limit, duplicates, losses, and stock on both sides. Nothing in it comes from the engine.`,
		Example: "  peppasync-sim report\n  peppasync-sim report -o json | jq .limits",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var r sim.Report
			if err := client.call(c.Context(), http.MethodGet, "/report", nil, &r); err != nil {
				return err
			}
			if output == "table" {
				return writeReport(c.OutOrStdout(), r)
			}
			return write(c.OutOrStdout(), output, r)
		},
	}
	addControlFlag(c, &client)
	c.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	return c
}

func writeReport(w io.Writer, r sim.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("sold", "%d", r.Sold)
	row("captured", "%d, acknowledged in p50 %.1f ms, p99 %.1f ms, max %.1f ms", r.Captured, r.AckP50Ms, r.AckP99Ms, r.AckMaxMs)
	for _, s := range r.Shops {
		row(s.System, "%d sold, %d captured, %d deliveries, %d failures, %d dropped, %d missed, %d polls",
			s.Sold, s.Captured, s.Deliveries, s.Failures, s.Dropped, s.Missed, s.Polls)
	}
	row("fed to the ERP", "%d, %.1f orders and %.1f calls a minute", r.Fed, r.OrdersPerMinute, r.CallsPerMinute)
	row("taken by the WMS", "%d", r.WMSAccepted)
	for _, refusal := range r.WMSRefused {
		row("refused by the WMS", "%s (%s): %s", refusal.ExternalID, refusal.Reference, refusal.Cause)
	}
	for _, text := range r.Texts {
		row("text to "+text.To, "%s", text.Body)
	}
	for _, l := range r.Limits {
		row(l.System+" "+l.Name, "at most %d calls in any %s, limit %d", l.Largest, time.Duration(l.WindowMs)*time.Millisecond, l.Limit)
	}
	row("throttled", "%d", r.Throttled)
	row("duplicates", "%d", r.Duplicates)
	row("unfed", "%d, of them lost %d, cancelled %d, unpaid %d", len(r.Unfed), r.Lost, r.CancelledUnfed, r.UnpaidUnfed)
	for _, b := range r.Balance {
		row("stock "+b.SKU, "%d free, %d shown at the shop, oversold %d, overshown %d, ghost zero for %.0f ms",
			b.Free, b.Shown, b.LargestOversold, b.LargestOvershown, b.GhostZeroMs)
	}
	for _, receipt := range r.Receipts {
		row("receipt "+receipt.SKU, "%d units, in the shop %s", receipt.Quantity, after(receipt.InShopAfterMs))
	}
	for _, m := range r.Maintenance {
		row("maintenance", "from %s, first order accepted %s", m.Start.Format(time.TimeOnly), after(m.FirstAcceptedAfterMs))
	}
	return t.Flush()
}

func after(ms *float64) string {
	if ms == nil {
		return "not yet"
	}
	return fmt.Sprintf("after %.0f ms", *ms)
}
