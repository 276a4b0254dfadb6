package poller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
	"github.com/peppasync/peppasync/services/internal/bus"
)

const (
	// minExpiry is how long a question may wait for its turn at the least.
	minExpiry = time.Minute
	// answerKept is how long an answer stays beyond the time in which its question may be
	// asked. A page is read within seconds; until then nobody asks it again, and after it
	// the question has expired. Kept for a week, pages were 650 MB a day at one order a
	// second.
	answerKept = 10 * time.Minute
	// A result is looked for often at first, because most come soon.
	lookMin, lookMax = 50 * time.Millisecond, 2 * time.Second
)

// errExpired: the question's time was over before it could be asked.
var errExpired = errors.New("the source could not be asked in time: it is down, paused or busy; it is asked again")

// refusal is an answer that says why there is none.
type refusal struct {
	operation string
	cause     *dispatchv1.Cause
}

func (r *refusal) Error() string {
	text := r.operation + " is refused: " + r.cause.GetCode()
	if r.cause.GetDetail() != "" {
		text += ": " + r.cause.GetDetail()
	}
	return text
}

// ofSource reports whether an error is no reason to stop: the source is asked again later.
func ofSource(err error) bool { return errors.Is(err, errExpired) || isRefusal(err) }

// code is the cause's; none of no refusal.
func (r *refusal) code() string {
	if r == nil {
		return ""
	}
	return r.cause.GetCode()
}

// withoutCredentials reports whether nobody can sign in, whatever is asked.
func withoutCredentials(cause *dispatchv1.Cause) bool {
	return cause.GetCode() == connectors.CodeCredentialsRefused || cause.GetCode() == connectors.CodeCredentialsMissing
}

// isRefusal reports whether an error is of the source, and not of the way to it.
func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// askInTurn asks when the account has been left to others for long enough after the question
// before. One order may cost more than a page, and of those that a page cannot hold there
// are as many as orders.
func (s *source) askInTurn(ctx context.Context, operation string, arguments *structpb.Struct) (*dispatchv1.Result, error) {
	if err := s.rest(ctx, time.Until(s.othersUntil)); err != nil {
		return nil, err
	}
	result, err := s.ask(ctx, operation, arguments)
	s.othersUntil = time.Now().Add(s.between(operation, arguments))
	return result, err
}

// between is how long to leave after a question.
func (s *source) between(operation string, arguments *structpb.Struct) time.Duration {
	request, err := s.config.Set.Systems[string(s.spec.System)].Request(&s.spec, connectors.Call{Operation: operation, Arguments: arguments})
	if err != nil {
		return 0 // the answer says why
	}
	return reconcile.Between(s.spec.Limits, request.Cost)
}

// ask has a call made and returns its result. As there is no way to take a delivery back
// it waits however long it takes, so that a source has one question at a time under way.
// errExpired, a refusal, errLost or ctx's error; others where nothing can be written.
func (s *source) ask(ctx context.Context, operation string, arguments *structpb.Struct) (*dispatchv1.Result, error) {
	wait := max(minExpiry, s.spec.Reconcile.Every.Duration)
	expires := time.Now().Add(wait)
	d := &dispatchv1.Delivery{
		Id: rand.Text(), Connector: s.name, Lane: s.spec.Reconcile.Lane, Key: connectors.KeyOfSources, Operation: operation, Requester: Requester,
		CreatedAt: timestamppb.Now(), ExpiresAt: timestamppb.New(expires), Content: &dispatchv1.Delivery_Arguments{Arguments: arguments},
		ResultTtl: durationpb.New(wait + answerKept), HeldByRequester: true,
	}
	data, err := proto.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode %s for %s: %w", operation, s.name, err)
	}
	look := lookMin
	for published := false; ; {
		if !published {
			if published, err = s.publish(ctx, d, data); err != nil {
				return nil, err
			}
		}
		if err := pause(ctx, look); err != nil {
			return nil, err
		}
		look = min(lookMax, 2*look)
		result, err := s.look(ctx, d.GetId())
		if err != nil {
			return nil, err
		}
		if result != nil {
			return result, outcome(operation, result)
		}
		if err := s.stay(ctx); err != nil {
			return nil, err
		}
		// Long past its time a delivery that is not there any more would be waited for
		// in vain; while it is there this changes nothing.
		published = published && time.Now().Before(expires.Add(lookMax))
	}
}

func outcome(operation string, result *dispatchv1.Result) error {
	switch result.GetOutcome() {
	case dispatchv1.Outcome_OUTCOME_DELIVERED:
		return nil
	case dispatchv1.Outcome_OUTCOME_EXPIRED:
		if withoutCredentials(result.GetCause()) {
			return &refusal{operation, result.GetCause()}
		}
		return errExpired
	case dispatchv1.Outcome_OUTCOME_HELD, dispatchv1.Outcome_OUTCOME_CONFLICT, dispatchv1.Outcome_OUTCOME_SKIPPED,
		dispatchv1.Outcome_OUTCOME_UNSPECIFIED:
	}
	return &refusal{operation, result.GetCause()}
}

// publish reports whether the delivery is in DISPATCH. That it is there already is as
// good.
func (s *source) publish(ctx context.Context, d *dispatchv1.Delivery, data []byte) (bool, error) {
	m := bus.Message{
		Subject: bus.DispatchSubject(d.GetConnector(), d.GetLane(), d.GetKey(), d.GetId()),
		Data:    data, ExpectLast: bus.Sequence(0), ExpectStream: bus.StreamDispatch,
	}
	_, err := s.config.Bus.Publish(ctx, m)
	if bus.IsConflict(err) {
		_, err = bus.Instead(ctx, s.config.Bus, bus.StreamDispatch, m, err)
	}
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case bus.IsUnavailable(err) || bus.IsFull(err):
		return false, nil
	}
	return false, fmt.Errorf("ask %s of %s: %w", d.GetOperation(), s.name, err)
}

// look reads a result, nil where it is not there.
func (s *source) look(ctx context.Context, id string) (*dispatchv1.Result, error) {
	record, err := s.config.Bus.Last(ctx, bus.StreamResult, bus.ResultSubject(Requester, id))
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // no result yet is no error, and neither is a bus that is away
	}
	result := &dispatchv1.Result{}
	if err := proto.Unmarshal(record.Data, result); err != nil {
		return nil, fmt.Errorf("result of %s: %w", id, err)
	}
	return result, nil
}
