// Package faults decides which call of a simulated system goes wrong, how, and how long each one takes. Every decision
// is a hash of the seed and of what the call is about, not of the order in which goroutines ran: the same seed and the
// same calls give the same faults.
package faults

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peppasync/peppasync/test/sim/jsontime"
)

// Kind is what goes wrong.
type Kind string

// The kinds of fault. "Commit" is the moment at which the call takes effect in the simulated system.
const (
	CutBeforeCommit        Kind = "cutBeforeCommit"        // connection reset, nothing happened
	CutAfterCommit         Kind = "cutAfterCommit"         // connection reset, the call took effect
	CutCommitLater         Kind = "cutCommitLater"         // connection reset; the call takes effect Delay later
	CloseMidRequest        Kind = "closeMidRequest"        // a kept-alive connection is closed before any reply; spares the first request of a connection
	CloseAfterReply        Kind = "closeAfterReply"        // a reply that promises keep-alive, then the connection closes
	Slow                   Kind = "slow"                   // Delay, then the call takes effect
	SlowReply              Kind = "slowReply"              // the call takes effect, then Delay
	Throttle               Kind = "throttle"               // 429 in the system's own form, Retry-After if given
	ThrottleHTML           Kind = "throttleHTML"           // 429 with an HTML page, as proxies send it
	ThrottleInBody         Kind = "throttleInBody"         // 200 with a body that says throttled; as Throttle where a system has no such form
	PageForReply           Kind = "pageForReply"           // 200 with an HTML page, as logins send it; nothing happened
	Unavailable            Kind = "unavailable"            // 503
	UnavailableHTML        Kind = "unavailableHTML"        // 503 with an HTML page, as proxies and maintenances send it
	ServerError            Kind = "serverError"            // 500, nothing happened
	ServerErrorAfterCommit Kind = "serverErrorAfterCommit" // 500, yet the call took effect
)

var kinds = []Kind{
	CutBeforeCommit, CutAfterCommit, CutCommitLater, CloseMidRequest, CloseAfterReply, Slow, SlowReply,
	Throttle, ThrottleHTML, ThrottleInBody, PageForReply, Unavailable, UnavailableHTML, ServerError, ServerErrorAfterCommit,
}

// Rule says which calls suffer a fault. A call must pass Operations and Keys; then it suffers the fault if its number is in
// Calls, or by Probability, or always if neither is given.
type Rule struct {
	Kind Kind `json:"kind"`
	// Operations that the rule is about, as named by the system ("order.upsert", "query"); empty means all.
	Operations []string `json:"operations,omitempty"`
	// Keys that the rule is about (external ids), compared without case; empty means all.
	Keys []string `json:"keys,omitempty"`
	// Calls are the numbers, from 1, of those calls since the rule was set that pass Operations and Keys.
	Calls []int `json:"calls,omitempty"`
	// Probability of the fault per call, 0 to 1.
	Probability float64 `json:"probability,omitempty"`
	// Times bounds how often the rule fires; 0 means no bound.
	Times int `json:"times,omitempty"`
	// Delay of the slow kinds and of cutCommitLater.
	Delay jsontime.Duration `json:"delay,omitempty"`
	// Hold is how long a connection stays silent before one of the cut kinds cuts it.
	Hold jsontime.Duration `json:"hold,omitempty"`
	// RetryAfter is sent as it is in the header of 429 and 503 replies; empty sends none.
	RetryAfter string `json:"retryAfter,omitempty"`
	// RetryDate is sent in its place as a date, so long after the reply, up to the next whole second.
	RetryDate jsontime.Duration `json:"retryDate,omitempty"`
}

// Validate says what is wrong with the rule.
func (r Rule) Validate() error {
	if !slices.Contains(kinds, r.Kind) {
		return fmt.Errorf("fault kind %q is unknown; the kinds are %v", r.Kind, kinds)
	}
	if r.Probability < 0 || r.Probability > 1 || math.IsNaN(r.Probability) {
		return fmt.Errorf("fault %s: probability %v is not between 0 and 1", r.Kind, r.Probability)
	}
	for _, n := range r.Calls {
		if n < 1 {
			return fmt.Errorf("fault %s: call number %d; calls count from 1", r.Kind, n)
		}
	}
	if r.Times < 0 {
		return fmt.Errorf("fault %s: times is %d; want 0 (no bound) or more", r.Kind, r.Times)
	}
	return nil
}

// Call is what a decision depends on.
type Call struct {
	Operation string
	Key       string
	// FirstOnConnection is true for the first request of its connection.
	FirstOnConnection bool
}

// Plan decides faults and latencies. It is safe for concurrent use.
type Plan struct {
	mu       sync.Mutex
	seed     uint64
	latency  Latency
	rules    []state
	attempts map[string]int
	fired    map[Kind]int
}

type state struct {
	Rule
	matched, fired int
}

// NewPlan returns a plan, or an error for a rule or latency that cannot be.
func NewPlan(seed uint64, latency Latency, rules []Rule) (*Plan, error) {
	if err := latency.Validate(); err != nil {
		return nil, err
	}
	p := &Plan{seed: seed, latency: latency, attempts: make(map[string]int), fired: make(map[Kind]int)}
	if err := p.Set(rules); err != nil {
		return nil, err
	}
	return p, nil
}

// Set replaces the rules; the numbers of their calls start anew. On an error the old rules stay.
func (p *Plan) Set(rules []Rule) error {
	fresh := make([]state, 0, len(rules))
	for _, r := range rules {
		if err := r.Validate(); err != nil {
			return err
		}
		fresh = append(fresh, state{Rule: r})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = fresh
	return nil
}

// Decision is what happens to one call: how long it takes, and the fault, if any.
type Decision struct {
	Latency time.Duration
	Fault   *Rule
}

// Next decides about the next call. The first rule that fires wins.
func (p *Plan) Next(c Call) Decision {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := c.Operation + "\x00" + strings.ToLower(c.Key)
	p.attempts[id]++
	attempt := p.attempts[id]
	d := Decision{Latency: p.latency.at(p.draw(id, attempt, -1))}
	for i := range p.rules {
		r := &p.rules[i]
		if !r.passes(c) {
			continue
		}
		r.matched++
		if r.Times > 0 && r.fired >= r.Times || !r.hits(p.draw(id, attempt, i)) {
			continue
		}
		r.fired++
		p.fired[r.Kind]++
		rule := r.Rule
		d.Fault = &rule
		break
	}
	return d
}

// FiredBy counts, for each of the rules in their order, the faults since they were set.
func (p *Plan) FiredBy() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	fired := make([]int, len(p.rules))
	for i, r := range p.rules {
		fired[i] = r.fired
	}
	return fired
}

// Fired counts the faults so far by kind.
func (p *Plan) Fired() map[Kind]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.fired)
}

func (s *state) passes(c Call) bool {
	if s.Kind == CloseMidRequest && c.FirstOnConnection {
		return false
	}
	if len(s.Operations) > 0 && !slices.Contains(s.Operations, c.Operation) {
		return false
	}
	return len(s.Keys) == 0 || slices.ContainsFunc(s.Keys, func(k string) bool { return strings.EqualFold(k, c.Key) })
}

func (s *state) hits(draw float64) bool {
	switch {
	case slices.Contains(s.Calls, s.matched):
		return true
	case s.Probability > 0:
		return draw < s.Probability
	default:
		return len(s.Calls) == 0
	}
}

// draw returns a number in [0, 1) that depends only on the seed and on its arguments.
func (p *Plan) draw(id string, attempt, rule int) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%d\x00%d", id, attempt, rule)
	return rand.New(rand.NewPCG(p.seed, h.Sum64())).Float64()
}
