package chaos

import (
	"math"
	"testing"
	"time"
)

// reply is how long the ERP takes where pace is measured.
const reply = 200 * time.Millisecond

// TestPace measures the pace of a backlog at the ERP: at least 99.0% of what the
// limit allows, and at no time one call over it.
func TestPace(t *testing.T) {
	for name, test := range map[string]struct {
		terms
		short, long time.Duration
	}{
		"100 a minute":                {terms{calls: 100, per: time.Minute, concurrency: 15}, 0, 5 * time.Minute},
		"50 a second":                 {terms{calls: 50, per: time.Second, concurrency: 50, arrivesWithin: onTime}, 0, time.Minute},
		"50 a second, strict":         {terms{calls: 50, per: time.Second, concurrency: 50}, 10 * time.Second, time.Minute},
		"400 a second":                {terms{calls: 400, per: time.Second, concurrency: 200, arrivesWithin: onTime}, 0, 30 * time.Second},
		"1,000 a second":              {terms{calls: 1000, per: time.Second, concurrency: 400, arrivesWithin: onTime}, 0, 20 * time.Second},
		"1,000 a second, strict":      {terms{calls: 1000, per: time.Second, concurrency: 400}, 0, 20 * time.Second},
		"1,000 a minute, in parallel": {terms{calls: 1000, per: time.Minute, concurrency: 15}, 15 * time.Second, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			span := lasting(test.short, test.long)
			if span == 0 {
				t.Skip("only in the long form: make chaos")
			}
			test.latency = fixed(reply)
			allowed := allowed(test.terms)
			count := int(allowed*span.Seconds()) + 1
			f := open(t, test.terms)
			f.backlog(count)
			f.settled(3*span + time.Minute)
			share := f.pace() / allowed
			t.Logf("%.2f calls a second, %.2f%% of the %.2f that are allowed, for %v", f.pace(), 100*share, allowed, span)
			if share < 0.99 {
				t.Errorf("the pace is %.2f%% of what is allowed, want 99%% at least", 100*share)
			}
		})
	}
}

// allowed returns the calls a second that the rule of the budget allows with one
// call of headroom: N-1 per W, and N per W and the time for which a call counts on
// (until its reply, or for the declared time of its arrival).
func allowed(what terms) float64 {
	counts := reply
	if what.arrivesWithin > 0 {
		counts = min(counts, what.arrivesWithin)
	}
	n := float64(what.calls)
	return math.Min((n-1)/what.per.Seconds(), n/(what.per+counts).Seconds())
}
