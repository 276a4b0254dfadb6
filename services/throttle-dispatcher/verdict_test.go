package throttledispatcher

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/fault"
)

func TestDecide(t *testing.T) {
	bounds := retryBounds{maxAttempts: 3, maxAge: time.Hour}
	cases := map[string]struct {
		class    fault.Class
		outage   bool
		effect   connectors.Effect
		attempts int
		age      time.Duration
		want     action
		inDoubt  bool
	}{
		"accepted":                                   {class: fault.OK, want: actionDeliver},
		"exists already":                             {class: fault.AlreadyDone, want: actionDeliver},
		"refused for good":                           {class: fault.Permanent, want: actionHold},
		"too fast":                                   {class: fault.Throttled, attempts: 99, age: 99 * time.Hour, want: actionWait},
		"signed out":                                 {class: fault.Auth, attempts: 99, want: actionWait},
		"passing trouble":                            {class: fault.Transient, attempts: 1, want: actionRetry},
		"passing trouble for the last time":          {class: fault.Transient, attempts: 3, want: actionHold},
		"passing trouble for too long":               {class: fault.Transient, attempts: 1, age: time.Hour, want: actionHold},
		"outage of days costs no order":              {class: fault.Transient, outage: true, attempts: 99, age: 71 * time.Hour, want: actionWait},
		"unknown, repetition harmless":               {class: fault.Unknown, effect: connectors.EffectIdempotent, attempts: 1, want: actionRetry},
		"unknown in an outage, repetition harmless":  {class: fault.Unknown, outage: true, effect: connectors.EffectIdempotent, attempts: 9, want: actionWait},
		"unknown, repetition doubles":                {class: fault.Unknown, effect: connectors.EffectOnce, attempts: 1, want: actionHold, inDoubt: true},
		"unknown in an outage, repetition doubles":   {class: fault.Unknown, outage: true, effect: connectors.EffectOnce, want: actionHold, inDoubt: true},
		"unknown for the last time stays in doubt":   {class: fault.Unknown, effect: connectors.EffectIdempotent, attempts: 3, want: actionHold, inDoubt: true},
		"compare-and-set found another value":        {class: fault.Conflict, attempts: 1, want: actionConflict},
		"query without an answer is simply repeated": {class: fault.Unknown, effect: connectors.EffectNone, attempts: 1, want: actionRetry},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			answer := connectors.Answer{Verdict: fault.Verdict{Class: c.class, Outage: c.outage}}
			got, inDoubt := decide(answer, c.effect, c.attempts, c.age, bounds)
			if got != c.want || inDoubt != c.inDoubt {
				t.Errorf("got action %d, in doubt %v; want %d, %v", got, inDoubt, c.want, c.inDoubt)
			}
		})
	}
}

func TestWaitIsBoundedByAge(t *testing.T) {
	bounds := retryBounds{maxAttempts: 12, maxAge: time.Hour}
	for name, test := range map[string]struct{ backoff, asked, age, want time.Duration }{
		"by its backoff":                       {time.Minute, 0, 0, time.Minute},
		"as long as the system asks":           {time.Second, time.Minute, 0, time.Minute},
		"not past its age":                     {time.Second, 2 * time.Hour, 50 * time.Minute, 10 * time.Minute},
		"the last attempt is made all at once": {time.Second, 0, 2 * time.Hour, 0},
	} {
		if got := bounds.wait(test.backoff, test.asked, test.age); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
