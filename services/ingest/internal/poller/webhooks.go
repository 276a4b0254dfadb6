package poller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
)

const (
	// webhookPages is more pages than any account has.
	webhookPages = 50
	// longestWatch is the longest time between two tries that fail.
	longestWatch = time.Hour
)

// backoff doubles the time to the next try.
type backoff struct {
	wait  time.Duration
	until time.Time
}

func (b *backoff) failed(first time.Duration, now time.Time) {
	b.wait = min(longestWatch, max(first, 2*b.wait))
	b.until = now.Add(b.wait)
}

// watch makes the webhooks that flows need and that are not there, and turns on those
// that are off. What stands in the way is said once and does not keep orders from being
// compared.
func (s *source) watch(ctx context.Context) error {
	address := s.spec.Webhook.Address
	if address == "" || !s.can(&s.spec, connectors.OperationListWebhooks) || !s.can(&s.spec, connectors.OperationPutWebhook) {
		return errors.Join(s.answered(ctx, connectors.OperationListWebhooks, noMore), s.answered(ctx, connectors.OperationPutWebhook, noMore))
	}
	if time.Now().Before(s.watching.until) {
		return nil
	}
	now, mended, err := s.mend(ctx, address)
	problem := ""
	switch {
	case err == nil:
		s.watching = backoff{}
		delete(s.warned, notWatched)
	case ofSource(err):
		problem = err.Error()
		s.watching.failed(s.spec.Reconcile.Every.Duration, time.Now())
		s.warn(ctx, notWatched, err)
	default:
		return err
	}
	s.meters.mended(ctx, s.name, mended)
	return s.put(ctx, reconcile.Watched(s.record, now, problem, mended, time.Now()))
}

func (s *source) mend(ctx context.Context, address string) (now []*sourcev1.Webhook, mended int64, err error) {
	there, err := s.listWebhooks(ctx)
	if said := s.heed(ctx, connectors.OperationListWebhooks, err, nil); said != nil {
		return nil, 0, said
	}
	if err != nil {
		return nil, 0, err
	}
	now, put := reconcile.Mend(reconcile.Needed(s.config.Set.Sources[string(s.spec.System)], s.taken), address, there, s.record.GetWebhooks())
	// The others first: what is sent to them is refused or lost meanwhile.
	slices.SortStableFunc(put, func(a, b listing.Webhook) int { return boolean(a.Stale) - boolean(b.Stale) })
	var refused error
	settled := false
	for _, w := range put {
		if w.Stale && !settled {
			if settled, err = true, s.rest(ctx, s.sealAfter); err != nil {
				return now, mended, err
			}
		}
		result, err := s.ask(ctx, connectors.OperationPutWebhook, w.Arguments())
		if isRefusal(err) {
			refused = fmt.Errorf("webhook %s to %s: %w", w.Topic, address, err)
			continue
		}
		if err != nil {
			return now, mended, err
		}
		mended++
		for _, known := range now {
			if known.GetTopic() == w.Topic {
				known.Id, known.Active, known.MendedAt = cmp.Or(result.GetReference(), w.ID), true, timestamppb.Now()
			}
		}
		switch {
		case w.Stale:
			s.log.InfoContext(ctx, "a webhook that flows need was made with the secret before this one, and has today's now",
				"topic", w.Topic, "address", address)
		case w.ID == "":
			s.log.WarnContext(ctx, "a webhook that flows need was missing, and is made", "topic", w.Topic, "address", address)
		default:
			s.log.WarnContext(ctx, "a webhook that flows need was off, led elsewhere or showed no valid secret, and is mended",
				"topic", w.Topic, "address", address)
		}
	}
	switch {
	case refused != nil:
		err = s.heed(ctx, connectors.OperationPutWebhook, refused, nil)
	case len(put) == 0:
		// A person may have made them.
		err = s.answered(ctx, connectors.OperationPutWebhook, nothingLeft)
	default:
		err = s.answered(ctx, connectors.OperationPutWebhook, answers)
	}
	return now, mended, cmp.Or(err, refused)
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// listWebhooks returns all webhooks that the account sends.
func (s *source) listWebhooks(ctx context.Context) ([]listing.Webhook, error) {
	var all []listing.Webhook
	page := ""
	for range webhookPages {
		result, err := s.ask(ctx, connectors.OperationListWebhooks, listing.WebhooksArguments(page))
		if err != nil {
			return nil, err
		}
		found, err := listing.ParseWebhookPage(result.GetValue())
		if err != nil {
			return nil, &refusal{connectors.OperationListWebhooks, cause("unreadable-answer", err)}
		}
		all = append(all, found.Webhooks...)
		if page = found.Next; page == "" {
			return all, nil
		}
	}
	return nil, &refusal{connectors.OperationListWebhooks, cause("too-many", fmt.Errorf("more than %d pages", webhookPages))}
}

func cause(code string, err error) *dispatchv1.Cause {
	return &dispatchv1.Cause{Code: code, Detail: err.Error()}
}
