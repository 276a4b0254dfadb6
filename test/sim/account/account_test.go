package account_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger is a system that counts what took effect, by the last part of the path.
type ledger struct {
	mu      sync.Mutex
	effects map[string]int
}

func newLedger() *ledger { return &ledger{effects: make(map[string]int)} }

func (l *ledger) Classify(r *http.Request, _ []byte) (operation, key string) {
	return strings.ToLower(r.Method), strings.TrimPrefix(r.URL.Path, "/")
}

func (l *ledger) Serve(c account.Call, _ *http.Request, body []byte) account.Reply {
	l.mu.Lock()
	defer l.mu.Unlock()
	if string(body) == "bad" {
		return account.Reply{Status: http.StatusBadRequest}
	}
	l.effects[c.Key]++
	reply := account.JSON(http.StatusOK, "application/json", map[string]string{"key": c.Key})
	reply.Write = c.Key != "read"
	return reply
}

func (l *ledger) Refuse(reason account.Reason) account.Reply {
	status := map[account.Reason]int{
		account.InMaintenance: 503, account.InjectedUnavailable: 503, account.InjectedServerError: 500,
	}[reason]
	if status == 0 {
		status = http.StatusTooManyRequests
	}
	return account.Reply{Status: status, Body: fmt.Appendf(nil, "reason %d", reason)}
}

func (l *ledger) effect(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.effects[key]
}

func newFront(t testing.TB, system account.System, cfg account.Config) *account.Front {
	t.Helper()
	f, err := account.New(system, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func call(f *account.Front, key string) int {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/"+key, strings.NewReader("{}")))
	return w.Code
}

func perMinute(n int) []account.Window {
	return []account.Window{{Name: "per-minute", Calls: n, Per: jsontime.Duration(time.Minute)}}
}

func TestRollingWindowCountsEveryArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFront(t, newLedger(), account.Config{Limits: perMinute(3)})
		for i := range 3 {
			if got := call(f, fmt.Sprint(i)); got != 200 {
				t.Errorf("call %d = %d", i, got)
			}
			time.Sleep(20 * time.Second)
		}
		// The window is closed: the first arrival, exactly a minute ago, still counts.
		if got := call(f, "x"); got != 429 {
			t.Errorf("fourth call within a minute = %d, want 429", got)
		}
		time.Sleep(time.Nanosecond)
		if got := call(f, "y"); got != 429 {
			t.Errorf("call = %d, want 429: the refused call counts too", got)
		}
		time.Sleep(time.Minute + 1)
		if got := call(f, "z"); got != 200 {
			t.Errorf("call after a quiet minute = %d, want 200", got)
		}
		r := f.Report()
		if r.Limits[0].Largest != 4 || r.Throttled != 2 || r.Calls != 6 || r.ByOutcome["throttled"] != 2 {
			t.Errorf("report %+v", r)
		}
	})
}

// The front must refuse exactly when the brute-force count over its own log says so.
func TestRefusesExactlyWhatTheLogSays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(1, 6).Draw(rt, "limit")
		gaps := rapid.SliceOfN(rapid.IntRange(0, 30), 1, 40).Draw(rt, "gaps")
		synctest.Test(t, func(t *testing.T) {
			f := newFront(t, newLedger(), account.Config{Limits: perMinute(limit)})
			for _, gap := range gaps {
				time.Sleep(time.Duration(gap) * time.Second)
				status := call(f, "k")
				log := f.Arrivals().Snapshot()
				last := log[len(log)-1].At
				count := 0
				for _, a := range log {
					if last-a.At <= time.Minute {
						count++
					}
				}
				if over := count > limit; over != (status == 429) {
					rt.Fatalf("%d arrivals in a minute under a limit of %d were answered %d", count, limit, status)
				}
			}
		})
	})
}

func TestPenaltyBlocksForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFront(t, newLedger(), account.Config{Limits: perMinute(1), Penalty: jsontime.Duration(2 * time.Hour)})
		call(f, "a")
		if got := call(f, "b"); got != 429 {
			t.Fatalf("second call = %d", got)
		}
		time.Sleep(2*time.Hour - time.Second)
		if got := call(f, "c"); got != 429 {
			t.Errorf("a second before the penalty ends = %d, want 429", got)
		}
		time.Sleep(time.Minute + 2*time.Second)
		if got := call(f, "d"); got != 200 {
			t.Errorf("after the penalty = %d, want 200", got)
		}
		if r := f.Report(); r.Penalties != 1 || r.Throttled != 2 {
			t.Errorf("penalties %d, throttled %d; want 1 and 2", r.Penalties, r.Throttled)
		}
	})
}

func TestConcurrencyCountsCallsInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFront(t, newLedger(), account.Config{
			Concurrency: 2, Latency: faults.Latency{Distribution: faults.Fixed, Min: jsontime.Duration(time.Second)},
		})
		var wg sync.WaitGroup
		statuses := make([]int, 3)
		for i := range statuses {
			wg.Go(func() { statuses[i] = call(f, "k") })
		}
		wg.Wait()
		throttled := 0
		for _, s := range statuses {
			if s == 429 {
				throttled++
			}
		}
		if r := f.Report(); throttled != 1 || r.Concurrency.Largest != 3 || r.Throttled != 1 {
			t.Errorf("statuses %v, report %+v", statuses, r.Concurrency)
		}
		if got := call(f, "later"); got != 200 {
			t.Errorf("later call = %d", got)
		}
	})
}

func TestMaintenanceEndsByItselfAndIsLeftOutOfTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFront(t, newLedger(), account.Config{})
		start := time.Now()
		for range 11 {
			call(f, "k")
			time.Sleep(time.Second)
		}
		if err := f.StartMaintenance(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		if err := f.StartMaintenance(time.Second); err == nil {
			t.Error("maintenance starts twice")
		}
		for range 20 { // probes twice a second
			if got := call(f, "probe"); got != 503 {
				t.Fatalf("in maintenance = %d", got)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if got := call(f, "read"); got != 200 {
			t.Fatalf("after maintenance = %d", got)
		}
		time.Sleep(300 * time.Millisecond) // the read does not end it, the write does
		for range 11 {
			call(f, "k")
			time.Sleep(time.Second)
		}
		m := f.Report().Maintenance[0]
		if m.End == nil || m.End.Sub(m.Start) != 10*time.Second || m.FirstAcceptedAfterMs == nil || *m.FirstAcceptedAfterMs != 300 {
			t.Errorf("maintenance %+v", m)
		}
		if got := f.Rate(start, time.Now().Add(-time.Second)); got < 59.9 || got > 63.1 {
			t.Errorf("rate = %.2f a minute, want about 60", got)
		}
		if err := f.StopMaintenance(); err == nil {
			t.Error("maintenance that is over can be stopped")
		}
	})
}

func TestLateCommitTakesEffectMinutesAfterTheCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		f := newFront(t, l, account.Config{Faults: []faults.Rule{{
			Kind: faults.CutCommitLater, Keys: []string{"late"}, Delay: jsontime.Duration(8 * time.Minute),
		}}})
		func() {
			defer func() {
				if cause, _ := recover().(error); !errors.Is(cause, http.ErrAbortHandler) { // a recorder has no connection to cut
					t.Error("the connection was not cut")
				}
			}()
			call(f, "late")
		}()
		time.Sleep(8*time.Minute - time.Second)
		if got := l.effect("late"); got != 0 {
			t.Errorf("%d effects before the delay", got)
		}
		time.Sleep(2 * time.Second)
		if got := l.effect("late"); got != 1 {
			t.Errorf("%d effects after the delay, want 1", got)
		}
		if r := f.Report(); r.LateCommits != 1 || r.ByOutcome["cut"] != 1 || r.Faults["cutCommitLater"] != 1 {
			t.Errorf("report %+v", r)
		}
	})
}

func TestOutcomesFollowTheReply(t *testing.T) {
	f := newFront(t, newLedger(), account.Config{Faults: []faults.Rule{
		{Kind: faults.Throttle, Keys: []string{"t"}, RetryAfter: "2.0"}, {Kind: faults.ThrottleHTML, Keys: []string{"h"}},
		{Kind: faults.ThrottleInBody, Keys: []string{"b"}}, {Kind: faults.PageForReply, Keys: []string{"p"}},
		{Kind: faults.Unavailable, Keys: []string{"u"}}, {Kind: faults.ServerError, Keys: []string{"e"}},
	}})
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/t", nil))
	if w.Code != 429 || w.Header().Get("Retry-After") != "2.0" {
		t.Errorf("throttle = %d with Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	for key, want := range map[string]int{"h": 429, "b": 429, "p": 200, "u": 503, "e": 500, "ok": 200} {
		if got := call(f, key); got != want {
			t.Errorf("%s = %d, want %d", key, got, want)
		}
	}
	w = httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/x", strings.NewReader("bad")))
	r := f.Report()
	for outcome, want := range map[arrivals.Outcome]int{
		arrivals.Throttled: 3, arrivals.Unavailable: 3, arrivals.Accepted: 1, arrivals.Refused: 1,
	} {
		if got := r.ByOutcome[outcome.String()]; got != want {
			t.Errorf("%s = %d, want %d", outcome, got, want)
		}
	}
	if r.Throttled != 0 {
		t.Errorf("injected throttles count as %d breaches of a limit", r.Throttled)
	}
}

// What a reply asked for is in the log, in whatever form it was asked.
func TestWhatRepliesAskForIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond) // a date is up to the next whole second
		f := newFront(t, newLedger(), account.Config{
			Latency: faults.Latency{Distribution: faults.Fixed, Min: jsontime.Duration(100 * time.Millisecond)},
			Faults: []faults.Rule{
				{Kind: faults.Throttle, RetryAfter: "2", Calls: []int{1}}, {Kind: faults.UnavailableHTML, RetryAfter: "1.5", Calls: []int{1}},
				{Kind: faults.Throttle, RetryDate: jsontime.Duration(2 * time.Second), Calls: []int{1}}, {Kind: faults.Throttle, Calls: []int{1}},
			},
		})
		var asked []time.Duration
		for i, want := range []int{429, 503, 429, 429, 200} {
			if got := call(f, "k"); got != want {
				t.Errorf("call %d = %d, want %d", i, got, want)
			}
		}
		for _, a := range f.Arrivals().Snapshot() {
			asked = append(asked, a.Asked)
			if a.Asked > 0 && a.Answered-a.At != 100*time.Millisecond {
				t.Errorf("answered %v after the arrival, want 100ms", a.Answered-a.At)
			}
		}
		// At 0.6 s of a second, 2 s on and up to a whole one.
		if want := []time.Duration{2 * time.Second, 1500 * time.Millisecond, 2400 * time.Millisecond, 0, 0}; !slices.Equal(asked, want) {
			t.Errorf("asked for %v, want %v", asked, want)
		}
		if got := f.FaultsByRule(); !slices.Equal(got, []int{1, 1, 1, 1}) {
			t.Errorf("faults by rule %v", got)
		}
	})
}

func TestWrongConfigurationIsRefused(t *testing.T) {
	for wanted, cfg := range map[string]account.Config{
		"name":        {Limits: []account.Window{{Calls: 1, Per: 1}}},
		"per":         {Limits: []account.Window{{Name: "x", Calls: 1}}},
		"calls":       {Limits: []account.Window{{Name: "x", Calls: -1, Per: 1}}},
		"concurrency": {Concurrency: -1},
		"kind":        {Faults: []faults.Rule{{Kind: "?"}}},
	} {
		if _, err := account.New(newLedger(), cfg); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("New(%+v) = %v, want an error about %q", cfg, err, wanted)
		}
	}
}

// The judge has to keep up with a thousand calls a second for minutes; this says how many it takes after 300,000.
func BenchmarkFront(b *testing.B) {
	f := newFront(b, newLedger(), account.Config{
		Limits: []account.Window{
			{Name: "per-second", Calls: 1 << 30, Per: jsontime.Duration(time.Second)},
			{Name: "per-minute", Calls: 1 << 30, Per: jsontime.Duration(time.Minute)},
		},
		Faults: []faults.Rule{{Kind: faults.Slow, Probability: 1e-9}},
	})
	for range 300_000 {
		f.Arrivals().Settle(f.Arrivals().Arrive(), arrivals.Accepted)
	}
	b.ResetTimer()
	for i := range b.N {
		call(f, strconv.Itoa(i))
	}
}
