package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
)

// writeTable writes a line for each connector and its first limit, and one for
// each further limit.
func writeTable(w io.Writer, connectors []*dispatcherv1.Connector, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CONNECTOR\tSTATE\tLIMIT\tPACE\tLARGEST\tQUEUE\tETA")
	for _, c := range connectors {
		limits := c.GetLimits()
		if len(limits) == 0 {
			limits = []*dispatcherv1.Limit{nil}
		}
		for n, l := range limits {
			name, state, pace, queue, eta := "", "", "", "", ""
			if n == 0 {
				name, state, pace, queue, eta = c.GetName(), stateCell(c, now), paceCell(c), queueCell(c), etaCell(c, now)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, state, limitCell(l), pace, largestCell(l), queue, eta)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return writeClosed(w, connectors, now)
}

// writeClosed says of connectors that replies keep closed why that is, and what ends it.
func writeClosed(w io.Writer, connectors []*dispatcherv1.Connector, now time.Time) error {
	for _, c := range connectors {
		if c.GetClosedBecause() == "" {
			continue
		}
		_, err := fmt.Fprintf(w, "\n%s is closed until %s: %s.\nTo open it now: peppasync connectors reopen %s --server ADDR --reason TEXT\n", c.GetName(),
			c.GetClosedUntil().AsTime().In(now.Location()).Format(time.DateTime), strings.TrimSuffix(c.GetClosedBecause(), "."), c.GetName())
		if err != nil {
			return err
		}
	}
	return nil
}

func stateCell(c *dispatcherv1.Connector, now time.Time) string {
	state := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(c.GetState().String(), "STATE_")), "_", " ")
	switch {
	case c.GetState() == dispatcherv1.State_STATE_ELSEWHERE:
		return "fed by " + c.GetOwner()
	case c.GetDownSince() != nil && c.GetState() == dispatcherv1.State_STATE_DOWN:
		return state + " since " + rounded(now.Sub(c.GetDownSince().AsTime()))
	case c.GetClosedUntil() != nil:
		return state + " for " + rounded(c.GetClosedUntil().AsTime().Sub(now))
	}
	return state
}

func limitCell(l *dispatcherv1.Limit) string {
	switch {
	case l == nil:
		return "-"
	case l.GetRefill() != nil:
		points := ""
		if l.GetRefill().GetPoints() {
			points = " points"
		}
		return fmt.Sprintf("%s %d%s, %d per %s", l.GetName(), l.GetCalls(), points, l.GetRefill().GetAmount(), span(l.GetRefill().GetPer().AsDuration()))
	case l.GetPer() == nil:
		return fmt.Sprintf("%s %d at once", l.GetName(), l.GetCalls())
	}
	return fmt.Sprintf("%s %d per %s", l.GetName(), l.GetCalls(), span(l.GetPer().AsDuration()))
}

func largestCell(l *dispatcherv1.Limit) string {
	switch {
	case l == nil:
		return "-"
	case l.GetRefill() != nil:
		cell := fmt.Sprintf("%d of %d, %d left", l.GetLargestWindowCount(), l.GetCalls(), l.GetCalls()-l.GetLargestWindowCount())
		return cell + othersCell(l)
	case l.GetPer() == nil:
		return fmt.Sprintf("%d of %d at once", l.GetLargestWindowCount(), l.GetCalls())
	}
	return fmt.Sprintf("%d of %d in %s", l.GetLargestWindowCount(), l.GetCalls(), span(l.GetPer().AsDuration())) + othersCell(l)
}

func othersCell(l *dispatcherv1.Limit) string {
	if n := l.GetUsedByOthers(); n > 0 {
		return fmt.Sprintf(", others %d", n)
	}
	return ""
}

// paceCell says beside the pace what part of the declared one may be used.
func paceCell(c *dispatcherv1.Connector) string {
	cell := "-"
	if c.GetPacePerMinute() > 0 {
		cell = fmt.Sprintf("%.1f/min", c.GetPacePerMinute())
	}
	if share := c.GetPaceShare(); share > 0 && share < 1 {
		cell += fmt.Sprintf(" at %.0f%%", 100*share)
	}
	return cell
}

// queueCell names the lanes where it is not the whole that waits in one.
func queueCell(c *dispatcherv1.Connector) string {
	var lanes []string
	for _, l := range c.GetLanes() {
		if l.GetWaiting() > 0 {
			lanes = append(lanes, fmt.Sprintf("%s %d", l.GetName(), l.GetWaiting()))
		}
	}
	if len(lanes) == 0 {
		return strconv.FormatInt(c.GetWaiting(), 10)
	}
	return fmt.Sprintf("%d (%s)", c.GetWaiting(), strings.Join(lanes, ", "))
}

// etaCell says when all will have arrived; where nobody can tell, how long it
// takes.
func etaCell(c *dispatcherv1.Connector, now time.Time) string {
	switch {
	case c.GetEta() != nil && c.GetWaiting() > 0:
		at := c.GetEta().AsTime()
		return fmt.Sprintf("%s (%s)", rounded(at.Sub(now)), at.In(now.Location()).Format("15:04:05"))
	case c.GetWaiting() > 0 && c.GetDrainsIn() != nil:
		return rounded(c.GetDrainsIn().AsDuration()) + " once it goes on"
	}
	return "-"
}

func rounded(d time.Duration) string {
	unit := time.Second
	if d < 10*time.Second {
		unit = 100 * time.Millisecond
	}
	return max(0, d).Round(unit).String()
}

// span is a duration without the parts that are zero, such as 1m.
func span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
