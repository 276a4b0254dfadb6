package poller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// What a source refuses for good is one hold for each operation, however often it is tried,
// under one subject of the Error Hold, of which the newest record counts. So a restart, and
// another replica, go on with the hold that is there.

const (
	// holdPatience bounds the tries to write a hold: a comparison is worth more, and the
	// next try at the source tries that again, too.
	holdPatience = 20 * time.Second
	holdRetry    = 500 * time.Millisecond
	// tidyRetry is how long to wait after what sources refused that are asked no more could
	// not be closed.
	tidyRetry = 10 * time.Second
)

// questions are what a source is asked, and what it may refuse.
func questions() []string {
	return []string{connectors.OperationListOrders, connectors.OperationReadOrder, connectors.OperationListWebhooks, connectors.OperationPutWebhook}
}

const (
	answers     = "the source answers again"
	nothingLeft = "nothing is left to be asked for"
	noMore      = "the source is asked no more"
	elsewhere   = "the connector has another endpoint"
)

// held is what the Error Hold says of an operation: of none it has sequence 0.
type held struct {
	hold     *dispatchv1.Hold
	sequence uint64
}

// loadRefusals reads what is held of the source. Where that fails nothing is written in
// this turn.
func (s *source) loadRefusals(ctx context.Context) error {
	s.refusals = nil
	found, err := s.readRefusals(ctx, s.name)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.warn(ctx, notHeld, err)
		return nil
	}
	s.refusals = found
	return nil
}

// readRefusals returns what is held of each operation of a connector.
func (p *Poller) readRefusals(ctx context.Context, connector string) (map[string]held, error) {
	found := map[string]held{}
	for _, operation := range questions() {
		subject := bus.HoldSubject(connector, connectors.KeyOfSources, connectors.RefusalID(operation))
		record, err := p.config.Bus.Last(ctx, bus.StreamErrorHold, subject)
		if errors.Is(err, bus.ErrNotFound) {
			found[operation] = held{}
			continue
		}
		hold := &dispatchv1.Hold{}
		if err == nil {
			err = proto.Unmarshal(record.Data, hold)
		}
		if err != nil {
			return nil, fmt.Errorf("read whether %s of %s is held: %w", operation, connector, err)
		}
		found[operation] = held{hold, record.Sequence}
	}
	return found, nil
}

// heed takes in what came of a question: a refusal begins a hold, or goes on with it, an
// answer ends it. What is neither says nothing. The error is ctx's.
func (s *source) heed(ctx context.Context, operation string, answer error, order *listing.Partial) error {
	var refused *refusal
	switch {
	case answer == nil:
		return s.answered(ctx, operation, answers)
	case !errors.As(answer, &refused):
		return nil
	}
	return s.hold(ctx, operation, func(hold *dispatchv1.Hold) (*dispatchv1.Hold, bool) {
		return reconcile.Refused(hold, reconcile.Refusal{
			Connector: s.name, Operation: operation, Cause: s.causeOf(operation, refused.cause), Advice: s.advice(operation, refused.cause), Order: order,
		}, Requester, time.Now())
	})
}

func (s *source) answered(ctx context.Context, operation, reason string, orders ...string) error {
	return s.hold(ctx, operation, func(hold *dispatchv1.Hold) (*dispatchv1.Hold, bool) {
		return reconcile.Answered(hold, Requester, reason, time.Now(), orders...)
	})
}

func (s *source) causeOf(operation string, cause *dispatchv1.Cause) *dispatchv1.Cause {
	cause = proto.CloneOf(cause)
	if cause == nil {
		cause = &dispatchv1.Cause{Code: "no-cause"}
	}
	if cause.GetFingerprint() == "" {
		cause.Fingerprint = fault.Fingerprint(s.name, operation, fault.Cause{Code: cause.GetCode(), Detail: cause.GetDetail()})
	}
	return cause
}

func (s *source) advice(operation string, cause *dispatchv1.Cause) string {
	right, secret := "", ""
	if entitled, ok := s.config.Set.Systems[string(s.spec.System)].(connectors.Entitled); ok {
		right = entitled.Right(operation)
	}
	if s.spec.Auth != nil {
		secret = s.spec.Auth.SecretRef.Name
	}
	return reconcile.Advice(operation, cause, right, secret)
}

// hold changes what is held of an operation. What cannot be written is said once, and tried
// again at the next answer; the error is ctx's.
func (s *source) hold(ctx context.Context, operation string, change func(*dispatchv1.Hold) (*dispatchv1.Hold, bool)) error {
	before, known := s.refusals[operation]
	if !known {
		return nil
	}
	after, err := s.writeHold(ctx, before, change)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		s.warn(ctx, notHeld, fmt.Errorf("%s: %w", operation, err))
		return nil
	}
	delete(s.warned, notHeld)
	s.refusals[operation] = after
	opened, closed := reconcile.Open(after.hold) && !reconcile.Open(before.hold), !reconcile.Open(after.hold) && reconcile.Open(before.hold)
	switch {
	case opened:
		s.log.WarnContext(ctx, "a source refuses what it is asked; it is in the Error Hold once, and closed when the source answers", "operation", operation,
			"cause", after.hold.GetCause().GetCode(), "detail", after.hold.GetCause().GetDetail(), "advice", after.hold.GetAdvice())
	case closed:
		s.log.InfoContext(ctx, "what a source refused is not held any more", "operation", operation, "reason", after.hold.GetRelease().GetReason(),
			"after", time.Since(after.hold.GetHeldAt().AsTime()).Round(time.Second))
	}
	return nil
}

// writeHold writes a change of a hold over the record that it was made of, and returns what
// is there then.
func (p *Poller) writeHold(ctx context.Context, now held, change func(*dispatchv1.Hold) (*dispatchv1.Hold, bool)) (held, error) {
	ctx, cancel := context.WithTimeout(ctx, holdPatience)
	defer cancel()
	for {
		next, changed := change(now.hold)
		if !changed {
			return now, nil
		}
		data, err := proto.Marshal(next)
		if err != nil {
			return now, fmt.Errorf("encode a hold: %w", err)
		}
		d := next.GetDelivery()
		subject := bus.HoldSubject(d.GetConnector(), d.GetKey(), d.GetId())
		ack, err := p.config.Bus.Publish(ctx, bus.Message{
			Subject: subject, Data: data, ExpectLast: bus.Sequence(now.sequence), ExpectStream: bus.StreamErrorHold,
		})
		switch {
		case err == nil:
			return held{next, ack.Sequence}, nil
		case bus.IsConflict(err):
			// Another replica's, or this very one, of which the answer was lost.
			record, lookErr := p.config.Bus.Last(ctx, bus.StreamErrorHold, subject)
			there := &dispatchv1.Hold{}
			if lookErr == nil {
				lookErr = proto.Unmarshal(record.Data, there)
			}
			if lookErr == nil && bytes.Equal(record.Data, data) {
				return held{next, record.Sequence}, nil
			}
			if lookErr == nil && record.Sequence != now.sequence {
				now = held{there, record.Sequence}
				continue
			}
		case !bus.IsUnavailable(err):
			return now, err
		}
		if pause(ctx, holdRetry) != nil {
			return now, err
		}
	}
}

// closeRefusals closes what is held of a connector. Orders that could not be read stay on
// hold where the source is asked no more: it may be again, the cursor has gone past them,
// and nothing else remembers them.
func (p *Poller) closeRefusals(ctx context.Context, connector, reason string) error {
	found, err := p.readRefusals(ctx, connector)
	if err != nil {
		return err
	}
	for _, operation := range questions() {
		_, err := p.writeHold(ctx, found[operation], func(hold *dispatchv1.Hold) (*dispatchv1.Hold, bool) {
			if reason == noMore && len(reconcile.Unread(hold)) > 0 {
				return hold, false
			}
			return reconcile.Answered(hold, Requester, reason, time.Now())
		})
		if err != nil {
			return fmt.Errorf("close what is held of %s of %s: %w", operation, connector, err)
		}
	}
	return nil
}

// tidy closes what is held of sources that are asked no more.
func (p *Poller) tidy(ctx context.Context, asked map[string]watched) error {
	for record, err := range p.config.Bus.Read(ctx, bus.KeyValueStream(bus.BucketSource), bus.KeyValueSubject(bus.BucketSource, bus.SourceFilter), 0) {
		if errors.Is(err, bus.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read which sources are known: %w", err)
		}
		known := &sourcev1.Source{}
		if record.Deleted() || proto.Unmarshal(record.Data, known) != nil {
			continue
		}
		if _, still := asked[known.GetConnector()]; still {
			continue
		}
		if err := p.closeRefusals(ctx, known.GetConnector(), noMore); err != nil {
			return err
		}
	}
	return nil
}

// tidyAll tidies until it is done.
func (p *Poller) tidyAll(ctx context.Context, asked map[string]watched) {
	said := ""
	for ctx.Err() == nil {
		err := p.tidy(ctx, asked)
		if err == nil {
			return
		}
		if text := err.Error(); text != said && ctx.Err() == nil {
			said = text
			p.config.Logger.WarnContext(ctx, notHeld, "error", err)
		}
		_ = pause(ctx, tidyRetry)
	}
}
