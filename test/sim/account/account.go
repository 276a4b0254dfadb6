// Package account is the front door that all simulated systems share: it logs every arrival, judges it against the
// limits of the account, and carries out penalties, maintenance, reply times and faults. What a call means is up to the
// system behind it.
package account

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
)

// Window is a limit on the arrivals in every closed rolling window of length Per. Calls 0 only measures.
type Window struct {
	Name  string            `json:"name"`
	Calls int               `json:"calls"`
	Per   jsontime.Duration `json:"per"`
}

// Config is what an account allows and how it misbehaves.
type Config struct {
	// Limits all hold at once.
	Limits []Window `json:"limits,omitempty"`
	// Concurrency is the largest number of calls in progress; 0 means no limit.
	Concurrency int `json:"concurrency,omitempty"`
	// Penalty is how long everything is refused after a rolling window was exceeded; 0 means that only the calls
	// over the limit are refused.
	Penalty jsontime.Duration `json:"penalty,omitempty"`
	Latency faults.Latency    `json:"latency,omitzero"`
	Faults  []faults.Rule     `json:"faults,omitempty"`
	// Seed of faults and reply times.
	Seed uint64 `json:"seed,omitempty"`
}

// Call is one request as the system behind the front sees it.
type Call struct {
	// Operation is the system's name for what is asked, such as "order.upsert".
	Operation string
	// Key is the external id that the call is about, if any.
	Key string
	// Arrived is when the request was first seen.
	Arrived time.Time
}

// Reply is what a system answers. Outcome is how the judge counts it; Pending means by the status. Write says that the
// call was one to change what the system holds, such as an order, and no read or probe.
type Reply struct {
	Status  int
	Header  http.Header
	Body    []byte
	Outcome arrivals.Outcome
	Write   bool
}

// Reason is why the front refuses a call before the system sees it.
type Reason int

// The reasons of the front.
const (
	OverWindow Reason = iota
	OverConcurrency
	UnderPenalty
	InMaintenance
	InjectedThrottle
	InjectedThrottleInBody
	InjectedUnavailable
	InjectedServerError
)

// System is what stands behind a front. Serve takes effect when it is called, once or, for a call that the client
// believes dead, long after it; both methods must be safe for concurrent use.
type System interface {
	// Classify names the operation and the key of a request.
	Classify(r *http.Request, body []byte) (operation, key string)
	// Serve carries out the call, including the check of credentials.
	Serve(c Call, r *http.Request, body []byte) Reply
	// Refuse returns the refusal in the system's own form.
	Refuse(reason Reason) Reply
}

// Front is the http.Handler of one account. Make it with New, stop it with Close.
type Front struct {
	system System
	cfg    Config
	log    *arrivals.Log
	plan   *faults.Plan

	mu              sync.Mutex
	inFlight        int
	largestInFlight int
	operations      map[string]int
	penaltyUntil    time.Time
	penalties       int
	refusedBy       map[Reason]int
	maintenance     []maintenance
	lateCommits     int

	stop     chan struct{}
	stopOnce sync.Once
	late     sync.WaitGroup
}

// New returns the front of a system, or an error that names what is wrong in the configuration.
func New(system System, cfg Config) (*Front, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	plan, err := faults.NewPlan(cfg.Seed, cfg.Latency, cfg.Faults)
	if err != nil {
		return nil, err
	}
	lengths := make([]time.Duration, len(cfg.Limits))
	for i, w := range cfg.Limits {
		lengths[i] = w.Per.Std()
	}
	return &Front{
		system: system, cfg: cfg, log: arrivals.NewLog(lengths...), plan: plan,
		operations: make(map[string]int), refusedBy: make(map[Reason]int), stop: make(chan struct{}),
	}, nil
}

func (c Config) validate() error {
	for i, w := range c.Limits {
		switch {
		case w.Name == "":
			return fmt.Errorf("limits[%d]: name is missing", i)
		case w.Per <= 0:
			return fmt.Errorf("limit %q: per must be above zero, such as \"1m\"", w.Name)
		case w.Calls < 0:
			return fmt.Errorf("limit %q: calls is %d; want a number above zero, or 0 to only measure", w.Name, w.Calls)
		}
	}
	if c.Concurrency < 0 {
		return errors.New("concurrency is negative; 0 means no limit")
	}
	return nil
}

// Close ends waits and gives up commits that are still due. Calls in progress end at once.
func (f *Front) Close() {
	f.stopOnce.Do(func() { close(f.stop) })
	f.late.Wait()
}

// SetFaults replaces the fault rules.
func (f *Front) SetFaults(rules []faults.Rule) error { return f.plan.Set(rules) }

// FaultsByRule counts, for each of the rules in their order, the faults since they were set.
func (f *Front) FaultsByRule() []int { return f.plan.FiredBy() }

// Arrivals is the account's arrival log.
func (f *Front) Arrivals() *arrivals.Log { return f.log }

// admit counts the arrival in and returns why it must be refused, if it must. Limits are judged before maintenance:
// whoever hammers a system that is down is over the limit too.
func (f *Front) admit(t arrivals.Ticket) (Reason, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inFlight++
	f.largestInFlight = max(f.largestInFlight, f.inFlight)
	reason, refused := f.judge(t)
	if refused {
		f.refusedBy[reason]++
	}
	return reason, refused
}

func (f *Front) judge(t arrivals.Ticket) (Reason, bool) {
	for i, w := range f.cfg.Limits {
		if w.Calls == 0 || t.Counts[i] <= w.Calls {
			continue
		}
		if f.cfg.Penalty > 0 && !t.At.Before(f.penaltyUntil) {
			f.penaltyUntil = t.At.Add(f.cfg.Penalty.Std())
			f.penalties++
		}
		return OverWindow, true
	}
	switch {
	case t.At.Before(f.penaltyUntil):
		return UnderPenalty, true
	case f.cfg.Concurrency > 0 && f.inFlight > f.cfg.Concurrency:
		return OverConcurrency, true
	case f.inMaintenance(t.At):
		return InMaintenance, true
	}
	return 0, false
}

// leave counts the call out. It runs before the reply is written, so that a client that has its reply never finds its own
// earlier call still in progress.
func (f *Front) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inFlight--
}

func (f *Front) countOperation(operation string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.operations[operation]++
}
