package throttledispatcher

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/fault"
)

const (
	// secretEvery is how often a secret that is missing or refused is looked at
	// again.
	secretEvery = time.Second
	// secretTimeout bounds the look.
	secretTimeout = 2 * time.Second
	// refusedWait is the longest time after which refused credentials are tried
	// again as they are; mostly somebody has to change them first.
	refusedWait = 30 * time.Second
	// refusedForGood is how often one delivery may be refused while others pass
	// with the same credentials, before it counts as refused for itself.
	refusedForGood = 3
)

// signIn is how the connector's credentials are doing.
type signIn struct {
	// missing: they cannot be had.
	missing trouble
	// refused: the external system does not take header, and said why. It is asked one
	// call at a time, at triedAgain or as soon as the secret has changed.
	refused    trouble
	said       fault.Cause
	header     http.Header
	refusals   int
	triedAgain time.Time
	acceptedAt time.Time
}

func (s *signIn) onTrial() bool { return !s.refused.since.IsZero() }

// out returns why nobody can sign in, and false where somebody may.
func (s *signIn) out() (fault.Cause, bool) {
	switch {
	case s.onTrial():
		return fault.Cause{Code: connectors.CodeCredentialsRefused, Detail: s.said.Detail, Status: s.said.Status}, true
	case !s.missing.since.IsZero():
		return fault.Cause{Code: connectors.CodeCredentialsMissing, Detail: "the secret of the connector is not there, or lacks a key"}, true
	}
	return fault.Cause{}, false
}

// signedIn returns the headers that sign calls in, or false where there are none
// that could work; it is asked again after quietUntil.
func (w *worker) signedIn(ctx context.Context, now time.Time) (http.Header, bool) {
	header, err := w.authorize(ctx)
	if err != nil {
		if w.sign.missing.begins(now) {
			w.log.ErrorContext(ctx, "there are no credentials for this connector; everything is kept and nothing is sent until they are there", "error", err)
		}
		w.quietUntil = now.Add(secretEvery)
		return nil, false
	}
	if lasted, was := w.sign.missing.ends(now); was {
		w.log.InfoContext(ctx, "the credentials are there; feeding goes on", "after", lasted, "waiting", w.queue.Len())
	}
	if w.sign.onTrial() && now.Before(w.sign.triedAgain) && sameHeader(header, w.sign.header) {
		w.quietUntil = now.Add(min(secretEvery, w.sign.triedAgain.Sub(now)))
		return nil, false
	}
	return header, true
}

func (w *worker) authorize(ctx context.Context) (http.Header, error) {
	spec := &w.spec.Spec
	if spec.Auth == nil {
		return http.Header{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	name := spec.Auth.SecretRef.Name
	secret, err := w.config.Secrets.Secret(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	header, err := w.system.Authorize(spec, secret)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	return header, nil
}

// refuse takes in that the external system refused the credentials of a call.
// The next call is a trial at once, because it may be about that call alone;
// after that the trials become rare.
func (w *worker) refuse(header http.Header, answer connectors.Answer, now time.Time) {
	if w.sign.refused.begins(now) {
		w.log.Error("the external system refused the credentials; the connector pauses until they work or are changed",
			"status", answer.Cause.Status, "detail", answer.Cause.Detail)
		w.sign.refusals = 0
		w.recall()
	}
	w.sign.header, w.sign.triedAgain, w.sign.said = header, now, answer.Cause
	if w.sign.refusals > 0 {
		w.sign.triedAgain = now.Add(min(refusedWait, time.Second<<min(w.sign.refusals-1, 10)))
	}
	w.sign.refusals++
}

// accept takes in that a call passed with its credentials.
func (w *worker) accept(now time.Time) {
	w.sign.acceptedAt = now
	if lasted, was := w.sign.refused.ends(now); was {
		w.log.Info("the external system takes the credentials; feeding goes on", "after", lasted, "waiting", w.queue.Len())
	}
}

// refusedAlone reports whether the credentials work for others and not for this
// delivery: then it would only pause them again and again.
func (w *worker) refusedAlone(j *job, now time.Time) bool {
	if j.refusals == 0 {
		j.refusedAt = now
	}
	j.refusals++
	return j.refusals >= refusedForGood && w.sign.acceptedAt.After(j.refusedAt)
}

func sameHeader(a, b http.Header) bool {
	return maps.EqualFunc(a, b, slices.Equal[[]string])
}
