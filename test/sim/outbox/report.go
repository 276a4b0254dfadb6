package outbox

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/faults"
)

// tally counts what became of the webhooks. The lock of the outbox guards it.
type tally struct {
	attempts, retries, delivered, failures, repeats, repeatFailures, givenUp, undelivered int
	dropped, late, twice                                                                  int
	byStatus                                                                              map[string]int
	latencies                                                                             []time.Duration
}

func newTally() tally { return tally{byStatus: make(map[string]int)} }

func (t *tally) fate(f faults.Fate) {
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

// Report is what became of the webhooks of a shop.
type Report struct {
	// Attempts counts all requests but Repeats; Retries those after the first of each webhook.
	Attempts int `json:"attempts"`
	Retries  int `json:"retries"`
	// Delivered counts webhooks that were answered with success, Failures attempts that were not.
	Delivered int `json:"delivered"`
	Failures  int `json:"failures"`
	// Repeats counts webhooks sent once more on purpose, RepeatFailures those of them not answered with success.
	Repeats        int `json:"repeats"`
	RepeatFailures int `json:"repeatFailures"`
	// GivenUp failed for the last time; Undelivered were never tried, since the webhook was off by then.
	GivenUp     int `json:"givenUp"`
	Undelivered int `json:"undelivered"`
	// Open are those under way. The shop counts them.
	Open int `json:"open"`
	// Dropped, Late and Twice count mishaps.
	Dropped int `json:"dropped"`
	Late    int `json:"late"`
	Twice   int `json:"twice"`
	// ByStatus counts replies by status; "none" is no reply.
	ByStatus map[string]int `json:"byStatus,omitempty"`
	// P50Ms, P99Ms and MaxMs are the time from the start of a successful attempt to its reply.
	P50Ms float64 `json:"p50Ms"`
	P99Ms float64 `json:"p99Ms"`
	MaxMs float64 `json:"maxMs"`
}

// Report returns what became of the webhooks up to now.
func (o *Outbox) Report() Report {
	r, latencies := o.snapshot()
	milliseconds := func(share float64) float64 {
		return float64(arrivals.Percentile(latencies, share)) / float64(time.Millisecond)
	}
	r.P50Ms, r.P99Ms, r.MaxMs = milliseconds(0.5), milliseconds(0.99), milliseconds(1)
	return r
}

// snapshot takes what needs the lock; sorting the latencies does not, and would hold up deliveries.
func (o *Outbox) snapshot() (Report, []time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := &o.tally
	return Report{
		Attempts: t.attempts, Retries: t.retries, Delivered: t.delivered, Failures: t.failures, Repeats: t.repeats,
		RepeatFailures: t.repeatFailures, GivenUp: t.givenUp, Undelivered: t.undelivered,
		Dropped: t.dropped, Late: t.late, Twice: t.twice, ByStatus: maps.Clone(t.byStatus),
	}, slices.Clone(t.latencies)
}

// Attempt is the outcome of one request.
type Attempt struct {
	Status int
	Err    error
	Took   time.Duration
	// OK says that the shop takes the answer for success. Retry is true for all attempts after the first.
	OK, Retry bool
}

// CountAttempt counts one attempt to deliver a webhook.
func (o *Outbox) CountAttempt(a Attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := &o.tally
	t.attempts++
	if a.Retry {
		t.retries++
	}
	t.count(a.Status, a.Err)
	if !a.OK {
		t.failures++
		return
	}
	t.delivered++
	t.latencies = append(t.latencies, a.Took)
}

// CountRepeat counts the sending of a webhook once more on purpose.
func (o *Outbox) CountRepeat(a Attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tally.repeats++
	o.tally.count(a.Status, a.Err)
	if !a.OK {
		o.tally.repeatFailures++
	}
}

// CountGivenUp counts a webhook that failed for the last time.
func (o *Outbox) CountGivenUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tally.givenUp++
}

// CountUndelivered counts a webhook that is not even tried.
func (o *Outbox) CountUndelivered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tally.undelivered++
}

func (t *tally) count(status int, err error) {
	if err != nil {
		t.byStatus["none"]++
		return
	}
	t.byStatus[strconv.Itoa(status)]++
}
