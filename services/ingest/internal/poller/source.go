package poller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
	"github.com/peppasync/peppasync/services/internal/bus"
)

const (
	// lease is how long a replica that says nothing is left alone with a source, and
	// renewAfter when it says something again.
	lease      = time.Minute
	renewAfter = 20 * time.Second
	// standbyEvery is how often it is looked whether another replica is still at a source:
	// one that stops says so, and what it leaves need not wait for the end of its lease.
	standbyEvery = 2 * time.Second
	// releaseTimeout bounds what a stop may take longer for that word.
	releaseTimeout = 2 * time.Second
)

// errLost ends a turn: another replica asks now.
var errLost = errors.New("another replica has taken over")

// source is one that is looked after. Its methods are called by one goroutine.
type source struct {
	*Poller
	watched
	topical connectors.Topical
	log     *slog.Logger

	// record is what is stored, under revision; nil and 0 where nothing is.
	record   *sourcev1.Source
	revision uint64
	written  time.Time
	// unanswered: a write over revision may still be under way.
	unanswered bool
	// told are the events that were injected, by their ids with their orders' versions:
	// the overlap lists them again before the gate may have read them.
	told map[string]time.Time
	// counted are the versions of orders that count as compared. Older than base are those
	// that were counted before this replica's turns, which began at cursor.
	counted      map[version]struct{}
	base, cursor time.Time
	// othersUntil is until when the account is left to others, see askInTurn.
	othersUntil time.Time
	// missed is how many were told in this comparison.
	missed int
	// unread are the versions that could not be read whole, with why: an order that nobody
	// can read is refused each time.
	unread map[version]unread
	// refusals are what is held of each operation, as of this turn; none where that could
	// not be read.
	refusals map[string]held
	// watching says when webhooks are looked at again where that failed.
	watching backoff
	// warned is what was said last, by what it was about.
	warned map[string]string
}

// version is a version of an order.
type version struct {
	id string
	at int64
}

// unread says why a version could not be read, and until when it is not tried again.
type unread struct {
	why   *refusal
	until time.Time
}

func newSource(p *Poller, of watched) *source {
	topical, _ := p.config.Set.Sources[string(of.spec.System)].(connectors.Topical) // sources looked
	return &source{
		Poller: p, watched: of, topical: topical, log: p.config.Logger.With("connector", of.name), told: map[string]time.Time{},
		counted: map[version]struct{}{}, unread: map[version]unread{}, warned: map[string]string{},
	}
}

// work takes turns until ctx is done. cured: what failed before is tried at once.
func (s *source) work(ctx context.Context, cured bool) error {
	for {
		if err := s.load(ctx); err != nil {
			return err
		}
		now := time.Now()
		if met, first := reconcile.Meet(s.record, s.name, s.spec.Endpoint, now); first {
			if err := s.meet(ctx, met); err != nil && !errors.Is(err, errLost) {
				return err
			}
			continue
		}
		due := reconcile.Due(s.record, s.spec.Reconcile, now)
		switch {
		case !reconcile.Free(s.record, s.run, now, lease):
			if err := pause(ctx, min(standbyEvery, s.record.GetOwnedUntil().AsTime().Sub(now))); err != nil {
				return err
			}
			continue
		case cured && s.record.GetFailures() > 0:
			due = now
		}
		cured = false
		if err := pause(ctx, due.Sub(now)); err != nil {
			return err
		}
		if err := s.turn(ctx); err != nil {
			return err
		}
	}
}

// meet writes the record of a source that was not known.
func (s *source) meet(ctx context.Context, met *sourcev1.Source) error {
	if reconcile.Another(s.record, s.spec.Endpoint) {
		// What another shop refused says nothing of this one.
		if err := s.closeRefusals(ctx, s.name, elsewhere); err != nil {
			s.warn(ctx, notHeld, err)
		}
	}
	return s.put(ctx, met)
}

// turn looks at webhooks and orders, if that is still to be done.
func (s *source) turn(ctx context.Context) error {
	before := s.revision
	if err := s.load(ctx); err != nil {
		return err
	}
	now := time.Now()
	if s.revision != before && (!reconcile.Free(s.record, s.run, now, lease) || reconcile.Due(s.record, s.spec.Reconcile, now).After(now)) {
		return nil
	}
	defer s.release(ctx)
	err := s.put(ctx, reconcile.Take(s.record, s.name, s.run, now, lease))
	if err == nil {
		err = s.loadRefusals(ctx)
	}
	if err == nil {
		// First, so that what is sent from here on comes by itself.
		err = s.watch(ctx)
	}
	if err == nil {
		err = s.compare(ctx)
	}
	if errors.Is(err, errLost) {
		s.log.DebugContext(ctx, "a turn of looking for what webhooks miss was left to another replica")
		return nil
	}
	return err
}

// release leaves the source to other replicas where ctx ended during a turn.
func (s *source) release(ctx context.Context) {
	if ctx.Err() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	for {
		// Read again, since the newest write may be done whose answer was not waited for. Where
		// it is not, it is overtaken: done after this, it would leave the source to nobody.
		before, coming := s.revision, s.unanswered
		err := s.load(ctx)
		coming = coming && s.record != nil && s.revision == before
		if err == nil && s.record.GetOwner() != s.run && !coming {
			return
		}
		if err == nil {
			err = s.put(ctx, reconcile.Release(s.record))
		}
		if !errors.Is(err, errLost) {
			if err != nil {
				s.log.WarnContext(ctx, "other replicas are not told that this one has stopped to look for what webhooks miss; "+
					"one of them goes on when its time is over", "within", lease.String(), "error", err)
			}
			return
		}
	}
}

// load reads the record.
func (s *source) load(ctx context.Context) error {
	found, err := s.config.Bus.Get(ctx, bus.BucketSource, bus.SourceKey(s.name))
	if errors.Is(err, bus.ErrNotFound) {
		s.record, s.revision = nil, 0
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what is known of source %s (peppasync apply makes its bucket): %w", s.name, err)
	}
	record := &sourcev1.Source{}
	if err := proto.Unmarshal(found.Data, record); err != nil {
		return fmt.Errorf("what is known of source %s cannot be read: %w", s.name, err)
	}
	s.record, s.revision = record, found.Sequence
	s.meters.saw(s.name, record)
	return nil
}

// put writes the record over the one that it was made of. errLost where that is not
// there any more.
func (s *source) put(ctx context.Context, next *sourcev1.Source) error {
	data, err := proto.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode what is known of source %s: %w", s.name, err)
	}
	for {
		revision, err := s.config.Bus.Put(ctx, bus.BucketSource, bus.SourceKey(s.name), data, bus.Sequence(s.revision))
		s.unanswered = err != nil && !bus.IsConflict(err)
		switch {
		case err == nil:
			s.record, s.revision, s.written = next, revision, time.Now()
			s.meters.saw(s.name, next)
			return nil
		case bus.IsConflict(err):
			// It may be this very write, of which the answer was lost.
			found, lookErr := s.config.Bus.Get(ctx, bus.BucketSource, bus.SourceKey(s.name))
			if lookErr == nil && bytes.Equal(found.Data, data) {
				s.record, s.revision, s.written = next, found.Sequence, time.Now()
				return nil
			}
			return errLost
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !bus.IsUnavailable(err) && !bus.IsFull(err):
			return fmt.Errorf("write what is known of source %s: %w", s.name, err)
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// stay says that this replica is still at it, if it has not just done so.
func (s *source) stay(ctx context.Context) error {
	if time.Since(s.written) < renewAfter {
		return nil
	}
	return s.put(ctx, reconcile.Take(s.record, s.name, s.run, time.Now(), lease))
}

// rest waits for a time, and stays the owner meanwhile.
func (s *source) rest(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		if err := pause(ctx, min(left, renewAfter)); err != nil {
			return err
		}
		if err := s.stay(ctx); err != nil {
			return err
		}
	}
}

// fail writes why a comparison did not come to its end, and warns once of each reason.
func (s *source) fail(ctx context.Context, problem error) error {
	s.warn(ctx, notCompared, problem)
	return s.put(ctx, reconcile.Fail(s.record, s.spec.Reconcile, problem.Error(), time.Now()))
}

const (
	notCompared = "the orders of a source could not be compared with what its webhooks told"
	notWatched  = "the webhooks of a source could not be looked after"
	notHeld     = "what a source refuses cannot be put into the Error Hold, or taken out of it; " +
		"where NATS denies that, give ingest the permissions of this release (peppasync bootstrap)"
)

// warn says a problem once, until it is another.
func (s *source) warn(ctx context.Context, what string, problem error) {
	if text := problem.Error(); text != s.warned[what] {
		s.warned[what] = text
		s.log.WarnContext(ctx, what, "error", problem) //nolint:sloglint // who warns gives a constant
	}
}
