package reconcile

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
)

// Needed returns the topics of which webhooks have to come: those that flows take, and
// the one that tells of cancelled orders, without which one would be sent all the same.
func Needed(source connectors.Source, taken []string) []string {
	needed := slices.Clone(taken)
	if len(taken) == 0 {
		return nil
	}
	topical, ok := source.(connectors.Topical)
	canceller, cancels := source.(connectors.Canceller)
	if ok && cancels {
		topic := topical.Topic(&orderv1.Order{CancelledAt: timestamppb.New(time.Unix(0, 0))}, true)
		if canceller.Cancels(topic) {
			needed = append(needed, topic)
		}
	}
	slices.Sort(needed)
	return slices.Compact(needed)
}

// Mend compares the webhooks that there are with those that are needed at an address. It
// returns the needed ones, and what to put: one for each topic that has none, and those
// that are switched off, or were made by the engine and lead elsewhere now. Others are
// somebody else's, and stay as they are. One that shows the secret before today's works,
// and is put again under its own topic.
func Mend(needed []string, address string, there []listing.Webhook, before []*sourcev1.Webhook) (now []*sourcev1.Webhook, put []listing.Webhook) {
	for _, topic := range needed {
		known := &sourcev1.Webhook{Topic: topic}
		for _, w := range before {
			if w.GetTopic() == topic {
				known = &sourcev1.Webhook{Topic: topic, Id: w.GetId(), MendedAt: w.GetMendedAt()}
			}
		}
		found, ok := ours(topic, address, known, there)
		switch {
		case !ok:
			known.Id, known.Active = "", false
			put = append(put, listing.Webhook{Topic: topic, Address: address})
		case !found.Active || found.Address != address:
			known.Id, known.Active = found.ID, false
			put = append(put, listing.Webhook{ID: found.ID, Topic: topic, Address: address})
		default:
			known.Id, known.Active = found.ID, true
			again := listing.Webhook{ID: found.ID, Topic: found.Topic, Address: address, Stale: true}
			if found.Stale && !slices.Contains(put, again) { // one may be of several topics
				put = append(put, again)
			}
		}
		now = append(now, known)
	}
	return now, put
}

// ours is the webhook of a topic, or of all that begin like it, that leads here, one that
// is on first; else the one that the engine has made.
func ours(topic, address string, known *sourcev1.Webhook, there []listing.Webhook) (listing.Webhook, bool) {
	var found listing.Webhook
	for _, w := range there {
		if wildcard, ok := strings.CutSuffix(w.Topic, "*"); ok && strings.HasPrefix(topic, wildcard) && w.Address == address && w.Active {
			// Somebody made one for all of them, and a second would tell each event twice.
			return w, true
		}
		if w.Topic != topic {
			continue
		}
		here := w.Address == address
		made := known.GetMendedAt() != nil && known.GetId() == w.ID
		better := found.ID == "" || here && found.Address != address || here && w.Active && !found.Active
		if (here || made) && better {
			found = w
		}
	}
	return found, found.ID != ""
}

// Watched returns the record after the webhooks were looked at, with the problem that
// stood in the way, if any, and how many were mended.
func Watched(s *sourcev1.Source, webhooks []*sourcev1.Webhook, problem string, mended int64, now time.Time) *sourcev1.Source {
	next := clone(s)
	next.WebhooksProblem = problem
	if webhooks != nil {
		next.Webhooks, next.WebhooksAt = webhooks, timestamppb.New(now)
	}
	if mended > 0 {
		hour(next, now).Mended += mended
	}
	return next
}
