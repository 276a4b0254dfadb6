// Package outbox is what the simulated shops send their webhooks with: a client that follows no redirect and never sends
// a request again by itself, a queue with a few workers, waits that end with the shop, and the count of what became of it.
// What is sent, when again, and what counts as success is up to the shop.
package outbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/peppasync/peppasync/test/sim/faults"
)

// Config of an outbox.
type Config struct {
	// Workers is how many queued jobs are in progress at once.
	Workers int
	// ConnectTimeout bounds the making of a connection.
	ConnectTimeout time.Duration
	// KeepAlive lets requests share connections.
	KeepAlive bool
	Mishaps   faults.Mishaps
}

// Outbox sends webhooks in the background. Make it with New, stop it with Close.
type Outbox struct {
	cfg    Config
	client *http.Client
	ctx    context.Context //nolint:containedctx // the life of the outbox, which ends with Close and not with a call
	cancel context.CancelFunc

	mu      sync.Mutex
	work    sync.WaitGroup
	closed  bool
	queue   []func()
	workers int
	mishaps faults.Mishaps
	tally   tally
}

// New returns an outbox, or an error that names what is wrong with the mishaps.
func New(cfg Config) (*Outbox, error) {
	if err := cfg.Mishaps.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: cfg.ConnectTimeout}).DialContext,
		TLSHandshakeTimeout: cfg.ConnectTimeout, DisableCompression: true, DisableKeepAlives: !cfg.KeepAlive,
		MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, IdleConnTimeout: time.Minute,
	}
	return &Outbox{
		cfg: cfg, ctx: ctx, cancel: cancel, mishaps: cfg.Mishaps, tally: newTally(),
		client: &http.Client{
			Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close ends waits and requests and returns when nothing is in progress any more. Queued jobs are given up.
func (o *Outbox) Close() {
	o.mu.Lock()
	o.closed, o.queue = true, nil
	o.mu.Unlock()
	o.cancel()
	o.work.Wait()
	o.client.CloseIdleConnections()
}

// Closed says whether Close was called: what a request says then is no answer of the receiver.
func (o *Outbox) Closed() bool { return o.ctx.Err() != nil }

// SetMishaps replaces what goes wrong with the webhooks that are made from now on.
func (o *Outbox) SetMishaps(m faults.Mishaps) error {
	if err := m.Validate(); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mishaps = m
	return nil
}

// Fate decides what becomes of one webhook, and counts it.
func (o *Outbox) Fate(topic, id string) faults.Fate {
	o.mu.Lock()
	defer o.mu.Unlock()
	fate := o.mishaps.Fate(topic, id)
	o.tally.fate(fate)
	return fate
}

// Run starts f in the background unless the outbox is closed.
func (o *Outbox) Run(f func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.work.Go(f)
	return true
}

// Enqueue appends a job to the queue. Jobs start in their order.
func (o *Outbox) Enqueue(job func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.queue = append(o.queue, job)
	if o.workers < o.cfg.Workers {
		o.workers++
		o.work.Go(o.drain)
	}
}

// EnqueueAfter appends a job to the queue after a while.
func (o *Outbox) EnqueueAfter(delay time.Duration, job func()) {
	if delay <= 0 {
		o.Enqueue(job)
		return
	}
	o.Run(func() {
		if o.Sleep(delay) {
			o.Enqueue(job)
		}
	})
}

func (o *Outbox) drain() {
	for {
		o.mu.Lock()
		if len(o.queue) == 0 {
			o.workers--
			o.mu.Unlock()
			return
		}
		job := o.queue[0]
		o.queue[0], o.queue = nil, o.queue[1:]
		o.mu.Unlock()
		job()
	}
}

// Identifier has the form of a UUID and depends on its arguments only.
func Identifier(shop, kind string, n int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", shop, kind, n))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// IsTarget says whether webhooks can go there: to an http or https URL.
func IsTarget(target string) bool {
	u, err := url.Parse(target)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// Sleep waits and says whether the outbox is still open.
func (o *Outbox) Sleep(wait time.Duration) bool {
	if wait <= 0 {
		return o.ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-o.ctx.Done():
		return false
	}
}

// Post makes one request and returns the status, or 0 and the error. The time for all of it, reading the reply included,
// is bounded.
func (o *Outbox) Post(target string, header http.Header, body []byte, timeout time.Duration) (status int, took time.Duration, err error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(o.ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return 0, 0, err
	}
	// Without GetBody the transport cannot quietly send the request again; every attempt is one that is counted.
	request.GetBody = nil
	request.Header = header
	response, err := o.client.Do(request)
	if err != nil {
		return 0, time.Since(begin), err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) //nolint:errcheck // the status is the answer
	return response.StatusCode, time.Since(begin), nil
}
