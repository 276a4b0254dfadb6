package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/ingest/internal/groupcommit"
	"github.com/peppasync/peppasync/services/ingest/internal/keep"
	"github.com/peppasync/peppasync/services/ingest/internal/recent"
	"github.com/peppasync/peppasync/services/internal/notice"
	"github.com/peppasync/peppasync/services/internal/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	newSecret = "the-new-secret"
	oldSecret = "the-old-secret"
	maxBody   = 64 << 10
	memory    = 1 << 20
)

// disk is where events end up: what Commit returned nil for is on it.
type disk struct {
	mu     sync.Mutex
	events [][]byte
	// packs are how many events were stored at once.
	packs []int
	// commit may fail or take its time; nil stores at once.
	commit func(ctx context.Context) error
	// refuse is part of the events that fail; none where it is empty.
	refuse string
}

func (d *disk) Commit(until time.Time, events ...[]byte) error {
	if d.commit != nil {
		ctx, cancel := context.WithDeadline(context.Background(), until)
		defer cancel()
		if err := d.commit(ctx); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, event := range events {
		if d.refuse != "" && bytes.Contains(event, []byte(d.refuse)) {
			return errors.New("no answer")
		}
	}
	for _, event := range events {
		d.events = append(d.events, bytes.Clone(event))
	}
	d.packs = append(d.packs, len(events))
	return nil
}

// stored returns what is on the disk.
func (d *disk) stored(t testing.TB) []*eventv1.Event {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	events := make([]*eventv1.Event, len(d.events))
	for i, data := range d.events {
		events[i] = new(eventv1.Event)
		if err := proto.Unmarshal(data, events[i]); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

// handler returns a handler that stores on d.
func handler(d keep.Committer) *Handler {
	shop := &v1alpha1.Connector{}
	shop.Name = "shop"
	shop.Spec.System = v1alpha1.SystemShopify
	shop.Spec.Webhook = &v1alpha1.Webhook{SecretRef: v1alpha1.SecretReference{Name: "shop"}, MaxBodyBytes: maxBody}
	known := map[string]*v1alpha1.Connector{"shop": shop}
	return handlerOf(d, func() map[string]*v1alpha1.Connector { return known })
}

// counts of a handler and its keeper.
type counts struct{ Stored, Duplicates, Refused, Postponed uint64 }

func (h *Handler) counted() counts {
	stored, duplicates := h.config.Keeper.Stored()
	refused, postponed := h.Counts()
	return counts{stored, duplicates, refused, postponed}
}

// handlerOf returns a handler that knows these connectors.
func handlerOf(d keep.Committer, known func() map[string]*v1alpha1.Connector) *Handler {
	return New(Config{
		Keeper: keep.New(keep.Config{
			Connectors:    known,
			Committer:     d,
			Recent:        recent.New(1000, time.Hour),
			Memory:        keep.NewMemory(memory),
			Notices:       notice.New(slog.New(slog.DiscardHandler), time.Second),
			MaxRequests:   100,
			MaxEventBytes: 1 << 20,
		}),
		Sources: systems.Sources(),
		Secrets: secrets.Environment([]string{
			"PEPPASYNC_SECRET_SHOP_SECRET=" + newSecret, "PEPPASYNC_SECRET_SHOP_PREVIOUS_SECRET=" + oldSecret,
		}),
		Tracer:    noop.NewTracerProvider().Tracer("test"),
		Latency:   metricnoop.Float64Histogram{},
		MaxEvents: 100,
		Patience:  3 * time.Second,
	})
}

func sign(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// delivery is a request that is in order.
func delivery(ctx context.Context, id string, body []byte) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, Path+"shop", bytes.NewReader(body))
	r.Header.Set("X-Shopify-Topic", "orders/create")
	r.Header.Set("X-Shopify-Webhook-Id", id)
	r.Header.Set("X-Shopify-Hmac-Sha256", sign(newSecret, body))
	return r
}

// serve returns the status and the kind of the problem.
func serve(h *Handler, r *http.Request) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var problem struct {
		Type string `json:"type"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &problem) // empty for 200
	return w.Code, strings.TrimPrefix(problem.Type, problemBase)
}

func TestHeadersAndSecretsInBothForms(t *testing.T) {
	body := []byte(`{"id":1}`)
	for name, test := range map[string]struct {
		prefix, key string
		status      int
	}{
		"webhook headers, new secret":      {"X-Shopify-", newSecret, 200},
		"webhook headers, previous secret": {"X-Shopify-", oldSecret, 200},
		"event headers, new secret":        {"Shopify-", newSecret, 200},
		"event headers, previous secret":   {"Shopify-", oldSecret, 200},
		"lower case":                       {"x-shopify-", newSecret, 200},
		"another secret":                   {"X-Shopify-", "guess", 401},
		"no secret":                        {"X-Shopify-", "", 401},
		"another vendor's headers":         {"X-Shop-", newSecret, 401},
	} {
		t.Run(name, func(t *testing.T) {
			d := new(disk)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path+"shop", bytes.NewReader(body))
			r.Header.Set(test.prefix+"Topic", "orders/create")
			r.Header.Set(test.prefix+"Webhook-Id", "w1")
			r.Header.Set(test.prefix+"Hmac-Sha256", sign(test.key, body))
			status, _ := serve(handler(d), r)
			events := d.stored(t)
			if status != test.status || len(events) != map[int]int{200: 1, 401: 0}[status] {
				t.Fatalf("status %d, want %d; %d events are stored", status, test.status, len(events))
			}
			if status == 200 && (events[0].GetId() != "w1" || events[0].GetTopic() != "orders/create") {
				t.Errorf("stored %v", events[0])
			}
		})
	}
}

// Why something was not stored decides when the sender is to come again.
func TestWhatSendersAreToldWhenNothingCanBeStored(t *testing.T) {
	for name, test := range map[string]struct {
		err        error
		kind       string
		retryAfter string
	}{
		"too many wait":      {fmt.Errorf("wrapped: %w", groupcommit.ErrOverloaded), "overloaded", "2"},
		"its turn is late":   {groupcommit.ErrGaveUp, "overloaded", "2"},
		"it is stopping":     {groupcommit.ErrStopped, "stopping", "2"},
		"the bus is away":    {context.DeadlineExceeded, "not-stored", "2"},
		"whatever it may be": {errors.New("odd"), "not-stored", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &disk{commit: func(context.Context) error { return test.err }}
			h, w := handler(d), httptest.NewRecorder()
			h.ServeHTTP(w, delivery(t.Context(), "w1", []byte(`{}`)))
			if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), problemBase+test.kind+`"`) || w.Header().Get("Retry-After") != test.retryAfter {
				t.Errorf("status %d, %v, %s", w.Code, w.Header(), w.Body)
			}
			if c := h.counted(); c != (counts{Postponed: 1}) {
				t.Errorf("counts %+v", c)
			}
			// It is forgotten, and taken when there is room.
			d.commit = nil
			if status, _ := serve(h, delivery(t.Context(), "w1", []byte(`{}`))); status != 200 || len(d.stored(t)) != 1 {
				t.Errorf("status %d afterwards, %d are stored", status, len(d.stored(t)))
			}
		})
	}
}

func TestNothingIsRefusedForGoodBeforeTheCatalogIsKnown(t *testing.T) {
	h := handlerOf(new(disk), func() map[string]*v1alpha1.Connector { return nil })
	if status, kind := serve(h, delivery(t.Context(), "w1", []byte(`{}`))); status != 503 || kind != "no-catalog" {
		t.Errorf("status %d, %s", status, kind)
	}
	h = handlerOf(new(disk), func() map[string]*v1alpha1.Connector { return map[string]*v1alpha1.Connector{} })
	if status, kind := serve(h, delivery(t.Context(), "w1", []byte(`{}`))); status != 404 || kind != "unknown-connector" {
		t.Errorf("status %d, %s with an empty catalog", status, kind)
	}
}

// held is a disk whose writes end when the test says so, each with its outcome.
func held() (d *disk, begun chan struct{}, outcome chan error) {
	begun, outcome = make(chan struct{}, 10), make(chan error)
	return &disk{commit: func(ctx context.Context) error {
		begun <- struct{}{}
		select {
		case err := <-outcome:
			return err
		case <-ctx.Done():
			return groupcommit.ErrGaveUp
		}
	}}, begun, outcome
}

func TestARepetitionWaitsForTheOutcomeOfTheFirst(t *testing.T) {
	for name, test := range map[string]struct {
		outcome error
		status  int
		counts  counts
	}{
		"stored":     {nil, 200, counts{Stored: 1, Duplicates: 1}},
		"not stored": {errors.New("disk on fire"), 503, counts{Postponed: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, begun, outcome := held()
				h := handler(d)
				statuses := make(chan int, 2)
				for range 2 {
					go func() {
						status, _ := serve(h, delivery(t.Context(), "same", []byte(`{"id":1}`)))
						statuses <- status
					}()
				}
				<-begun
				synctest.Wait()
				if len(statuses) > 0 {
					t.Fatalf("answered %d before anything is stored", <-statuses)
				}
				if h.Working() != 2 {
					t.Errorf("%d requests are in work, want 2", h.Working())
				}
				outcome <- test.outcome
				for range 2 {
					if status := <-statuses; status != test.status {
						t.Errorf("status %d, want %d", status, test.status)
					}
				}
				if got := h.counted(); got != test.counts {
					t.Errorf("counts %+v, want %+v", got, test.counts)
				}
			})
		})
	}
}

func TestARepetitionDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{commit: func(context.Context) error {
			time.Sleep(time.Minute) // a writer that does not heed its deadline
			return nil
		}}
		h := handler(d)
		first := make(chan int)
		go func() {
			status, _ := serve(h, delivery(t.Context(), "same", []byte(`{"id":1}`)))
			first <- status
		}()
		synctest.Wait()
		begin := time.Now()
		status, kind := serve(h, delivery(t.Context(), "same", []byte(`{"id":1}`)))
		if took := time.Since(begin); status != 503 || kind != "slow" || took != h.config.Patience {
			t.Errorf("status %d, %s after %v", status, kind, took)
		}
		if status := <-first; status != 200 || len(d.stored(t)) != 1 {
			t.Errorf("the first gets status %d, %d are stored", status, len(d.stored(t)))
		}
	})
}

// A sender that hangs up does not take back what it delivered.
func TestASenderThatHangsUpIsStoredAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, begun, outcome := held()
		h := handler(d)
		ctx, hangUp := context.WithCancel(t.Context())
		first, second := make(chan int, 1), make(chan int, 1)
		go func() {
			status, _ := serve(h, delivery(ctx, "same", []byte(`{"id":1}`)))
			first <- status
		}()
		<-begun
		go func() {
			status, _ := serve(h, delivery(t.Context(), "same", []byte(`{"id":1}`)))
			second <- status
		}()
		synctest.Wait()
		hangUp()
		synctest.Wait()
		outcome <- nil
		if got := []int{<-first, <-second}; got[0] != 200 || got[1] != 200 || len(d.stored(t)) != 1 {
			t.Errorf("statuses %v, %d are stored", got, len(d.stored(t)))
		}
	})
}

func TestAWriteThatPanicsLeavesNothingBehind(t *testing.T) {
	d := &disk{commit: func(context.Context) error { panic("bug") }}
	h := handler(d)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is swallowed")
			}
		}()
		serve(h, delivery(t.Context(), "w1", []byte(`{}`)))
	}()
	d.commit = nil
	if status, _ := serve(h, delivery(t.Context(), "w1", []byte(`{}`))); status != 200 {
		t.Errorf("status %d afterwards", status)
	}
	atRest(t, h)
}

// atRest checks that nothing is held for requests that have ended.
func atRest(t testing.TB, h *Handler) {
	t.Helper()
	if left := h.config.Keeper.Memory().Left(); left != memory || h.Working() != 0 {
		t.Errorf("%d bytes of %d are free and %d requests in work after the last has ended", left, memory, h.Working())
	}
}

// chunks is a body in pieces, of no length that is known.
type chunks struct {
	parts [][]byte
	err   error
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.parts) == 0 {
		return 0, c.err
	}
	n := copy(p, c.parts[0])
	if c.parts[0] = c.parts[0][n:]; len(c.parts[0]) == 0 {
		c.parts = c.parts[1:]
	}
	return n, nil
}

func (c *chunks) Close() error { return nil }

func TestBodiesInPieces(t *testing.T) {
	body := append([]byte(`{"id":1}`), bytes.Repeat([]byte(" "), 40<<10)...)
	pieces := func(size int) [][]byte {
		var parts [][]byte
		for rest := body; len(rest) > 0; {
			n := min(size, len(rest))
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		return parts
	}
	for name, test := range map[string]struct {
		body   *chunks
		length int64
		status int
	}{
		"one by one":                {&chunks{pieces(1), io.EOF}, -1, 200},
		"in kilobytes":              {&chunks{pieces(1 << 10), io.EOF}, int64(len(body)), 200},
		"in one":                    {&chunks{pieces(len(body)), io.EOF}, -1, 200},
		"cut":                       {&chunks{pieces(1 << 10)[:3], io.ErrUnexpectedEOF}, int64(len(body)), 400},
		"a length that is too much": {&chunks{pieces(1 << 10), io.EOF}, maxBody + 1, 413},
		"a length of petabytes":     {&chunks{pieces(1 << 10), io.EOF}, 1 << 60, 413},
		"too much without a length": {&chunks{append(pieces(1<<10), bytes.Repeat([]byte(" "), maxBody)), io.EOF}, -1, 413},
	} {
		t.Run(name, func(t *testing.T) {
			d := new(disk)
			h, r := handler(d), delivery(t.Context(), "w1", body)
			r.Body, r.ContentLength = test.body, test.length
			status, kind := serve(h, r)
			if events := d.stored(t); status != test.status || (status == 200) != (len(events) == 1) {
				t.Errorf("status %d (%s), want %d; %d events are stored", status, kind, test.status, len(events))
			} else if status == 200 && !bytes.Equal(events[0].GetBody(), body) {
				t.Errorf("stored %d bytes, want %d as they came", len(events[0].GetBody()), len(body))
			}
			atRest(t, h)
		})
	}
}

// FuzzServeHTTP: whatever comes, there is no panic, a 2xx stands for a stored
// event with these very bytes, and everything else for none. A 503 says when to
// come again.
func FuzzServeHTTP(f *testing.F) {
	const hook, outOfOrder = Path + "shop", "\r\n: \x00\nX-Shopify-Topic\n"
	for _, headers := range []string{
		"X-Shopify-Topic: orders/create\nX-Shopify-Webhook-Id: w1\n", "Shopify-Topic: orders/paid\nShopify-Event-Id: e1\n",
		"X-Shopify-Topic: a b\n", "X-Shopify-Topic: orders/create\nX-Shopify-Webhook-Id: \xff\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\ntracestate: a=b\n",
		"", outOfOrder,
	} {
		for signer := range uint8(4) {
			f.Add("POST", hook, headers, []byte(`{"id":1}`), signer, false, uint8(0))
			f.Add("POST", hook, headers, []byte(`{"id":1}`), signer, true, uint8(1))
		}
	}
	f.Add("GET", hook, "", []byte(nil), uint8(1), false, uint8(0))
	f.Add("POST", Path, "", []byte("{}"), uint8(1), false, uint8(0))
	f.Add("POST", "/v1/webhooks/../x", "", []byte("{}"), uint8(1), false, uint8(0))
	f.Add("POST", hook, "X-Shopify-Topic: t\n", bytes.Repeat([]byte(" "), maxBody+1), uint8(1), true, uint8(0))
	f.Add("POST", hook, "X-Shopify-Topic: t\n", []byte("not JSON"), uint8(1), false, uint8(0))
	outcomes := []error{nil, groupcommit.ErrOverloaded, groupcommit.ErrStopped, errors.New("odd")}
	f.Fuzz(func(t *testing.T, method, path, headers string, body []byte, signer uint8, chunked bool, outcome uint8) {
		d := new(disk)
		if err := outcomes[int(outcome)%len(outcomes)]; err != nil {
			d.commit = func(context.Context) error { return err }
		}
		h := handler(d)
		for attempt := range 2 {
			r := (&http.Request{
				Method: method, URL: &url.URL{Path: path}, Header: headerOf(headers),
				Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
			}).WithContext(t.Context())
			if chunked {
				r.ContentLength = -1
			}
			if keys := []string{"", newSecret, oldSecret, "guess"}; signer%4 != 0 {
				r.Header.Set("X-Shopify-Hmac-Sha256", sign(keys[signer%4], body))
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			judge(t, w, d.stored(t), body, r)
			if attempt == 1 && w.Code == http.StatusOK && h.counted() != (counts{Stored: 1, Duplicates: 1}) {
				t.Errorf("a repetition makes counts %+v", h.counted())
			}
		}
		atRest(t, h)
	})
}

// judge compares an answer with what is stored.
func judge(t *testing.T, w *httptest.ResponseRecorder, events []*eventv1.Event, body []byte, r *http.Request) {
	t.Helper()
	switch w.Code {
	case http.StatusOK:
		if len(events) != 1 {
			t.Fatalf("200 with %d events stored", len(events))
		}
		e := events[0]
		if r.Method != http.MethodPost || r.URL.Path != Path+e.GetConnector() || !bytes.Equal(e.GetBody(), body) || !json.Valid(body) ||
			e.GetTopic() == "" || e.GetId() == "" || e.GetReceivedAt() == nil {
			t.Errorf("200 for %s %s, stored %v", r.Method, r.URL.Path, e)
		}
		if got := r.Header.Get("X-Shopify-Hmac-Sha256"); got == "" && r.Header.Get("Shopify-Hmac-Sha256") == "" {
			t.Error("200 without a signature")
		}
		return
	case 400, 401, 404, 405, 413, 503:
	default:
		t.Errorf("status %d", w.Code)
	}
	if len(events) != 0 {
		t.Errorf("status %d with %d events stored", w.Code, len(events))
	}
	var problem struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || problem.Status != w.Code || problem.Type == problemBase || problem.Title == "" || problem.Detail == "" ||
		w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) {
		t.Errorf("status %d, %v, %s (%v)", w.Code, w.Header(), w.Body, err)
	}
	seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
	if (w.Code == http.StatusServiceUnavailable) != (err == nil && seconds > 0) {
		t.Errorf("status %d with Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if (w.Code == http.StatusMethodNotAllowed) != (w.Header().Get("Allow") == http.MethodPost) {
		t.Errorf("status %d with Allow %q", w.Code, w.Header().Get("Allow"))
	}
	if text := w.Body.String(); strings.Contains(text, newSecret) || strings.Contains(text, oldSecret) {
		t.Errorf("the answer holds a secret: %s", text)
	}
}

// headerOf reads lines as a server would, and takes what a server would not let
// through too.
func headerOf(lines string) http.Header {
	header := make(http.Header)
	for line := range strings.SplitSeq(lines, "\n") {
		name, value, _ := strings.Cut(line, ":")
		header.Add(name, strings.TrimSpace(value))
	}
	return header
}
