package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
)

// report is what a replay has found and done.
type report struct {
	Connector string    `json:"connector"`
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	Filter    string    `json:"filter,omitempty"`
	// KeptSince is when the events begin that the streams hold, if that is after Since.
	KeptSince *time.Time `json:"keptSince,omitempty"`
	Events    int        `json:"events"`
	Bytes     int64      `json:"bytes"`
	Topics    []*topic   `json:"topics"`
	// DryRun: they were counted, and nothing was done.
	DryRun   bool `json:"dryRun"`
	Replayed int  `json:"replayed"`

	undecided int
	// filtered are those of the connector that the filter leaves out, others the events
	// of other connectors in that time.
	filtered int
	others   map[string]int
}

type topic struct {
	Topic  string    `json:"topic"`
	Events int       `json:"events"`
	Bytes  int64     `json:"bytes"`
	Oldest time.Time `json:"oldest"`
	Newest time.Time `json:"newest"`
}

func newReport(r *replay) *report {
	return &report{
		Connector: r.connector, Since: r.since.UTC(), Until: r.until.UTC(), Filter: r.source,
		Topics: []*topic{}, DryRun: !r.yes, others: map[string]int{},
	}
}

func (r *report) add(e *eventv1.Event) {
	i, known := slices.BinarySearchFunc(r.Topics, e.GetTopic(), func(t *topic, name string) int { return cmp.Compare(t.Topic, name) })
	at := e.GetReceivedAt().AsTime()
	if !known {
		r.Topics = slices.Insert(r.Topics, i, &topic{Topic: e.GetTopic(), Oldest: at, Newest: at})
	}
	t, size := r.Topics[i], int64(proto.Size(e))
	t.Events, t.Bytes = t.Events+1, t.Bytes+size
	r.Events, r.Bytes = r.Events+1, r.Bytes+size
	if at.Before(t.Oldest) {
		t.Oldest = at
	}
	if at.After(t.Newest) {
		t.Newest = at
	}
}

func (r *report) leaveOut(e *eventv1.Event) {
	if e.GetConnector() == r.Connector {
		r.filtered++
		return
	}
	r.others[e.GetConnector()]++
}

func reportWriter(format string) (func(io.Writer, *report) error, error) {
	switch format {
	case "table":
		return writeReport, nil
	case "json":
		return func(w io.Writer, r *report) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(r)
		}, nil
	}
	return nil, fmt.Errorf("--output is %q, it must be table or json", format)
}

func writeReport(out io.Writer, r *report) error {
	var b strings.Builder
	if r.Events > 0 {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(w, "TOPIC\tEVENTS\tSIZE\tOLDEST\tNEWEST")
		for _, t := range r.Topics {
			_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", t.Topic, t.Events, size(t.Bytes), t.Oldest.Format(time.RFC3339), t.Newest.Format(time.RFC3339))
		}
		_ = w.Flush() // into memory
	}
	if r.KeptSince != nil {
		fmt.Fprintf(&b, "Not all of that time is kept: some of what came before %s is gone.\n", r.KeptSince.UTC().Format(time.RFC3339))
	}
	if r.filtered > 0 {
		fmt.Fprintf(&b, "%d more of %s are left out by --filter.\n", r.filtered, r.Connector)
	}
	switch {
	case r.Events == 0:
		fmt.Fprintf(&b, "No events of %s came in between %s and %s.%s\n", r.Connector, r.Since.Format(time.RFC3339), r.Until.Format(time.RFC3339), r.instead())
	case r.DryRun:
		fmt.Fprintf(&b, "%d events (%s) would be put in again. Nothing was done; add --yes to do it.\n", r.Events, size(r.Bytes))
	case r.Replayed == r.Events:
		fmt.Fprintf(&b, "%d events were put in again, and the logic-gate has settled them.\n", r.Replayed)
	default:
		fmt.Fprintf(&b, "%d of %d events were put in again.\n", r.Replayed, r.Events)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// instead names the connectors that have events, where the one that was named has none.
func (r *report) instead() string {
	if r.filtered > 0 || len(r.others) == 0 {
		return ""
	}
	var names []string
	for name, n := range r.others {
		names = append(names, fmt.Sprintf("%s (%d)", name, n))
	}
	slices.Sort(names)
	return " There are some of " + strings.Join(names, ", ") + "."
}

func size(bytes int64) string {
	switch {
	case bytes < 10_000:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 10_000_000:
		return fmt.Sprintf("%d kB", bytes/1000)
	}
	return fmt.Sprintf("%d MB", bytes/1_000_000)
}

// What takes longer than progressAfter says how far it is, each progressEvery.
const (
	progressAfter = 2 * time.Second
	progressEvery = time.Second
)

// progress is a line for a person who waits: one that is written over where that is a
// terminal.
type progress struct {
	out          io.Writer
	terminal     bool
	all          int
	began, wrote time.Time
}

func newProgress(out io.Writer, all int) *progress {
	return &progress{out: out, terminal: isTerminal(out), all: all, began: time.Now()}
}

func (p *progress) at(done int) {
	every := progressEvery
	if !p.terminal {
		every *= 10
	}
	now := time.Now()
	if now.Sub(p.began) < progressAfter || now.Sub(p.wrote) < every {
		return
	}
	p.wrote = now
	line := fmt.Sprintf("%d of %d (%d%%)", done, p.all, 100*done/p.all)
	if done > 0 {
		left := time.Duration(float64(now.Sub(p.began)) / float64(done) * float64(p.all-done))
		line += ", about " + rounded(left) + " left"
	}
	if p.terminal {
		line = "\r" + line + "\x1b[K"
	} else {
		line += "\n"
	}
	_, _ = io.WriteString(p.out, line) // nobody is left to tell
}

func (p *progress) end() {
	if p.terminal && !p.wrote.IsZero() {
		_, _ = io.WriteString(p.out, "\r\x1b[K")
	}
}
