package woocommerce

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/test/sim/outbox"
)

// Delivery is one webhook in the log.
type Delivery struct {
	Webhook    int64     `json:"webhook"`
	DeliveryID string    `json:"deliveryId"`
	Topic      string    `json:"topic"`
	Order      int64     `json:"order"`
	At         time.Time `json:"at"`
	// Acknowledged says that the answer was one of 200 to 302.
	Acknowledged bool   `json:"acknowledged"`
	Status       int    `json:"status,omitempty"`
	Problem      string `json:"problem,omitempty"`
	// Repeat is true for a webhook that was sent once more by a mishap.
	Repeat bool `json:"repeat,omitempty"`
}

// trigger queues the webhooks of a topic for an order; it needs the lock. Whether a webhook is active counts now: what is
// queued is sent even if the webhook is disabled meanwhile.
func (s *Shop) trigger(r *record, topic string) {
	for _, h := range s.hooks {
		if h.topic != topic {
			continue
		}
		if h.status != statusActive {
			s.outbox.CountUndelivered()
			continue
		}
		fate := s.outbox.Fate(topic, fmt.Sprintf("%d %d", r.ID, r.Revision))
		if fate.Dropped {
			continue
		}
		s.queued.Open()
		s.outbox.EnqueueAfter(fate.Delay, func() {
			defer s.queued.Settle()
			s.deliver(h.id, r, false)
			if fate.Twice {
				s.deliver(h.id, r, true)
			}
		})
	}
}

// deliver sends one webhook, once. The body is the order as it is when the queue comes to it, not as it was when the
// webhook was queued.
func (s *Shop) deliver(id int64, r *record, repeat bool) {
	now := time.Now()
	s.mu.Lock()
	h := s.hookByID(id)
	if h == nil {
		s.mu.Unlock()
		s.outbox.CountUndelivered()
		return
	}
	var document any = s.document(r)
	if h.topic == TopicDeleted {
		document = map[string]int64{"id": r.ID}
	}
	copied, revision, order := *h, r.Revision, r.ID
	s.mu.Unlock()

	body := encode(document)
	header := s.header(copied, body, now)
	status, took, err := s.outbox.Post(copied.deliveryURL, header, body, s.cfg.Timeout.Std())
	if s.outbox.Closed() {
		return
	}
	attempt := outbox.Attempt{Status: status, Err: err, Took: took, OK: err == nil && status >= 200 && status < 303}
	if repeat {
		s.outbox.CountRepeat(attempt)
	} else {
		s.outbox.CountAttempt(attempt)
	}
	d := Delivery{
		Webhook: id, DeliveryID: header.Get("X-WC-Webhook-Delivery-ID"), Topic: copied.topic, Order: order, At: now,
		Acknowledged: attempt.OK, Status: status, Repeat: repeat,
	}
	if err != nil {
		d.Problem = err.Error()
	}
	if s.note(id, d, r, revision) {
		s.ping(id)
	}
}

// note records a delivery and its consequences for the webhook. It says whether the webhook, which is saved now, is to be
// pinged.
func (s *Shop) note(id int64, d Delivery, r *record, revision int) (ping bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, d)
	if d.Acknowledged {
		r.Told = max(r.Told, revision)
	}
	h := s.hookByID(id)
	if h == nil {
		return false
	}
	h.attempts++
	h.modified = time.Now()
	if d.Acknowledged {
		h.delivered++
		h.failures = 0
	} else {
		h.fails++
		s.countFailure(h)
	}
	return h.pending && h.status == statusActive
}

// countFailure needs the lock. The count is looked at before it is raised, so that with the default of 5 the seventh failure
// in a row disables. It then stays where it is, whoever sets the status back: the next failure disables again at once.
func (s *Shop) countFailure(h *hook) {
	if h.failures <= s.cfg.MaxFailures {
		h.failures++
		return
	}
	if h.status != statusDisabled {
		s.tally.disabled++
	}
	h.status = statusDisabled
}

func (s *Shop) header(h hook, body []byte, now time.Time) http.Header {
	resource, event, _ := strings.Cut(h.topic, ".")
	mac := hmac.New(sha256.New, []byte(h.secret))
	mac.Write(body)
	header := make(http.Header)
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": userAgent,
		"X-WC-Webhook-Source": s.cfg.URL, "X-WC-Webhook-Topic": h.topic, "X-WC-Webhook-Resource": resource, "X-WC-Webhook-Event": event,
		"X-WC-Webhook-Signature": base64.StdEncoding.EncodeToString(mac.Sum(nil)), "X-WC-Webhook-ID": strconv.FormatInt(h.id, 10),
		// A hash of the webhook's id and the second: all orders of one second share it.
		"X-WC-Webhook-Delivery-ID": secretText(fmt.Sprintf("%s %d%d", s.cfg.URL, h.id, now.Unix()), 32),
	} {
		header.Set(name, value)
	}
	return header
}

// Deliveries returns the log of all webhooks in the order in which they were answered.
func (s *Shop) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Delivery{}, s.log...)
}

// WaitDelivered returns when the queue is empty, or with the error of the context.
func (s *Shop) WaitDelivered(ctx context.Context) error { return s.queued.Wait(ctx) }
