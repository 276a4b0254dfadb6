package shopify

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/outbox"
)

// delivery is one webhook: one event to one subscription. The deliverer's lock guards what changes.
type delivery struct {
	webhookID, eventID string
	topic, order       string
	subscription       *subscription // nil is the one of the shop's Target
	version            time.Time     // updated_at of the order
	fate               faults.Fate
	payload            []byte
	signature          string
	target             string
	triggeredAt        time.Time

	firstAttempt time.Time
	acknowledged time.Time
	latency      time.Duration
	attempts     int
	failures     int
	status       int
	problem      string
	givenUp      bool
}

// deliverer sends webhooks as Shopify does: it waits a second to connect and five in all, follows no redirect, takes
// nothing but 2xx for an answer, and repeats a failed delivery with its original payload to its original address.
type deliverer struct {
	cfg Config
	// outbox has a worker for each connection: hundreds of repetitions may fall due at the same moment.
	outbox *outbox.Outbox
	// open counts webhooks that are neither acknowledged nor given up.
	open *outbox.Gate

	mu      sync.Mutex
	target  string
	deleted bool
	// subscriptions are those that the API made and that are not deleted.
	subscriptions []*subscription
	nextID        int64
	told          map[string]time.Time // by order, the newest version that was acknowledged
	sequence      int64
	deliveries    []*delivery
	newest        map[string]*delivery
	// subscriptionsDeleted counts those of the API that were deleted for their failures.
	subscriptionsDeleted int
}

func newDeliverer(cfg Config) (*deliverer, error) {
	o, err := outbox.New(outbox.Config{
		Workers: cfg.Connections, ConnectTimeout: cfg.ConnectTimeout.Std(), KeepAlive: true, Mishaps: cfg.Mishaps,
	})
	if err != nil {
		return nil, err
	}
	return &deliverer{
		cfg: cfg, outbox: o, open: o.NewGate(), newest: make(map[string]*delivery), told: make(map[string]time.Time), nextID: firstSubscriptionID,
	}, nil
}

func (d *deliverer) setTarget(target string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.target = target
}

// happening is what webhooks tell of. Its first topic is that of the shop's Target; subscriptions of the API may be about any
// of them, as orders/updated tells of every change.
type happening struct {
	topics  []string
	order   string
	version time.Time
	payload []byte
	at      time.Time
}

// prepare makes the webhooks of an event, one for each subscription. They are open until they are acknowledged or given up;
// if there is no subscription, or none any more, one counts as undelivered at once.
func (d *deliverer) prepare(h happening) []*delivery {
	mac := hmac.New(sha256.New, []byte(d.cfg.WebhookSecret))
	mac.Write(h.payload)
	signature := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	d.mu.Lock()
	defer d.mu.Unlock()
	eventID := outbox.Identifier(d.cfg.Domain, "event", d.sequence+1)
	var all []*delivery
	add := func(topic, target string, subscription *subscription) *delivery {
		d.sequence++
		w := &delivery{
			webhookID: outbox.Identifier(d.cfg.Domain, "webhook", d.sequence), eventID: eventID, topic: topic, order: h.order,
			subscription: subscription, version: h.version, payload: h.payload, signature: signature, target: target, triggeredAt: h.at,
		}
		d.deliveries = append(d.deliveries, w)
		d.newest[h.order+" "+topic] = w
		all = append(all, w)
		return w
	}
	found := false
	send := func(topic, target string, subscription *subscription) {
		found = true
		fate := d.outbox.Fate(topic, h.order+" "+strconv.FormatInt(h.version.Unix(), 10))
		if fate.Dropped {
			return
		}
		add(topic, target, subscription).fate = fate
		d.open.Open()
	}
	if d.target != "" && !d.deleted {
		send(h.topics[0], d.target, nil)
	}
	for _, s := range d.subscriptions {
		if slices.Contains(h.topics, s.topic) {
			send(s.topic, s.uri, s)
		}
	}
	if !found {
		add(h.topics[0], d.target, nil).givenUp = true
		d.outbox.CountUndelivered()
	}
	return all
}

// renamed is the same content under new ids. It is none of the webhooks that count: only its sending does.
func (d *deliverer) renamed(w *delivery) *delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sequence++
	return &delivery{
		webhookID: outbox.Identifier(d.cfg.Domain, "webhook", d.sequence), eventID: outbox.Identifier(d.cfg.Domain, "event", d.sequence),
		topic: w.topic, order: w.order, payload: w.payload, signature: w.signature,
		target: cmp.Or(d.target, w.target), triggeredAt: w.triggeredAt,
	}
}

func (d *deliverer) find(order, topic string) *delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newest[order+" "+topic]
}

// start delivers in the background, as the mishaps have it.
func (d *deliverer) start(all []*delivery) {
	for _, w := range all {
		d.later(w.fate.Delay, w, w.fate.Twice)
	}
}

// later delivers in the background after a while, twice if told to.
func (d *deliverer) later(delay time.Duration, w *delivery, twice bool) {
	d.outbox.Run(func() {
		if !d.outbox.Sleep(delay) {
			return
		}
		d.attempt(w)
		if twice {
			d.repeat(w)
		}
	})
}

// attempt sends the webhook once; a failure schedules the next attempt.
func (d *deliverer) attempt(w *delivery) {
	d.mu.Lock()
	if w.givenUp {
		d.mu.Unlock()
		return
	}
	d.mu.Unlock()
	begin := time.Now()
	status, took, err := d.post(w)
	if d.outbox.Closed() {
		return
	}
	attempt := outbox.Attempt{Status: status, Err: err, Took: took, OK: accepted(status, err)}
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.attempts == 0 {
		w.firstAttempt = begin
	} else {
		attempt.Retry = true
	}
	w.attempts++
	w.status, w.problem = status, ""
	w.subscription.count(attempt.OK)
	d.outbox.CountAttempt(attempt)
	if !attempt.OK {
		w.problem = failureText(status, err)
		d.fail(w)
		return
	}
	w.acknowledged, w.latency = begin.Add(took), took
	if w.version.After(d.told[w.order]) {
		d.told[w.order] = w.version
	}
	d.open.Settle()
}

// accepted says whether the shop takes an answer for success.
func accepted(status int, err error) bool { return err == nil && status >= 200 && status < 300 }

// fail schedules the next attempt or gives up; it needs the lock.
func (d *deliverer) fail(w *delivery) {
	if w.failures == len(d.cfg.Retries) {
		w.givenUp = true
		d.remove(w.subscription)
		d.outbox.CountGivenUp()
		d.open.Settle()
		return
	}
	wait := d.cfg.Retries[w.failures].Std()
	w.failures++
	d.outbox.EnqueueAfter(wait, func() { d.attempt(w) })
}

// remove deletes the subscription of a webhook that failed for the last time; it needs the lock. Eight failures in a row are
// those of one webhook, the repetitions: a shop with many orders a minute would lose its subscriptions in the first minute of
// an outage else.
func (d *deliverer) remove(s *subscription) {
	if s == nil {
		d.deleted = true
		return
	}
	if i := slices.Index(d.subscriptions, s); i >= 0 {
		d.subscriptions = slices.Delete(d.subscriptions, i, i+1)
		d.subscriptionsDeleted++
	}
}

// repeat sends a webhook that was sent before once more; what comes of it changes nothing but the count.
func (d *deliverer) repeat(w *delivery) {
	status, took, err := d.post(w)
	if !d.outbox.Closed() {
		d.outbox.CountRepeat(outbox.Attempt{Status: status, Err: err, Took: took, OK: accepted(status, err)})
	}
}

func failureText(status int, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("status %d", status)
}

// post makes one request.
func (d *deliverer) post(w *delivery) (status int, took time.Duration, err error) {
	if w.target == "" {
		return 0, 0, errors.New("no webhook target is set")
	}
	header := make(http.Header)
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "Shopify-Captain-Hook",
		"X-Shopify-Hmac-Sha256": w.signature, "X-Shopify-Topic": w.topic, "X-Shopify-Shop-Domain": d.cfg.Domain,
		"X-Shopify-API-Version": d.cfg.APIVersion, "X-Shopify-Webhook-Id": w.webhookID, "X-Shopify-Event-Id": w.eventID,
		"X-Shopify-Triggered-At": w.triggeredAt.UTC().Format("2006-01-02T15:04:05.000000000Z"),
	} {
		header.Set(name, value)
	}
	if w.subscription != nil && w.subscription.name != "" {
		header.Set("X-Shopify-Name", w.subscription.name)
	}
	return d.outbox.Post(w.target, header, w.payload, d.cfg.Timeout.Std())
}
