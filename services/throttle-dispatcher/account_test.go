package throttledispatcher_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// arrival is one request as the external system saw it.
type arrival struct {
	at     time.Time
	method string
	path   string
	body   string
	key    string // the idempotency key
	status int
}

// account is the external system. It records when each request came and what was
// in it: the judge.
type account struct {
	*httptest.Server
	// reply, if set, answers in place of 201; header and body are the request's
	// to write. Called one at a time.
	mu       sync.Mutex
	reply    func(w http.ResponseWriter, r *http.Request, body string) (status int)
	delay    time.Duration
	held     func()
	arrivals []arrival
	now      int
	most     int
}

func newAccount(t testing.TB) *account {
	t.Helper()
	a := &account{}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

func (a *account) serve(w http.ResponseWriter, r *http.Request) {
	seen := arrival{at: time.Now(), method: r.Method, path: r.URL.Path, key: r.Header.Get("Idempotency-Key"), status: http.StatusCreated}
	a.mu.Lock()
	a.now++
	a.most = max(a.most, a.now)
	delay, held := a.delay, a.held
	a.mu.Unlock()
	data, _ := io.ReadAll(r.Body)
	seen.body = string(data)
	if delay > 0 {
		<-time.After(delay)
	}
	if held != nil {
		held()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now--
	var reply bytes.Buffer
	buffered := &buffer{ResponseWriter: w, body: &reply}
	if a.reply != nil {
		seen.status = a.reply(buffered, r, seen.body)
	}
	a.arrivals = append(a.arrivals, seen)
	w.WriteHeader(seen.status)
	_, _ = w.Write(reply.Bytes())
}

// buffer keeps a body until the status is known.
type buffer struct {
	http.ResponseWriter
	body *bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { return b.body.Write(p) }

// answer changes what the system replies; nil for 201 to everything.
func (a *account) answer(how func(w http.ResponseWriter, r *http.Request, body string) (status int)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reply = how
}

// setDelay makes every reply take that long.
func (a *account) setDelay(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.delay = d
}

// hold calls wait before each reply.
func (a *account) hold(wait func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = wait
}

// status is an answer that is always the same.
func status(code int) func(http.ResponseWriter, *http.Request, string) int {
	return func(http.ResponseWriter, *http.Request, string) int { return code }
}

// seen returns the requests so far, in the order in which they came.
func (a *account) seen() []arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := append([]arrival(nil), a.arrivals...)
	sortByTime(all)
	return all
}

// at returns those for one path.
func (a *account) on(path string) []arrival {
	var found []arrival
	for _, one := range a.seen() {
		if one.path == path {
			found = append(found, one)
		}
	}
	return found
}

// under returns how many requests are under way.
func (a *account) under() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

// atOnce returns the most requests that were under way at the same time.
func (a *account) atOnce() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.most
}

// accepted returns how many requests got a 2xx.
func (a *account) accepted() int {
	n := 0
	for _, one := range a.seen() {
		if one.status < 300 {
			n++
		}
	}
	return n
}

// within demands that no closed window of that length holds more than calls.
func (a *account) within(t testing.TB, calls int, per time.Duration) {
	t.Helper()
	if most := largestWindow(a.seen(), per); most > calls {
		t.Errorf("%d calls arrived within %v, the limit is %d", most, per, calls)
	}
}

// largestWindow returns the most arrivals in any closed window of this length.
func largestWindow(arrivals []arrival, per time.Duration) int {
	most, first := 0, 0
	for last := range arrivals {
		for arrivals[last].at.Sub(arrivals[first].at) > per {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

func sortByTime(arrivals []arrival) {
	for i := 1; i < len(arrivals); i++ {
		for j := i; j > 0 && arrivals[j].at.Before(arrivals[j-1].at); j-- {
			arrivals[j], arrivals[j-1] = arrivals[j-1], arrivals[j]
		}
	}
}

// logs keeps what was logged, and shows it with the test.
type logs struct {
	out  io.Writer
	mu   sync.Mutex
	text []string
}

// Enabled is part of slog.Handler.
func (l *logs) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle is part of slog.Handler.
func (l *logs) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(r.Time.Format("15:04:05.000 ") + r.Level.String() + " " + r.Message)
	r.Attrs(func(a slog.Attr) bool {
		line.WriteString(" " + a.String())
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, line.String())
	_, err := io.WriteString(l.out, line.String()+"\n")
	return err
}

// WithAttrs is part of slog.Handler.
func (l *logs) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup is part of slog.Handler.
func (l *logs) WithGroup(string) slog.Handler { return l }

// with returns the lines that hold a text.
func (l *logs) with(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.text {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}
