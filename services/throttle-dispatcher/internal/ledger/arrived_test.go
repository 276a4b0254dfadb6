package ledger

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// By when what an owner left has arrived: from the reply, from the deadline where
// there is none, and from the time of the newest block where the permit is so old
// that it was not kept.
func TestByWhenACallInDoubtHasArrived(t *testing.T) {
	limits := testLimits() // a grace of 50 ms; clocks are 10 ms apart each way
	state := State{WrittenAt: epoch.Add(time.Hour), Permits: []Permit{
		{Permit: budget.Permit{Number: 5, Deadline: epoch.Add(time.Second)}},
		{Permit: budget.Permit{Number: 8, Deadline: epoch.Add(time.Minute)}, SettledAt: epoch.Add(2 * time.Second)},
	}}
	before := timestamppb.New(epoch.Add(30 * time.Second))
	tests := map[string]struct {
		claim *ledgerv1.Claim
		want  time.Duration
	}{
		"under way":                     {&ledgerv1.Claim{Permit: 5}, time.Second + 70*time.Millisecond},
		"replied, and nobody heard":     {&ledgerv1.Claim{Permit: 8}, 2*time.Second + 20*time.Millisecond},
		"long ago":                      {&ledgerv1.Claim{Permit: 3}, time.Hour + 20*time.Millisecond},
		"under way after one in doubt":  {&ledgerv1.Claim{Permit: 5, ArrivedBy: before}, 30 * time.Second},
		"over, and in doubt":            {&ledgerv1.Claim{Permit: 3, ArrivedBy: before, NextAttemptAt: before}, 30 * time.Second},
		"over, with a known outcome":    {&ledgerv1.Claim{Permit: 5, NextAttemptAt: before}, -1},
		"newer than any that was found": {&ledgerv1.Claim{Permit: 9}, time.Hour + 20*time.Millisecond},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := state.ArrivedBy(test.claim, limits)
			if want := epoch.Add(test.want); test.want >= 0 && !got.Equal(want) || test.want < 0 && !got.IsZero() {
				t.Errorf("arrived by %v, want %v", got.Sub(epoch), test.want)
			}
		})
	}
}
