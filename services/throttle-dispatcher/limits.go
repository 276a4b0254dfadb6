package throttledispatcher

import (
	"fmt"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/outage"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/transport"
)

// outageThreshold is how many calls in a row must meet an outage before the
// connector counts as down.
const outageThreshold = 2

// limitsOf returns the connector's limits as the budget takes them.
func limitsOf(connector *v1alpha1.Connector) (budget.Limits, error) {
	spec := &connector.Spec
	limits := budget.Limits{CallTimeout: spec.Timeout.Duration, Pacing: budget.Even}
	if spec.Pacing == v1alpha1.PacingBurst {
		limits.Pacing = budget.Burst
	}
	for i := range spec.Limits {
		limit := &spec.Limits[i]
		headroom, err := limit.HeadroomCalls()
		if err != nil {
			return budget.Limits{}, fmt.Errorf("connector %s: %w", connector.Name, err)
		}
		switch {
		case limit.RollingWindow != nil:
			window := budget.Window{
				Name: limit.Name, Calls: int(limit.RollingWindow.Calls), Per: limit.RollingWindow.Per.Duration, Headroom: int(headroom),
			}
			if limit.ArrivesWithin != nil {
				window.ArrivesWithin = limit.ArrivesWithin.Duration
			}
			limits.Windows = append(limits.Windows, window)
		case limit.Concurrency != nil:
			limits.Concurrency = append(limits.Concurrency, budget.Concurrency{
				Name: limit.Name, Calls: int(limit.Concurrency.Calls), Headroom: int(headroom),
			})
		case limit.Bucket != nil:
			refill := limit.Bucket.Refill
			limits.Buckets = append(limits.Buckets, budget.Bucket{
				Name: limit.Name, Capacity: limit.Bucket.Capacity, Headroom: headroom,
				Refill: max(refill.Calls, refill.Points), Per: refill.Per.Duration, Weighted: refill.Points > 0,
			})
		}
	}
	return limits, nil
}

// callsPerSecond returns what windows and buckets of calls allow over a long time;
// infinite where there are none. How many calls points are is not known.
func callsPerSecond(limits budget.Limits) float64 {
	pace := math.Inf(1)
	for _, window := range limits.Windows {
		pace = min(pace, float64(window.Calls)/window.Per.Seconds())
	}
	for _, bucket := range limits.Buckets {
		if bucket.Weighted {
			continue
		}
		pace = min(pace, float64(bucket.Refill)/bucket.Per.Seconds())
	}
	return pace
}

// maxConcurrency returns the most calls that may be under way at a time; as many
// as there are connections where nothing bounds them.
func maxConcurrency(limits budget.Limits) int {
	most := transport.DefaultMaxConnections
	for i, c := range limits.Concurrency {
		if n := c.Calls - c.Headroom; i == 0 || n < most {
			most = n
		}
	}
	return most
}

// outageSettings returns how often a connector that is down may be asked: twice a
// second, and with at most half of each window that is not paced and of each bucket,
// so that the other half is there when it is back. Where the pace spreads calls evenly, a
// probe takes nothing from those that come after it. cost is what a probe counts for
// where points are counted.
func outageSettings(limits budget.Limits, cost int64) outage.Settings {
	settings := outage.Settings{Threshold: outageThreshold, ProbeEvery: probeEvery}
	half := func(calls int, per time.Duration) {
		half := max(1, calls/2)
		if settings.ProbeBudget == 0 || per/time.Duration(half) > settings.ProbeWindow/time.Duration(settings.ProbeBudget) {
			settings.ProbeBudget, settings.ProbeWindow = half, per
		}
	}
	for _, window := range limits.Windows {
		if !limits.Paced(window) {
			half(window.Calls, window.Per)
		}
	}
	for _, bucket := range limits.Buckets {
		probes := bucket.Most()
		if bucket.Weighted {
			probes /= max(cost, 1)
		}
		half(int(probes), bucket.DrainTime())
	}
	return settings
}

func lanesOf(connector *v1alpha1.Connector) []queue.Lane {
	lanes := make([]queue.Lane, 0, len(connector.Spec.Lanes))
	for _, lane := range connector.Spec.Lanes {
		lanes = append(lanes, queue.Lane{Name: lane.Name, Weight: int(lane.Weight)})
	}
	return withWaiting(lanes)
}

// sameButPace reports whether two specs differ in nothing but what a running
// worker can take in; what its limits ask of the transport is compared apart.
func sameButPace(a, b *v1alpha1.Connector) bool {
	left, right := a.Spec.DeepCopy(), b.Spec.DeepCopy()
	left.Limits, right.Limits = nil, nil
	left.Paused, right.Paused = false, false
	left.Retry, right.Retry = v1alpha1.Retry{}, v1alpha1.Retry{}
	left.Maintenance, right.Maintenance = nil, nil
	left.Outage, right.Outage = v1alpha1.Outage{}, v1alpha1.Outage{}
	return equality.Semantic.DeepEqual(left, right)
}
