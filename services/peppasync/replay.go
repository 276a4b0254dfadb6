package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/expr"
)

func newReplay() *cobra.Command {
	var (
		nats                 server
		format               string
		since, until, filter string
		yes, dryRun          bool
		asked                = replay{pace: defaultPace()}
	)
	c := &cobra.Command{
		Use:   "replay --connector NAME --since TIME --nats URL",
		Short: "Put events in once more, for what was mended since they came",
		Long: `Puts the events that came in by a connector in once more, as they came, from the
streams that keep them for a week. It is for when a flow was added or corrected after
the events had come, or the state of an order was lost. Where nothing was mended it has
no effect: what is known is not asked for again, and an old version of an order
replaces no newer one. What is in the Error Hold is let go with "peppasync release".

It only counts them, unless you say --yes. --filter is an expression (CEL) over
connector, topic, id, receivedAt, body (the webhook's JSON) and order (of events that
came as an order). Times are a span before now (90m, 36h, 3d), a day, or RFC 3339.

It goes at the pace of the logic-gate and lets live events go first there. What it asks
for waits in the lane bulk of each connector (or the one with the least weight), so that
live orders overtake it, unless you say --bulk=false. Interrupted, it may be run again:
what is put in twice has no effect, and what it has put in is not put in again by
another replay.

"peppasync up" serves its NATS to other processes only with --nats-listen.`,
		Example: `  peppasync replay --connector shopify --since 2h --nats nats://127.0.0.1:4222
  peppasync replay --connector shopify --since 2h --nats nats://127.0.0.1:4222 --yes
  peppasync replay --connector shopify --since 3d --until 2h --filter 'topic == "orders/paid" && body.total_price != "0.00"' --nats nats://127.0.0.1:4222`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			asked.yes = yes && !dryRun
			if err := asked.complete(since, until, filter, time.Now()); err != nil {
				return err
			}
			write, err := reportWriter(format)
			if err != nil {
				return err
			}
			b, err := connect(c, "replay", nats)
			if err != nil {
				return err
			}
			defer b.Close()
			report, err := asked.run(c, b)
			if report == nil {
				return err
			}
			return errors.Join(write(c.OutOrStdout(), report), err)
		},
	}
	nats.register(c)
	f := c.Flags()
	f.StringVar(&asked.connector, "connector", "", "the Connector that the events came in by (required)")
	f.StringVar(&since, "since", "", "from when on they came in (required)")
	f.StringVar(&until, "until", "", "until when they came in (default: now)")
	f.StringVar(&filter, "filter", "", "only those for which this expression is true")
	f.StringVar(&asked.by, "by", userName(), "who puts them in again; it is kept with each")
	f.BoolVar(&asked.bulk, "bulk", true, "let live orders overtake what it leads to; false for the lanes of the steps")
	f.BoolVar(&yes, "yes", false, "do it; without it they are only counted")
	f.BoolVar(&dryRun, "dry-run", false, "only count them, whatever else is said")
	f.StringVarP(&format, "output", "o", "table", "table or json")
	required(c, "connector")
	required(c, "since")
	return c
}

// replay is what is asked for.
type replay struct {
	connector, by string
	since, until  time.Time
	// filter is nil for all of them, source its text.
	filter *expr.EventCondition
	source string
	yes    bool
	// bulk: live orders overtake what it leads to.
	bulk bool
	pace pace
}

// complete takes in what flags say, or says what is wrong with it.
func (r *replay) complete(since, until, filter string, now time.Time) error {
	if r.connector == "" {
		return errors.New("--connector is empty; name the Connector that the events came in by")
	}
	if strings.TrimSpace(r.by) == "" {
		return errors.New("--by is empty; say who you are, it is kept with each event")
	}
	var err error
	if r.since, err = moment(since, now); err != nil {
		return fmt.Errorf("--since %w", err)
	}
	r.until = now
	if until != "" {
		if r.until, err = moment(until, now); err != nil {
			return fmt.Errorf("--until %w", err)
		}
	}
	if !r.since.Before(r.until) {
		return fmt.Errorf("--since %s is not before --until %s", r.since.Format(time.RFC3339), r.until.Format(time.RFC3339))
	}
	if r.source = filter; filter == "" {
		return nil
	}
	compiler, err := expr.NewCompiler()
	if err != nil {
		return err
	}
	if r.filter, err = compiler.EventCondition(filter); err != nil {
		return fmt.Errorf("--filter: %w", err)
	}
	return nil
}

// moment reads a time: a span before now, which may be in days, or a date.
func moment(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 {
			return now.Add(-time.Duration(n * 24 * float64(time.Hour))), nil
		}
	}
	if span, err := time.ParseDuration(text); err == nil && span >= 0 {
		return now.Add(-span), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("is %q, it must be a span before now (90m, 36h, 3d), or a time such as %s, 2026-11-27 14:30 or 2026-11-27",
		text, now.Format(time.RFC3339))
}

// run counts what is meant and, if that is asked for, puts it in. The report is nil
// where there is nothing to tell.
func (r *replay) run(c *cobra.Command, b records) (*report, error) {
	ctx := c.Context()
	shards, err := b.Shards(ctx, bus.PrefixIngest)
	if err != nil {
		return nil, err
	}
	found, err := r.count(ctx, b, shards)
	if err != nil {
		return nil, err
	}
	if !r.yes || found.Events == 0 {
		return found, nil
	}
	if err := r.readable(ctx, b); err != nil {
		return found, err
	}
	put := &putting{replay: r, bus: b, report: found, progress: newProgress(c.ErrOrStderr(), found.Events)}
	err = put.all(ctx, shards)
	put.progress.end()
	if err != nil {
		err = fmt.Errorf("%d of %d are replayed; run it again to go on, what is put in twice has no effect: %w", found.Replayed, found.Events, err)
	}
	return found, err
}

// readable refuses events that the logic-gate cannot read any more: it would hold each of
// them, thousands, for a person to let go one by one.
func (r *replay) readable(ctx context.Context, b published) error {
	resources, err := catalog.Published(ctx, b)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(resources, func(e catalog.Resource) bool {
		connector, ok := e.Object.(*v1alpha1.Connector)
		return ok && connector.Name == r.connector
	}) {
		return nil
	}
	return fmt.Errorf("nothing was done, because Connector %q is not in the catalog any more, and each of its events would be held; apply it again first",
		r.connector)
}

// count looks through the streams for what is meant.
func (r *replay) count(ctx context.Context, b history, shards int) (*report, error) {
	found := newReport(r)
	var undecided error
	for e, err := range r.events(ctx, b, shards) {
		if err != nil {
			return nil, err
		}
		switch meant, err := r.means(e.event); {
		case err != nil:
			found.undecided++
			if undecided == nil {
				undecided = fmt.Errorf("such as %s %s: %w", e.event.GetTopic(), e.event.GetId(), err)
			}
		case meant:
			found.add(e.event)
		default:
			found.leaveOut(e.event)
		}
	}
	if undecided != nil {
		return nil, fmt.Errorf("nothing was done, because --filter cannot be decided for %d of the events, %w; guard it, as with has(body.field) && (the rest)",
			found.undecided, undecided)
	}
	return found, r.keptSince(ctx, b, shards, found)
}
