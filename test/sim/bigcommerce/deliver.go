package bigcommerce

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what the real store calls the hash of an event
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/outbox"
)

// eventBody is a webhook: thin, so that the order is to be fetched. Hash is documented as the SHA-1 of the payload in JSON,
// without saying of which parts; here it is of everything else in the body. So two events of one scope about one order in
// one second have one hash, and so have the webhooks of one event and their repetitions.
type eventBody struct {
	Producer  string    `json:"producer"`
	Hash      string    `json:"hash,omitempty"`
	CreatedAt int64     `json:"created_at"`
	StoreID   string    `json:"store_id"`
	Scope     string    `json:"scope"`
	Data      eventData `json:"data"`
}

type eventData struct {
	Type   string        `json:"type"`
	ID     int64         `json:"id"`
	Status *statusChange `json:"status,omitempty"`
}

type statusChange struct {
	PreviousStatusID int `json:"previous_status_id"`
	NewStatusID      int `json:"new_status_id"`
}

// event is one webhook: one event to one hook. The store's lock guards what changes.
type event struct {
	hook         int64
	id           string
	hash, scope  string
	order        *record
	revision     int
	body         []byte
	destination  string
	headers      map[string]string
	at           time.Time
	attempts     int
	failures     int // attempts that failed and times that the domain was blocked
	acknowledged time.Time
	status       int
	problem      string
	givenUp      bool
}

// domain is what the blocklist knows of one host.
type domain struct {
	outcomes     []outcome
	blockedUntil time.Time
}

type outcome struct {
	at time.Time
	ok bool
}

// trigger queues the webhooks of an event; it needs the lock.
func (s *Store) trigger(r *record, scope string, data eventData) {
	now := time.Now()
	body := eventBody{Producer: "stores/" + s.cfg.Hash, CreatedAt: now.Unix(), StoreID: s.cfg.StoreID, Scope: scope, Data: data}
	sum := sha1.Sum(encode(body)) //nolint:gosec // as above
	body.Hash = hex.EncodeToString(sum[:])
	encoded := encode(body)
	for _, h := range s.hooks {
		if !h.matches(scope) {
			continue
		}
		if !h.IsActive || now.Before(h.works) {
			s.outbox.CountUndelivered()
			continue
		}
		fate := s.outbox.Fate(scope, fmt.Sprintf("%d %d", r.ID, r.Revision))
		if fate.Dropped {
			continue
		}
		s.events++
		e := &event{
			hook: h.ID, id: "msg_" + outbox.Identifier(s.cfg.Hash, "event", s.events), hash: body.Hash, scope: scope, order: r,
			revision: r.Revision, body: encoded, destination: h.Destination, headers: h.Headers, at: now,
		}
		s.log = append(s.log, e)
		s.queue(e, fate)
	}
}

func (s *Store) queue(e *event, fate faults.Fate) {
	s.open.Open()
	s.untried.Open()
	s.outbox.EnqueueAfter(fate.Delay, func() {
		defer s.untried.Settle()
		s.attempt(e)
		if fate.Twice {
			status, took, err := s.post(e)
			if !s.outbox.Closed() {
				s.outbox.CountRepeat(outbox.Attempt{Status: status, Err: err, Took: took, OK: err == nil && status == http.StatusOK})
			}
		}
	})
}

// attempt sends the webhook once, unless its domain is blocked; a failure schedules the next attempt.
func (s *Store) attempt(e *event) {
	host := hostOf(e.destination)
	s.mu.Lock()
	h := s.hookByID(e.hook)
	switch {
	case h == nil || !h.IsActive: // deactivated or deleted while the webhook was waiting
		s.giveUp(e)
		s.mu.Unlock()
		return
	case time.Now().Before(s.domain(host).blockedUntil):
		s.tally.blocked++
		s.fail(e)
		s.mu.Unlock()
		return
	}
	retry := e.attempts > 0
	e.attempts++
	s.mu.Unlock()

	status, took, err := s.post(e)
	if s.outbox.Closed() {
		return
	}
	attempt := outbox.Attempt{Status: status, Err: err, Took: took, OK: err == nil && status == http.StatusOK, Retry: retry}
	s.outbox.CountAttempt(attempt)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judge(host, attempt.OK)
	h.attempts++
	e.status, e.problem = status, ""
	if attempt.OK {
		h.delivered++
		e.acknowledged = time.Now()
		e.order.Told = max(e.order.Told, e.revision)
		s.open.Settle()
		return
	}
	h.failures++
	if err != nil {
		e.problem = err.Error()
	}
	s.fail(e)
}

// fail schedules the next attempt or gives up, which deactivates the webhook; it needs the lock.
func (s *Store) fail(e *event) {
	if e.failures == len(s.cfg.Retries) {
		if h := s.hookByID(e.hook); h != nil && h.IsActive {
			h.IsActive, h.UpdatedAt = false, time.Now().Unix()
			s.tally.deactivated++
		}
		s.giveUp(e)
		return
	}
	wait := s.cfg.Retries[e.failures].Std()
	e.failures++
	s.outbox.EnqueueAfter(wait, func() { s.attempt(e) })
}

// giveUp needs the lock.
func (s *Store) giveUp(e *event) {
	e.givenUp = true
	s.outbox.CountGivenUp()
	s.open.Settle()
}

// domain needs the lock.
func (s *Store) domain(host string) *domain {
	if s.domains[host] == nil {
		s.domains[host] = &domain{}
	}
	return s.domains[host]
}

// judge counts an outcome for the domain and blocks it if too many failed; it needs the lock. The documentation counts no
// response as a failure and a 2xx as a success; what it says of other answers can be read either way, and here they are
// failures.
func (s *Store) judge(host string, ok bool) {
	b, d, now := s.cfg.Blocklist, s.domain(host), time.Now()
	d.outcomes = append(d.outcomes, outcome{now, ok})
	for now.Sub(d.outcomes[0].at) > b.Window.Std() {
		d.outcomes = d.outcomes[1:]
	}
	if b.Minimum < 0 || len(d.outcomes) < b.Minimum {
		return
	}
	good := 0
	for _, o := range d.outcomes {
		if o.ok {
			good++
		}
	}
	if float64(good)/float64(len(d.outcomes)) < b.Ratio {
		d.blockedUntil, d.outcomes = now.Add(b.For.Std()), nil
	}
}

func hostOf(destination string) string {
	u, err := url.Parse(destination)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// post makes one request. It is signed as Standard Webhooks are, with the client secret as it stands for the key, and the
// time is that of the attempt. What stands in webhook-id is not documented; here it stays the same over repetitions.
func (s *Store) post(e *event) (status int, took time.Duration, err error) {
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(s.cfg.ClientSecret))
	fmt.Fprintf(mac, "%s.%s.%s", e.id, timestamp, e.body)
	header := make(http.Header)
	for name, value := range e.headers {
		header.Set(name, value)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "BigCommerce-Webhooks", "webhook-id": e.id, "webhook-timestamp": timestamp,
		"webhook-signature": "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)),
	} {
		header.Set(name, value)
	}
	return s.outbox.Post(e.destination, header, e.body, s.cfg.Timeout.Std())
}

func encode(value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("simulator: %T cannot be JSON: %v", value, err)) // a defect of the simulator
	}
	return encoded
}

// Delivery is one webhook in the log.
type Delivery struct {
	Webhook      int64      `json:"webhook"`
	ID           string     `json:"id"`
	Hash         string     `json:"hash"`
	Scope        string     `json:"scope"`
	Order        int64      `json:"order"`
	At           time.Time  `json:"at"`
	Attempts     int        `json:"attempts"`
	Acknowledged *time.Time `json:"acknowledged,omitempty"`
	Status       int        `json:"status,omitempty"`
	Problem      string     `json:"problem,omitempty"`
	GivenUp      bool       `json:"givenUp,omitempty"`
}

// Deliveries returns the log of all webhooks in the order in which they were made.
func (s *Store) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Delivery, 0, len(s.log))
	for _, e := range s.log {
		d := Delivery{
			Webhook: e.hook, ID: e.id, Hash: e.hash, Scope: e.scope, Order: e.order.ID, At: e.at, Attempts: e.attempts,
			Status: e.status, Problem: e.problem, GivenUp: e.givenUp,
		}
		if at := e.acknowledged; !at.IsZero() {
			d.Acknowledged = &at
		}
		all = append(all, d)
	}
	return all
}

// WaitTried returns when every webhook was tried once, or with the error of the context.
func (s *Store) WaitTried(ctx context.Context) error { return s.untried.Wait(ctx) }

// WaitDelivered returns when every webhook is acknowledged or given up, or with the error of the context.
func (s *Store) WaitDelivered(ctx context.Context) error { return s.open.Wait(ctx) }
