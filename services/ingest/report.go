package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// SourceReport is what is known of a source of orders: what came in by itself, and what
// its webhooks missed, each in the last 24 hours.
type SourceReport struct {
	Connector string
	// Received counts events that came in by themselves, Compared orders (and changes of
	// them) that the source has, Missing and Stale those of which nothing or an older
	// version was known, and Mended webhooks that were made or turned on.
	Received, Compared, Missing, Stale, Mended int64
	// Watched says that the source is asked for what its webhooks miss.
	Watched bool
	// ComparedAt is when the newest comparison that came to its end began, and Cursor up
	// to which change of the source it went; zero before the first. DueAt is when the next
	// is to begin.
	ComparedAt, Cursor, DueAt time.Time
	// Problem is why the newest comparison did not come to its end, or what it left out.
	Problem string
	// Webhooks are those that flows need, as of WebhooksAt; none where they are not
	// looked after, for want of an address or because of WebhooksProblem.
	Webhooks        []WebhookReport
	WebhooksAt      time.Time
	WebhooksProblem string
	// Refused are the operations that the source refuses for good, by their names; each is
	// one hold in the Error Hold.
	Refused []RefusalReport
}

// RefusalReport is what a source refuses.
type RefusalReport struct {
	Operation string
	// Since is when it was refused first, of all tries that were refused in a row.
	Since time.Time
	// Cause and Detail are those of the newest kind of refusal; Advice says what a person
	// can do.
	Cause, Detail, Advice string
	// Orders are those that could not be read.
	Orders []string
}

// WebhookReport is one webhook.
type WebhookReport struct {
	Topic  string
	Active bool
	// MendedAt is when the engine made it or turned it on, zero where it did not.
	MendedAt time.Time
}

// Sources reports on all sources, by the name of their connector.
func Sources(ctx context.Context, b *bus.Bus, now time.Time) ([]SourceReport, error) {
	reports := map[string]*SourceReport{}
	of := func(connector string) *SourceReport {
		if reports[connector] == nil {
			reports[connector] = &SourceReport{Connector: connector}
		}
		return reports[connector]
	}
	err := eachRecord(ctx, b, bus.SourceFilter, func(data []byte) error {
		s := &sourcev1.Source{}
		if err := proto.Unmarshal(data, s); err != nil {
			return err
		}
		of(s.GetConnector()).add(s, now)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = eachRecord(ctx, b, bus.ReceivedFilter, func(data []byte) error {
		r := &sourcev1.Received{}
		if err := proto.Unmarshal(data, r); err != nil {
			return err
		}
		for _, c := range r.GetCounts() {
			of(c.GetConnector()).Received += reconcile.Count(c.GetHours(), now).GetReceived()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	refusals, err := Refusals(ctx, b)
	if err != nil {
		return nil, err
	}
	for connector, refused := range refusals {
		of(connector).Refused = refused
	}
	all := make([]SourceReport, 0, len(reports))
	for _, r := range reports {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(x, y SourceReport) int { return cmp.Compare(x.Connector, y.Connector) })
	return all, nil
}

// Refusals reports what sources refuse for good, by connector and sorted by operation.
func Refusals(ctx context.Context, b *bus.Bus) (map[string][]RefusalReport, error) {
	newest := map[string]*dispatchv1.Hold{}
	for record, err := range b.Read(ctx, bus.StreamErrorHold, bus.HoldKeyAnywhereFilter(connectors.KeyOfSources), 0) {
		if err != nil {
			return nil, fmt.Errorf("reading what sources refuse: %w", err)
		}
		hold := &dispatchv1.Hold{}
		if err := proto.Unmarshal(record.Data, hold); err != nil {
			return nil, fmt.Errorf("an entry of the Error Hold cannot be read (%s, sequence %d): %w", record.Subject, record.Sequence, err)
		}
		if connectors.IsRefusal(hold) {
			newest[record.Subject] = hold
		}
	}
	all := map[string][]RefusalReport{}
	for _, hold := range newest {
		if !reconcile.Open(hold) {
			continue
		}
		d := hold.GetDelivery()
		report := RefusalReport{
			Operation: d.GetOperation(), Since: hold.GetHeldAt().AsTime(), Cause: hold.GetCause().GetCode(), Detail: hold.GetCause().GetDetail(),
			Advice: hold.GetAdvice(),
		}
		for _, o := range reconcile.Unread(hold) {
			report.Orders = append(report.Orders, o.ID)
		}
		all[d.GetConnector()] = append(all[d.GetConnector()], report)
	}
	for _, of := range all {
		slices.SortFunc(of, func(x, y RefusalReport) int { return cmp.Compare(x.Operation, y.Operation) })
	}
	return all, nil
}

func (r *SourceReport) add(s *sourcev1.Source, now time.Time) {
	day := reconcile.Count(s.GetHours(), now)
	r.Compared, r.Missing, r.Stale, r.Mended = day.GetCompared(), day.GetMissing(), day.GetStale(), day.GetMended()
	r.Watched, r.Problem, r.WebhooksProblem = true, s.GetProblem(), s.GetWebhooksProblem()
	for _, moment := range []struct {
		to   *time.Time
		from interface{ AsTime() time.Time }
		said bool
	}{
		{&r.ComparedAt, s.GetComparedAt(), s.GetComparedAt() != nil}, {&r.Cursor, s.GetCursor(), s.GetCursor() != nil},
		{&r.DueAt, s.GetDueAt(), s.GetDueAt() != nil}, {&r.WebhooksAt, s.GetWebhooksAt(), s.GetWebhooksAt() != nil},
	} {
		if moment.said {
			*moment.to = moment.from.AsTime()
		}
	}
	for _, w := range s.GetWebhooks() {
		report := WebhookReport{Topic: w.GetTopic(), Active: w.GetActive()}
		if w.GetMendedAt() != nil {
			report.MendedAt = w.GetMendedAt().AsTime()
		}
		r.Webhooks = append(r.Webhooks, report)
	}
}

// eachRecord hands on what is stored under the keys of a kind.
func eachRecord(ctx context.Context, b *bus.Bus, keys string, take func(data []byte) error) error {
	for record, err := range b.Read(ctx, bus.KeyValueStream(bus.BucketSource), bus.KeyValueSubject(bus.BucketSource, keys), 0) {
		if errors.Is(err, bus.ErrNotFound) {
			return errors.New("there is no record of sources yet: peppasync apply makes its bucket, and ingest writes it")
		}
		if err != nil {
			return fmt.Errorf("reading what is known of the sources: %w", err)
		}
		if record.Deleted() {
			continue
		}
		if err := take(record.Data); err != nil {
			return fmt.Errorf("what is known of a source cannot be read (%s, sequence %d): %w", record.Subject, record.Sequence, err)
		}
	}
	return nil
}
