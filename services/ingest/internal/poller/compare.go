package poller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
)

const (
	// So many orders, or bytes of them, are compared together at most: they are held
	// in memory, and wait for one grace.
	batchOrders = 200
	batchBytes  = 4 << 20
	// statesAtOnce are looked up, and stored, side by side: packs are made of those that
	// are stored together.
	statesAtOnce = 16
	// commitTimeout is how long an event may take to be stored.
	commitTimeout = 10 * time.Second
	// gateEvery is how often it is looked whether the gate has read what came in.
	gateEvery = 250 * time.Millisecond
	// fewMissed are told like live orders in each comparison, because somebody waits for
	// them. More are the rest of an outage, or of a first look back, and waited for hours:
	// live orders overtake those.
	fewMissed = 20
)

// listed is an order that the source has.
type listed struct {
	id      string
	updated time.Time
	// order is nil where only readOrder has it whole.
	order *orderv1.Order
	// wait is how long its webhook may take.
	wait time.Duration
	// known is what the engine has of it.
	known    *orderv1.Order
	judgment reconcile.Judgment
	// event is the id of what is told of it, and missed says that a webhook should have.
	event  string
	missed bool
	// fetched: a webhook has named it, and it is being asked for.
	fetched bool
	// fetches are the calls for it that the engine has not read the answer of.
	fetches []*orderv1.Fetch
	// again: it was listed before, and could not be read.
	again bool
	// settled: it was read, or is not there any more.
	settled bool
}

// compare lists what changed since the last time, page by page, and has what is missing
// told. Each part that is done moves the cursor.
func (s *source) compare(ctx context.Context) error {
	began := time.Now()
	since := reconcile.Since(s.record, s.spec.Reconcile, began)
	s.remember(since, began)
	s.missed = 0
	page := listing.Orders{Since: since}
	var (
		batch   = s.unreadBefore()
		bytes   int
		problem string
		turns   pageTurns
		// through is where the cursor may be moved to.
		through time.Time
	)
	for {
		answer, err := s.list(ctx, page, &turns)
		if err != nil {
			return s.endsEarly(ctx, batch, reconcile.Compared{Cursor: through, Began: began}, err)
		}
		batch, bytes = gather(batch, bytes, s.listed(answer, time.Now()))
		if at := complete(answer, time.Now()); at.After(through) {
			through = at
		}
		if len(batch) >= batchOrders || bytes >= batchBytes || answer.Next == "" {
			skipped, err := s.settle(ctx, batch, reconcile.Compared{Cursor: through, Began: began})
			if err != nil {
				return s.ends(ctx, err)
			}
			if skipped != "" {
				problem = skipped
			}
			batch, bytes = nil, 0
		}
		if answer.Next == "" {
			break
		}
		page.Page = answer.Next
	}
	next := reconcile.End(s.record, s.spec.Reconcile, began, since, time.Now())
	next.Problem = problem
	delete(s.warned, notCompared)
	return s.put(ctx, next)
}

// settle compares orders, tells of those that are missing, and moves the cursor when
// that is durable; zero leaves it. skipped says what could not be told, and never will.
func (s *source) settle(ctx context.Context, batch []*listed, compared reconcile.Compared) (skipped string, err error) {
	for _, l := range batch {
		if !l.again && l.updated.After(s.base) && s.count(l) {
			compared.Orders++
		}
	}
	suspects, err := s.unknown(ctx, batch)
	if err != nil {
		return "", err
	}
	skipped, stuck, err := s.complete(ctx, suspects)
	if err == nil {
		err = s.tell(ctx, suspects, &compared)
	}
	if err == nil {
		err = s.takeOff(ctx, batch)
	}
	failed := cmp.Or(err, stuck)
	if failed != nil {
		compared.Cursor = time.Time{}
	}
	if failed != nil && !ofSource(failed) {
		// Who begins anew counts them, and not what was told.
		compared.Orders = 0
	}
	if err := s.progress(ctx, compared); err != nil || failed != nil {
		return "", cmp.Or(failed, err)
	}
	return skipped, nil
}

// unknown returns those of which the engine does not know this version, and of which nothing
// is on its way.
func (s *source) unknown(ctx context.Context, batch []*listed) ([]*listed, error) {
	suspects, err := s.judge(ctx, batch)
	if err != nil || len(suspects) == 0 {
		return nil, err
	}
	// Again before they count: their webhooks may be on their way, or taken in and
	// not read by the gate yet.
	wait := time.Duration(0)
	for _, l := range suspects {
		wait = max(wait, l.wait)
	}
	if err = s.rest(ctx, wait); err == nil {
		err = s.awaitGate(ctx)
	}
	// Before their states are looked at, for what is fetched meanwhile.
	if err == nil {
		err = s.markFetches(ctx, suspects)
	}
	if err == nil {
		suspects, err = s.judge(ctx, suspects)
	}
	// After that, for what was answered meanwhile.
	if err == nil {
		err = s.markAnswers(ctx, suspects)
	}
	return slices.DeleteFunc(suspects, func(l *listed) bool { return l.fetched }), err
}

// progress writes what came of some orders. What was told counts however the rest of them
// ended: the next comparison finds it known.
func (s *source) progress(ctx context.Context, compared reconcile.Compared) error {
	if err := s.put(ctx, reconcile.Progress(s.record, compared, time.Now())); err != nil {
		return err
	}
	s.cursor = s.record.GetCursor().AsTime()
	s.meters.count(ctx, s.name, compared)
	if compared.Missing+compared.Stale > 0 {
		s.log.WarnContext(ctx, "orders were found that no webhook told of, and are taken in", "missing", compared.Missing, "changed", compared.Stale)
	}
	return nil
}

// judge returns those of which the engine does not know this version.
func (s *source) judge(ctx context.Context, batch []*listed) ([]*listed, error) {
	shards, err := s.config.Bus.Shards(ctx, bus.PrefixOrder)
	if err != nil {
		return nil, err
	}
	group, bounded := errgroup.WithContext(ctx)
	group.SetLimit(statesAtOnce)
	for _, l := range batch {
		group.Go(func() error {
			key := order.Key(s.name, l.id)
			state := &orderv1.State{}
			if err := s.newest(bounded, bus.OrderStream(bus.OrderShard(key, shards)), bus.OrderStateSubject(key), state); err != nil {
				return fmt.Errorf("read the state of order %s: %w", key, err)
			}
			l.known, l.judgment, l.fetches = state.GetOrder(), reconcile.Judge(state, l.updated), state.GetFetches()
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var suspects []*listed
	for _, l := range batch {
		if l.judgment != reconcile.Known {
			suspects = append(suspects, l)
		}
	}
	return suspects, nil
}

// awaitGate waits until the gate has read all that was taken in by now. While it does
// not run nothing can be said of what is missing.
func (s *source) awaitGate(ctx context.Context) error {
	shards, err := s.config.Bus.Shards(ctx, bus.PrefixIngest)
	if err != nil {
		return err
	}
	for shard := range shards {
		newest, marked := uint64(0), false
		for {
			backlog, err := s.config.Bus.Backlog(ctx, bus.IngestStream(shard), bus.Consumer(Gate))
			if err != nil && !errors.Is(err, bus.ErrNotFound) && !bus.IsUnavailable(err) {
				return err
			}
			if err == nil && !marked {
				newest, marked = backlog.Newest(), true
			}
			if marked && err == nil && backlog.Acknowledged >= newest {
				break
			}
			if err := s.rest(ctx, gateEvery); err != nil {
				return err
			}
		}
	}
	return nil
}

// markFetches marks the orders that a webhook has named and that the gate has asked for:
// they come, or get into the Error Hold. After a spike thousands of them wait for the
// account, far longer than any grace.
func (s *source) markFetches(ctx context.Context, suspects []*listed) error {
	if _, thin := s.topical.(connectors.Thin); !thin {
		return nil
	}
	group, bounded := errgroup.WithContext(ctx)
	group.SetLimit(statesAtOnce)
	for _, l := range suspects {
		group.Go(func() error {
			key := order.Key(s.name, l.id)
			d, w := &dispatchv1.Delivery{}, &dispatchv1.Waiting{}
			err := s.newest(bounded, bus.StreamDispatch, bus.DispatchKeyFilter(s.name, key), d)
			if err == nil {
				err = s.newest(bounded, bus.StreamWaiting, bus.WaitingKeyFilter(s.name, key), w)
			}
			if err != nil {
				return fmt.Errorf("look whether order %s is being fetched: %w", key, err)
			}
			l.fetched = d.GetEvent() != nil || w.GetDelivery().GetEvent() != nil
			return nil
		})
	}
	return group.Wait()
}

// markAnswers marks the orders that were fetched and whose answer the gate has yet to read:
// after an hour without a gate all that the account was asked before waits there. A fetch
// without an answer, and without a call, was lost, and says nothing.
func (s *source) markAnswers(ctx context.Context, suspects []*listed) error {
	group, bounded := errgroup.WithContext(ctx)
	group.SetLimit(statesAtOnce)
	for _, l := range suspects {
		if len(l.fetches) == 0 {
			continue
		}
		group.Go(func() error {
			for _, f := range l.fetches {
				answer := &dispatchv1.Result{}
				if err := s.newest(bounded, bus.StreamResult, bus.ResultSubject(Gate, f.GetId()), answer); err != nil {
					return fmt.Errorf("look whether order %s was fetched: %w", l.id, err)
				}
				l.fetched = l.fetched || answer.GetDeliveryId() != ""
			}
			return nil
		})
	}
	return group.Wait()
}

// newest reads the newest record on a subject, if there is one.
func (s *source) newest(ctx context.Context, stream, subject string, into proto.Message) error {
	record, err := s.config.Bus.Last(ctx, stream, subject)
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = proto.Unmarshal(record.Data, into)
	}
	return err
}

// tell has the events of orders stored, and counts those that were not before.
func (s *source) tell(ctx context.Context, suspects []*listed, compared *reconcile.Compared) error {
	group, bounded := errgroup.WithContext(ctx)
	group.SetLimit(statesAtOnce)
	done := make(chan *listed, len(suspects))
	for _, l := range suspects {
		if l.order != nil {
			s.missed++
		}
	}
	telling := s.telling()
	needed := reconcile.Needed(s.config.Set.Sources[string(s.spec.System)], s.taken)
	for _, l := range suspects {
		if l.order == nil {
			continue
		}
		events := telling.Events(l.known, l.order)
		l.event, l.missed = events[0].GetId(), reconcile.Missed(events, needed)
		if _, again := s.told[l.event]; again {
			continue
		}
		group.Go(func() error {
			for _, event := range events {
				if err := s.commit(bounded, event); err != nil {
					return err
				}
			}
			done <- l
			return nil
		})
	}
	err := group.Wait()
	close(done)
	for l := range done {
		s.told[l.event] = l.updated
		if !l.again && s.count(l) {
			compared.Orders++ // the source listed it later than the time that it gives it
		}
		switch {
		case !l.missed: // no webhook was to tell of it
		case l.judgment == reconcile.Missing:
			compared.Missing++
		default:
			compared.Stale++
		}
	}
	return err
}

// telling is how orders are told in this comparison, as far as it has come.
func (s *source) telling() reconcile.Telling {
	return reconcile.Telling{
		Connector: s.name, Source: s.topical, Taken: s.taken, From: reconcile.From(s.record, s.spec.Reconcile), Bulk: s.missed > fewMissed,
	}
}

// commit stores an event of an order that is storable.
func (s *source) commit(ctx context.Context, event *eventv1.Event) error {
	event.ReceivedAt = timestamppb.Now()
	data, err := proto.Marshal(event)
	if err != nil {
		return fmt.Errorf("encode order %s, which no webhook told of: %w", event.GetOrder().GetId(), err)
	}
	bounded, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := s.config.Commit(bounded, data); err != nil {
		return fmt.Errorf("store order %s, which no webhook told of: %w", event.GetOrder().GetId(), err)
	}
	return nil
}

// count reports whether a version counts as compared now, and not before.
func (s *source) count(l *listed) bool {
	v := l.version()
	if _, before := s.counted[v]; before {
		return false
	}
	s.counted[v] = struct{}{}
	return true
}

func (l *listed) version() version { return version{l.id, l.updated.UnixNano()} }

// remember drops what an overlap does not list any more. What could not be read is asked
// for without being listed, too, and is remembered until it may be. Where another replica
// has had turns, only the cursor tells what is counted.
func (s *source) remember(since, now time.Time) {
	for id, updated := range s.told {
		if updated.Before(since) {
			delete(s.told, id)
		}
	}
	for v := range s.counted {
		if v.at < since.UnixNano() {
			delete(s.counted, v)
		}
	}
	for v, known := range s.unread {
		if !now.Before(known.until) {
			delete(s.unread, v)
		}
	}
	if cursor := s.record.GetCursor().AsTime(); !cursor.Equal(s.cursor) {
		s.base = cursor
		clear(s.counted)
	}
}
