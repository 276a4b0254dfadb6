package shopify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/peppasync/peppasync/test/sim/faults"
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
	cfg    Config
	client *http.Client
	ctx    context.Context //nolint:containedctx // the life of the deliverer, which ends with Close and not with a call
	cancel context.CancelFunc

	mu      sync.Mutex
	work    sync.WaitGroup
	closed  bool
	target  string
	deleted bool
	// subscriptions are those that the API made and that are not deleted.
	subscriptions []*subscription
	nextID        int64
	mishaps       faults.Mishaps
	told          map[string]time.Time // by order, the newest version that was acknowledged
	sequence      int
	deliveries    []*delivery
	newest        map[string]*delivery
	latencies     []time.Duration
	open          int
	idle          chan struct{}
	tally         deliveryTally
	// slots bound how many repetitions are in progress: hundreds may fall due at the same moment.
	slots chan struct{}
}

type deliveryTally struct {
	attempts, retries, failures, repeats, repeatFailures, givenUp, undelivered int
	dropped, late, twice, subscriptionsDeleted                                 int
	byStatus                                                                   map[string]int
}

func newDeliverer(cfg Config) *deliverer {
	ctx, cancel := context.WithCancel(context.Background())
	dialer := &net.Dialer{Timeout: cfg.ConnectTimeout.Std()}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: cfg.ConnectTimeout.Std(),
		MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, IdleConnTimeout: time.Minute, DisableCompression: true,
	}
	idle := make(chan struct{})
	close(idle)
	return &deliverer{
		cfg: cfg, ctx: ctx, cancel: cancel, idle: idle, newest: make(map[string]*delivery), mishaps: cfg.Mishaps,
		told: make(map[string]time.Time), nextID: firstSubscriptionID,
		slots: make(chan struct{}, cfg.Connections), tally: deliveryTally{byStatus: make(map[string]int)},
		client: &http.Client{
			Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (d *deliverer) setTarget(target string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.target = target
}

func (d *deliverer) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	d.work.Wait()
	d.client.CloseIdleConnections()
}

// run starts f unless the deliverer is closed.
func (d *deliverer) run(f func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.work.Go(f)
	return true
}

// sleep waits and says whether the deliverer is still open.
func (d *deliverer) sleep(wait time.Duration) bool {
	if wait <= 0 {
		return d.ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.ctx.Done():
		return false
	}
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
	eventID := identifier(d.cfg.Domain, "event", d.sequence+1)
	var all []*delivery
	add := func(topic, target string, subscription *subscription) *delivery {
		d.sequence++
		w := &delivery{
			webhookID: identifier(d.cfg.Domain, "webhook", d.sequence), eventID: eventID, topic: topic, order: h.order,
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
		fate := d.mishaps.Fate(topic, h.order+" "+strconv.FormatInt(h.version.Unix(), 10))
		d.tally.fate(fate)
		if fate.Dropped {
			return
		}
		add(topic, target, subscription).fate = fate
		if d.open == 0 {
			d.idle = make(chan struct{})
		}
		d.open++
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
		d.tally.undelivered++
	}
	return all
}

func (t *deliveryTally) fate(f faults.Fate) {
	if f.Dropped {
		t.dropped++
	}
	if f.Delay > 0 {
		t.late++
	}
	if f.Twice {
		t.twice++
	}
}

// renamed is the same content under new ids. It is none of the webhooks that count: only its sending does.
func (d *deliverer) renamed(w *delivery) *delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sequence++
	return &delivery{
		webhookID: identifier(d.cfg.Domain, "webhook", d.sequence), eventID: identifier(d.cfg.Domain, "event", d.sequence),
		topic: w.topic, order: w.order, payload: w.payload, signature: w.signature,
		target: cmp.Or(d.target, w.target), triggeredAt: w.triggeredAt,
	}
}

// identifier has the form of a UUID and depends on its arguments only.
func identifier(domain, kind string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", domain, kind, n))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
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
	d.run(func() {
		if !d.sleep(delay) {
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
	status, err := d.post(w)
	took := time.Since(begin)
	if d.ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tally.attempts++
	if w.attempts == 0 {
		w.firstAttempt = begin
	} else {
		d.tally.retries++
	}
	w.attempts++
	w.status, w.problem = status, ""
	d.countStatus(status, err)
	if err == nil && status >= 200 && status < 300 {
		w.acknowledged, w.latency = begin.Add(took), took
		if w.version.After(d.told[w.order]) {
			d.told[w.order] = w.version
		}
		w.subscription.count(true)
		d.latencies = append(d.latencies, took)
		d.settle()
		return
	}
	w.problem = failureText(status, err)
	d.fail(w)
}

// fail schedules the next attempt or gives up; it needs the lock.
func (d *deliverer) fail(w *delivery) {
	d.tally.failures++
	w.subscription.count(false)
	if w.failures == len(d.cfg.Retries) {
		w.givenUp = true
		d.remove(w.subscription)
		d.tally.givenUp++
		d.settle()
		return
	}
	wait := d.cfg.Retries[w.failures].Std()
	w.failures++
	if d.closed {
		return
	}
	d.work.Go(func() {
		if !d.sleep(wait) {
			return
		}
		select {
		case d.slots <- struct{}{}:
			defer func() { <-d.slots }()
			d.attempt(w)
		case <-d.ctx.Done():
		}
	})
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
		d.tally.subscriptionsDeleted++
	}
}

// repeat sends a webhook that was sent before once more; what comes of it changes nothing but the count.
func (d *deliverer) repeat(w *delivery) {
	status, err := d.post(w)
	if d.ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tally.repeats++
	d.countStatus(status, err)
	if err != nil || status < 200 || status > 299 {
		d.tally.repeatFailures++
	}
}

func (d *deliverer) countStatus(status int, err error) {
	if err != nil {
		d.tally.byStatus["none"]++
		return
	}
	d.tally.byStatus[strconv.Itoa(status)]++
}

func failureText(status int, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("status %d", status)
}

// settle closes one open delivery; it needs the lock.
func (d *deliverer) settle() {
	d.open--
	if d.open == 0 {
		close(d.idle)
	}
}

// post makes one request. The time for all of it, reading the reply included, is bounded.
func (d *deliverer) post(w *delivery) (status int, err error) {
	if w.target == "" {
		return 0, errors.New("no webhook target is set")
	}
	ctx, cancel := context.WithTimeout(d.ctx, d.cfg.Timeout.Std())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.target, bytes.NewReader(w.payload))
	if err != nil {
		return 0, err
	}
	// Without GetBody the transport cannot quietly send the request again; every attempt is one that is counted here.
	request.GetBody = nil
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "Shopify-Captain-Hook",
		"X-Shopify-Hmac-Sha256": w.signature, "X-Shopify-Topic": w.topic, "X-Shopify-Shop-Domain": d.cfg.Domain,
		"X-Shopify-API-Version": d.cfg.APIVersion, "X-Shopify-Webhook-Id": w.webhookID, "X-Shopify-Event-Id": w.eventID,
		"X-Shopify-Triggered-At": w.triggeredAt.UTC().Format("2006-01-02T15:04:05.000000000Z"),
	} {
		request.Header.Set(name, value)
	}
	if w.subscription != nil && w.subscription.name != "" {
		request.Header.Set("X-Shopify-Name", w.subscription.name)
	}
	response, err := d.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) //nolint:errcheck // the status is the answer
	return response.StatusCode, nil
}

// wait returns when every webhook is acknowledged or given up.
func (d *deliverer) wait(ctx context.Context) error {
	for {
		d.mu.Lock()
		open, idle := d.open, d.idle
		d.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return fmt.Errorf("%d webhooks are not acknowledged: %w", open, ctx.Err())
		case <-d.ctx.Done():
			return fmt.Errorf("the shop was closed with %d webhooks not acknowledged", open)
		}
	}
}
