package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/peppasync/peppasync/services/ingest"
)

// maxOrders is how many orders a line names; the other formats name all.
const maxOrders = 5

// sourceLine is a source as it is shown.
type sourceLine struct {
	Connector string `json:"connector" yaml:"connector"`
	// Received to Mended count the last 24 hours.
	Received int64 `json:"received" yaml:"received"`
	Compared int64 `json:"compared" yaml:"compared"`
	Missing  int64 `json:"missing"  yaml:"missing"`
	Stale    int64 `json:"stale"    yaml:"stale"`
	Mended   int64 `json:"mended"   yaml:"mended"`

	Watched         bool          `json:"watched"                   yaml:"watched"`
	ComparedAt      *time.Time    `json:"comparedAt,omitempty"      yaml:"comparedAt,omitempty"`
	LagSeconds      *float64      `json:"lagSeconds,omitempty"      yaml:"lagSeconds,omitempty"`
	Cursor          *time.Time    `json:"cursor,omitempty"          yaml:"cursor,omitempty"`
	DueAt           *time.Time    `json:"dueAt,omitempty"           yaml:"dueAt,omitempty"`
	Problem         string        `json:"problem,omitempty"         yaml:"problem,omitempty"`
	Webhooks        []webhookLine `json:"webhooks,omitempty"        yaml:"webhooks,omitempty"`
	WebhooksAt      *time.Time    `json:"webhooksAt,omitempty"      yaml:"webhooksAt,omitempty"`
	WebhooksProblem string        `json:"webhooksProblem,omitempty" yaml:"webhooksProblem,omitempty"`
	Refused         []refusedLine `json:"refused,omitempty"         yaml:"refused,omitempty"`
}

// refusedLine is what a source refuses for good.
type refusedLine struct {
	Operation string    `json:"operation"        yaml:"operation"`
	Since     time.Time `json:"since"            yaml:"since"`
	Cause     string    `json:"cause"            yaml:"cause"`
	Detail    string    `json:"detail,omitempty" yaml:"detail,omitempty"`
	Advice    string    `json:"advice,omitempty" yaml:"advice,omitempty"`
	Orders    []string  `json:"orders,omitempty" yaml:"orders,omitempty"`
}

type webhookLine struct {
	Topic    string     `json:"topic"              yaml:"topic"`
	Active   bool       `json:"active"             yaml:"active"`
	MendedAt *time.Time `json:"mendedAt,omitempty" yaml:"mendedAt,omitempty"`
}

func newSources() *cobra.Command {
	var (
		format string
		nats   server
	)
	c := &cobra.Command{
		Use:   "sources --nats URL",
		Short: "Show what came in from each source, and what its webhooks missed",
		Long: `Shows, for the last 24 hours, how many events came in from each source by
themselves, how many orders the source was found to have when it was asked, and
how many of them no webhook had told of: they were taken in then.

LAG is how long ago the newest comparison that came to its end began; UP TO is
the newest change of the source that it has seen. WEBHOOKS are those that flows
need, where spec.webhook.address says where they are to be sent.

What a source refuses for good is below, since when, why, and what to do: it is in
the Error Hold once, is tried again by itself, at least once an hour and at once when
the Connector is edited, and leaves the Error Hold when the source answers.`,
		Example: `  peppasync sources --nats nats://127.0.0.1:4222
  peppasync sources --nats nats://127.0.0.1:4222 -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			write, ok := map[string]func(io.Writer, []sourceLine, time.Time) error{
				"table": writeSources, "json": writeSourcesJSON, "yaml": writeSourcesYAML,
			}[format]
			if !ok {
				return fmt.Errorf("--output is %q, it must be table, json or yaml", format)
			}
			b, err := connect(c, "sources", nats)
			if err != nil {
				return err
			}
			defer b.Close()
			now := time.Now()
			reports, err := ingest.Sources(c.Context(), b, now)
			if err != nil {
				return err
			}
			return write(c.OutOrStdout(), linesOf(reports, now), now)
		},
	}
	nats.register(c)
	c.Flags().StringVarP(&format, "output", "o", "table", "table, json or yaml")
	return c
}

func linesOf(reports []ingest.SourceReport, now time.Time) []sourceLine {
	lines := make([]sourceLine, len(reports))
	for i, r := range reports {
		lines[i] = sourceLine{
			Connector: r.Connector, Received: r.Received, Compared: r.Compared, Missing: r.Missing, Stale: r.Stale, Mended: r.Mended,
			Watched: r.Watched, ComparedAt: said(r.ComparedAt), Cursor: said(r.Cursor), DueAt: said(r.DueAt), Problem: r.Problem,
			WebhooksAt: said(r.WebhooksAt), WebhooksProblem: r.WebhooksProblem,
		}
		if !r.ComparedAt.IsZero() {
			lag := now.Sub(r.ComparedAt).Seconds()
			lines[i].LagSeconds = &lag
		}
		lines[i].Refused = refusedLines(r.Refused)
		for _, w := range r.Webhooks {
			lines[i].Webhooks = append(lines[i].Webhooks, webhookLine{Topic: w.Topic, Active: w.Active, MendedAt: said(w.MendedAt)})
		}
	}
	return lines
}

func refusedLines(refused []ingest.RefusalReport) []refusedLine {
	var lines []refusedLine
	for _, r := range refused {
		lines = append(lines, refusedLine{
			Operation: r.Operation, Since: r.Since.UTC().Truncate(time.Second), Cause: r.Cause, Detail: r.Detail, Advice: r.Advice, Orders: r.Orders,
		})
	}
	return lines
}

// text is one line for people.
func (r refusedLine) text(connector string) string {
	text := connector + ": " + r.Operation + " is refused since " + r.Since.Format(time.RFC3339) + ": " + r.Cause
	if detail := strings.Join(strings.Fields(r.Detail), " "); detail != "" {
		text += ": " + detail
	}
	if len(r.Orders) > 0 {
		text += " (of the orders " + strings.Join(r.Orders[:min(len(r.Orders), maxOrders)], ", ")
		if more := len(r.Orders) - maxOrders; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		text += ")"
	}
	if r.Advice != "" {
		text += "; " + r.Advice
	}
	return text
}

// said is nil for a time that is not known.
func said(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC().Truncate(time.Second)
	return &at
}

func writeSourcesJSON(w io.Writer, lines []sourceLine, _ time.Time) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(lines)
}

func writeSourcesYAML(w io.Writer, lines []sourceLine, _ time.Time) error {
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	return errors.Join(encoder.Encode(lines), encoder.Close())
}

func writeSources(w io.Writer, lines []sourceLine, now time.Time) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(w, "nothing came in yet, and no source was asked for what its webhooks miss")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SOURCE\tRECEIVED\tMISSING\tCHANGED\tLAG\tUP TO\tWEBHOOKS")
	for _, l := range lines {
		fmt.Fprintln(t, strings.Join([]string{
			l.Connector, grouped(l.Received), missingCell(l), changedCell(l), lagCell(l), cursorCell(l, now), webhooksCell(l),
		}, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, l := range lines {
		for _, r := range l.Refused {
			if _, err := fmt.Fprintln(w, r.text(l.Connector)); err != nil {
				return err
			}
		}
		for _, problem := range []string{l.Problem, l.WebhooksProblem} {
			said := func(r refusedLine) bool { return strings.Contains(problem, r.Operation+" is refused: "+r.Cause) }
			if problem == "" || slices.ContainsFunc(l.Refused, said) {
				continue
			}
			if _, err := fmt.Fprintf(w, "%s: %s\n", l.Connector, problem); err != nil {
				return err
			}
		}
	}
	return nil
}

func missingCell(l sourceLine) string {
	if !l.Watched {
		return "-"
	}
	return fmt.Sprintf("%s missing of %s in the last 24 h", grouped(l.Missing), grouped(l.Compared))
}

func changedCell(l sourceLine) string {
	if !l.Watched {
		return "-"
	}
	return grouped(l.Stale)
}

func lagCell(l sourceLine) string {
	if l.LagSeconds == nil {
		return "-"
	}
	return rounded(time.Duration(*l.LagSeconds * float64(time.Second)))
}

func cursorCell(l sourceLine, now time.Time) string {
	if l.Cursor == nil {
		return "-"
	}
	at := l.Cursor.In(now.Location())
	if now.Sub(at) > 20*time.Hour {
		return at.Format("2006-01-02 15:04:05")
	}
	return at.Format("15:04:05")
}

func webhooksCell(l sourceLine) string {
	if len(l.Webhooks) == 0 && l.Mended == 0 {
		return "-"
	}
	on := 0
	var off []string
	for _, w := range l.Webhooks {
		if w.Active {
			on++
		} else {
			off = append(off, w.Topic)
		}
	}
	cell := fmt.Sprintf("%d on", on)
	if len(off) > 0 {
		cell += ", off: " + strings.Join(off, " ")
	}
	if l.Mended > 0 {
		cell += fmt.Sprintf(", %s mended", grouped(l.Mended))
	}
	return cell
}

// grouped writes a number with a comma for each thousand.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteByte(digits[i])
	}
	return b.String()
}
