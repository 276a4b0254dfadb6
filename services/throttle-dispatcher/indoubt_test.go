package throttledispatcher_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// fate is what becomes of a write that the books take.
type fate struct {
	// cut: the connection is cut without a reply.
	cut bool
	// never: nothing is written.
	never bool
	// late is how long after the cut the write takes effect.
	late time.Duration
}

// books are an external system that keeps what it is sent, and doubles what it is
// sent twice: POST writes a new entry, PUT one in the place of that before it, GET
// looks for them.
type books struct {
	t       *testing.T
	account *account

	mu      sync.Mutex
	entries map[string][]string // by path, what was written, oldest first
	fates   []fate              // of the next writes
	writes  []arrival
	looks   []arrival
	late    sync.WaitGroup
}

// keepBooks makes the world's external system keep books.
func (w *world) keepBooks(t *testing.T, fates ...fate) *books {
	t.Helper()
	b := &books{t: t, account: w.account, entries: map[string][]string{}, fates: fates}
	w.account.answer(b.serve)
	t.Cleanup(b.late.Wait)
	return b
}

func (b *books) serve(w http.ResponseWriter, r *http.Request, body string) int {
	seen := arrival{at: time.Now(), method: r.Method, path: r.URL.Path, body: body, status: http.StatusCreated}
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		b.looks = append(b.looks, seen)
		entries := b.entries[r.URL.Path]
		if len(entries) == 0 {
			return http.StatusNotFound
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"id": "b-" + r.URL.Path, "externalId": path.Base(r.URL.Path), "entries": len(entries)}); err != nil {
			b.t.Error(err)
		}
		return http.StatusOK
	}
	b.writes = append(b.writes, seen)
	var how fate
	if len(b.fates) > 0 {
		how, b.fates = b.fates[0], b.fates[1:]
	}
	enter := func() {
		b.entries[r.URL.Path] = append(b.entries[r.URL.Path], body)
	}
	switch {
	case how.never:
	case how.late > 0:
		b.late.Go(func() {
			<-time.After(how.late)
			b.mu.Lock()
			defer b.mu.Unlock()
			enter()
		})
	default:
		enter()
	}
	if how.cut {
		b.account.arrivals = append(b.account.arrivals, seen) // its lock is held
		panic(http.ErrAbortHandler)
	}
	return http.StatusCreated
}

// at returns what is written under a path, oldest first.
func (b *books) at(path string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.entries[path]...)
}

// calls returns the writes and the look-ups so far.
func (b *books) calls() (writes, looks []arrival) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]arrival(nil), b.writes...), append([]arrival(nil), b.looks...)
}

// once demands that each path has one entry, from one write.
func (b *books) once(paths ...string) {
	b.t.Helper()
	for _, path := range paths {
		if n := len(b.at(path)); n != 1 {
			b.t.Errorf("%s has %d entries, want one", path, n)
		}
	}
}

// findable gives the operation ship a look-up and the connector a horizon.
func findable(horizon time.Duration) func(spec *v1alpha1.ConnectorSpec) {
	return func(spec *v1alpha1.ConnectorSpec) {
		brief(spec)
		spec.CommitHorizon = &metav1.Duration{Duration: horizon}
		for i := range spec.HTTP.Operations {
			if spec.HTTP.Operations[i].Name == "ship" {
				spec.HTTP.Operations[i].Find = &v1alpha1.HTTPFind{
					Method: http.MethodGet, Path: "/shipments/{externalId}", FoundStatus: []int32{200}, AbsentStatus: []int32{404},
				}
			}
		}
	}
}

// ship asks for a call that must not be repeated.
func (w *world) ship(number int) *dispatchv1.Delivery {
	w.t.Helper()
	w.store(number, "")
	d := delivery(number)
	d.Operation = "ship"
	w.ask(d)
	return d
}

func shipment(number int) string { return fmt.Sprint("/shipments/shopify-", number) }

// A call that is cut is looked up before anything is sent again, and comes to have
// one effect, whenever the system commits it.
func TestCallsThatAreCutHaveOneEffect(t *testing.T) {
	t.Parallel()
	const horizon = 1500 * time.Millisecond
	tests := map[string]struct {
		fates  []fate
		writes int
	}{
		"cut after the commit":                  {[]fate{{cut: true}}, 1},
		"cut before the commit":                 {[]fate{{cut: true, never: true}}, 2},
		"committed late":                        {[]fate{{cut: true, late: 700 * time.Millisecond}}, 1},
		"cut before the commit, and after it":   {[]fate{{cut: true, never: true}, {cut: true}}, 2},
		"cut before the commit, twice":          {[]fate{{cut: true, never: true}, {cut: true, never: true}}, 3},
		"cut before the commit, and then later": {[]fate{{cut: true, never: true}, {cut: true, late: time.Second}}, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 20, time.Second)
			w.catalog.respec(findable(horizon))
			books := w.keepBooks(t, test.fates...)
			d := w.ship(1)
			w.start()
			result := w.results(1)[keyOf(1)]
			if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
				t.Fatalf("%v because of %v, want delivered", result.GetOutcome(), result.GetCause())
			}
			books.late.Wait()
			books.once(shipment(1))
			w.allAcknowledged(d)
			writes, looks := books.calls()
			if len(writes) != test.writes || len(looks) == 0 {
				t.Errorf("%d writes and %d look-ups, want %d writes", len(writes), len(looks), test.writes)
			}
			for i := 1; i < len(writes); i++ {
				if waited := writes[i].at.Sub(writes[i-1].at); waited < horizon {
					t.Errorf("sent again after %v, while it could still come", waited)
				}
				if writes[i].body != writes[0].body {
					t.Errorf("sent again as %s, claimed as %s", writes[i].body, writes[0].body)
				}
			}
			w.account.within(t, 20, time.Second)
			t.Logf("%d writes, %d look-ups", len(writes), len(looks))
		})
	}
}

// Only the key in doubt waits; what comes behind it in the key goes after it.
func TestOnlyTheKeyInDoubtWaits(t *testing.T) {
	t.Parallel()
	const horizon = 2 * time.Second
	w := newWorld(t, 50, time.Second)
	w.catalog.respec(findable(horizon))
	books := w.keepBooks(t, fate{cut: true, never: true})
	w.ship(0)
	w.start()
	w.eventually("the first is cut", func() bool { writes, _ := books.calls(); return len(writes) == 1 })
	// An edit of the same order, and other orders.
	edit := delivery(0)
	edit.Id += "_edit"
	w.ask(edit)
	const others = 20
	for i := 1; i <= others; i++ {
		w.want(i, "")
	}
	w.eventually("the others are there", func() bool { writes, _ := books.calls(); return len(writes) >= 1+others })
	if n := len(books.at("/orders/shopify-0")); n != 0 {
		t.Error("the edit overtook what it edits")
	}
	if n := len(books.at(shipment(0))); n != 0 {
		t.Error("it was sent again before it was certain that it did not arrive")
	}
	w.eventually("the edit is there", func() bool { return len(books.at("/orders/shopify-0")) == 1 })
	books.once(shipment(0))
	writes, _ := books.calls()
	if last := writes[len(writes)-1]; last.path != "/orders/shopify-0" {
		t.Errorf("the last write is %s, want the edit", last.path)
	}
}

// An owner that dies with a call under way is followed by one that looks it up.
func TestCallsOfADeadOwnerAreLookedUp(t *testing.T) {
	t.Parallel()
	const horizon = time.Second
	for name, arrives := range map[string]bool{"it arrived": true, "it did not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 20, time.Second)
			w.catalog.respec(findable(horizon))
			books := w.keepBooks(t, fate{cut: true, never: !arrives})
			reached, silent := make(chan struct{}, 10), make(chan struct{})
			w.account.hold(func() {
				reached <- struct{}{}
				<-silent
			})
			d := w.ship(1)
			killer := deadlyAfter(1000)
			killed := w.start(killer.before(), throttledispatcher.Abrupt)
			<-reached
			killer.die()
			died := time.Now()
			killed()
			w.account.hold(nil)
			close(silent)
			w.eventually("the first call is at its end", func() bool { writes, _ := books.calls(); return len(writes) == 1 })
			w.store(1, "changed since")
			w.start()
			result := w.results(1)[keyOf(1)]
			if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
				t.Fatalf("%v because of %v, want delivered", result.GetOutcome(), result.GetCause())
			}
			books.once(shipment(1))
			w.allAcknowledged(d)
			writes, looks := books.calls()
			if len(looks) == 0 {
				t.Error("it was not looked up")
			}
			switch {
			case arrives && len(writes) != 1:
				t.Errorf("%d writes of what had arrived", len(writes))
			case !arrives && (len(writes) != 2 || writes[1].at.Sub(died) < horizon || !strings.Contains(writes[1].body, "changed since")):
				// Nothing happened for certain, so that nothing binds it to what it was.
				t.Errorf("writes %+v, want a second one of what it is now, %v after %v", writes, horizon, died)
			}
		})
	}
}

// Owners die one after the other while one call is in doubt: it is not forgotten,
// and not sent again before its time.
func TestADoubtOutlivesItsOwners(t *testing.T) {
	t.Parallel()
	const horizon = 4 * time.Second
	w := newWorld(t, 20, time.Second)
	w.catalog.respec(findable(horizon))
	books := w.keepBooks(t, fate{cut: true, late: 3 * time.Second})
	d := w.ship(1)
	stop := w.start()
	for lookUps := 1; lookUps <= 3; lookUps++ {
		w.eventually("a look-up", func() bool { _, looks := books.calls(); return len(looks) >= lookUps })
		stop()
		stop = w.start()
	}
	w.delivered(1)
	books.late.Wait()
	books.once(shipment(1))
	w.allAcknowledged(d)
	if writes, _ := books.calls(); len(writes) != 1 {
		t.Errorf("%d writes", len(writes))
	}
}

// Where look-ups give no answer a person has to look; where the system as a whole
// is away, it is only a matter of time.
func TestLookUpsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		held   bool
		says   string
	}{
		"refused for good": {http.StatusBadRequest, true, "give no answer"},
		"not allowed":      {http.StatusForbidden, true, "may not look it up"},
		"an outage":        {http.StatusServiceUnavailable, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 20, time.Second)
			w.catalog.respec(findable(time.Second))
			w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Retry.MaxAttempts = 2 })
			books := w.keepBooks(t, fate{cut: true})
			var mu sync.Mutex
			away := true
			w.account.answer(func(rw http.ResponseWriter, r *http.Request, body string) int {
				mu.Lock()
				defer mu.Unlock()
				if r.Method == http.MethodGet && away {
					return test.status
				}
				return books.serve(rw, r, body)
			})
			w.ship(1)
			w.start()
			w.eventually("it is cut", func() bool { return len(w.account.seen()) > 0 })
			const others = 10
			if test.held {
				for i := range others { // they pass
					w.want(10+i, "")
				}
				result := w.results(1 + others)[keyOf(1)]
				if result.GetCause().GetCode() != "outcome-unknown" || !w.hold(result).GetInDoubt() || !strings.Contains(result.GetCause().GetDetail(), test.says) {
					t.Errorf("%v, want it held in doubt", result)
				}
			} else {
				w.eventually("it is asked again and again", func() bool { return len(w.account.seen()) > 6 })
				mu.Lock()
				away = false
				mu.Unlock()
				w.delivered(1)
			}
			books.once(shipment(1))
		})
	}
}

// A look-up that is always throttled, while others pass, does not go on for ever.
func TestALookUpThatAloneIsThrottledEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1200, time.Minute)
	w.catalog.respec(findable(time.Second))
	w.catalog.respec(attempts(2))
	books := w.keepBooks(t, fate{cut: true})
	w.account.answer(func(rw http.ResponseWriter, r *http.Request, body string) int {
		if r.Method == http.MethodGet {
			rw.Header().Set("Retry-After", "0.2")
			return http.StatusTooManyRequests
		}
		return books.serve(rw, r, body)
	})
	w.ship(1)
	w.start()
	w.eventually("it is cut", func() bool { return len(w.account.seen()) > 0 })
	others := 0
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	w.eventually("it is held", func() bool {
		<-tick.C
		others++
		w.ship(10 + others)
		return len(w.log.with("goes to the Error Hold")) > 0
	})
	results := w.results(1 + others)
	if result := results[keyOf(1)]; result.GetCause().GetCode() != "outcome-unknown" || !w.hold(result).GetInDoubt() {
		t.Errorf("%v, want it held in doubt", result)
	}
	for i := range others {
		if got := results[keyOf(11+i)]; got.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
			t.Errorf("%v, want it delivered", got)
		}
	}
	books.once(shipment(1))
}

// An upsert whose outcome is unknown is repeated at once; what follows in its key
// waits until the first one cannot come after it, also over a restart.
func TestALateUpsertUndoesNothing(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"one owner": false, "a restart between": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needs(t, roomToJudge)
			const horizon, late = 5 * time.Second, 4 * time.Second
			w := newWorld(t, 20, 200*time.Millisecond)
			w.catalog.respec(findable(horizon))
			books := w.keepBooks(t, fate{cut: true, late: late})
			const path = "/orders/shopify-1"
			w.want(1, "first")
			started := time.Now()
			stop := w.start()
			w.delivered(1)
			if took := time.Since(started); took > horizon {
				t.Errorf("repeated after %v, want at once", took)
			}
			if restart {
				// By then no permit makes a new owner read back to the first order's close.
				during(2500 * time.Millisecond)
				w.want(3, "")
				w.eventually("another block", func() bool { return len(books.at("/orders/shopify-3")) == 1 })
				stop()
				w.start()
			}
			w.store(1, "second")
			edit := delivery(1)
			edit.Id += "_edit"
			w.ask(edit)
			w.want(2, "") // another order
			w.eventually("the other order", func() bool { return len(books.at("/orders/shopify-2")) == 1 })
			if n := len(books.at(path)); n > 2 {
				t.Errorf("%d entries before the late one", n)
			}
			w.eventually("the edit", func() bool { entries := books.at(path); return len(entries) == 3 })
			entries := books.at(path)
			if !strings.Contains(entries[1], "first") || !strings.Contains(entries[2], "second") {
				t.Errorf("entries %v, want the edit to be the last", entries)
			}
			// What held the key is let go.
			before, _ := w.newestBlock()
			next := 4
			w.eventually("the newest block needs nothing from before", func() bool {
				w.want(next, "")
				next++
				w.eventually("one more", func() bool { return len(books.at(fmt.Sprint("/orders/shopify-", next-1))) == 1 })
				_, block := w.newestBlock()
				return block.GetReadFrom() > before
			})
		})
	}
}
