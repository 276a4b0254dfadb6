package budget

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// between draws a duration: from the whole range, near its ends and near round
// fractions, so that latencies are heavy-tailed and coincidences happen.
func between(t *rapid.T, lo, hi time.Duration, label string) time.Duration {
	share := rapid.SampledFrom([]int64{0, 1, 10, 50, 100, 250, 333, 500, 750, 1000}).Draw(t, label)
	d := lo + time.Duration(int64(hi-lo)/1000*share) + time.Duration(rapid.Int64Range(-1000, 1000).Draw(t, label+" off by"))*(hi-lo)/20000
	return min(max(d, lo), hi)
}

type universe struct {
	windows     int
	arrives     bool
	concurrency bool
	bounds      bool
	// leftovers: owners of bounds are taken over again and again, and windows are full.
	leftovers bool
	// lowers: likewise, just after they said a lower bound.
	lowers  bool
	crashes bool
	changes bool
	buckets int
	// figures: replies say what is in the buckets; foreign: others use them, too.
	figures, foreign bool
}

func scenarios(o universe) *rapid.Generator[scenario] {
	return rapid.Custom(func(t *rapid.T) scenario {
		s := scenario{Figures: o.figures}
		// Limits of a few calls per second reach every corner that large ones do.
		const unit = time.Second
		if rapid.Bool().Draw(t, "burst") {
			s.Limits.Pacing = Burst
		}
		for i := range rapid.IntRange(1, max(o.windows, 1)).Draw(t, "windows") {
			w := Window{Name: fmt.Sprint("window-", i), Calls: rapid.IntRange(1, 8).Draw(t, "calls"), Per: between(t, unit/4, 3*unit, "per")}
			w.Headroom = rapid.IntRange(0, w.Calls-1).Draw(t, "headroom") / 3
			if o.arrives && rapid.Bool().Draw(t, "declared") {
				w.ArrivesWithin = between(t, 1, unit/2, "arrivesWithin")
			}
			s.Limits.Windows = append(s.Limits.Windows, w)
		}
		for i := range o.buckets {
			l := Bucket{Name: fmt.Sprint("bucket-", i), Capacity: rapid.Int64Range(1, 12).Draw(t, "capacity"), Refill: rapid.Int64Range(1, 7).Draw(t, "refill"), Per: between(t, unit/4, 3*unit, "refill per")}
			l.Headroom, l.Weighted = rapid.Int64Range(0, l.Capacity-1).Draw(t, "bucket headroom")/3, rapid.IntRange(0, 2).Draw(t, "weighted") > 0
			s.Limits.Buckets = append(s.Limits.Buckets, l)
		}
		if o.buckets > 0 {
			// Many calls in the windows, so that the buckets are what counts.
			s.Limits.Windows[0].Calls = rapid.SampledFrom([]int{4, 40}).Draw(t, "calls beside buckets")
		}
		if o.concurrency {
			s.Limits.Concurrency = []Concurrency{{Name: "parallel", Calls: rapid.IntRange(1, 4).Draw(t, "parallel")}}
			s.Parallel = rapid.SliceOfN(rapid.IntRange(0, 3), 0, 3).Draw(t, "bounds")
		}
		if o.bounds {
			// Many calls at once, so that the bounds are what counts.
			s.Limits.Pacing, s.Limits.Windows[0].Calls, s.Ahead = Burst, 40, 12
			s.Limits.Concurrency[0].Calls = rapid.IntRange(2, 4).Draw(t, "parallel")
			s.Parallel = rapid.SliceOfN(rapid.IntRange(1, s.Limits.Concurrency[0].Calls), 1, 3).Draw(t, "bounds")
		}
		if o.leftovers {
			// Several calls at once without a limit of them, so that windows are what counts.
			s.Limits.Pacing, s.Limits.Windows[0].Calls, s.Limits.Windows[0].Headroom = Burst, rapid.IntRange(2, 8).Draw(t, "calls left"), 0
			s.Parallel = rapid.SliceOfN(rapid.IntRange(1, 4), 1, 3).Draw(t, "bounds")
		}
		s.Limits.Tolerance = between(t, 1, unit/2, "tolerance")
		s.Limits.CallTimeout = between(t, 1, 3*unit, "timeout")
		s.Limits.Grace = between(t, 1, unit/4, "grace")
		s.Limits.ClockTolerance = between(t, 1, unit/8, "clockTolerance")
		if o.lowers {
			// Permits run out long before their calls end, and a lower bound comes between.
			s.Limits.Tolerance, s.Limits.CallTimeout, s.Parallel = s.Limits.Tolerance/20+1, 3*unit, []int{4}
		}
		if o.leftovers {
			s.Limits.ClockTolerance = s.Limits.ClockTolerance/10 + 1 // so that it does not cover what else may be wrong
		}
		tolerance := int64(s.Limits.ClockTolerance)
		s.Offsets = []time.Duration{0}
		if o.crashes {
			s.Offsets = nil
			for range 4 {
				s.Offsets = append(s.Offsets, time.Duration(rapid.SampledFrom([]int64{-tolerance, 0, tolerance}).Draw(t, "offset")))
			}
		}
		if !o.lowers {
			s.Steps = rapid.SliceOfN(steps(o), 1, 40).Draw(t, "steps")
		} else {
			for range rapid.IntRange(1, 4).Draw(t, "rounds") {
				s.Steps = append(s.Steps, round(t, steps(o))...)
			}
		}
		return s
	})
}

func steps(o universe) *rapid.Generator[step] {
	kinds := []kind{reserve, reserve, reserve, reserve, pause, closing, slow}
	if o.crashes {
		kinds = append(kinds, kill, restart, zombie, unwritten)
	}
	if o.bounds {
		kinds = append(kinds, rebound)
	}
	if o.leftovers {
		kinds = []kind{reserve, reserve, reserve, flush, pause, rebound, rebound, kill, restart, zombie, zombie}
	}
	if o.changes {
		kinds = append(kinds, change, replace)
	}
	if o.foreign {
		kinds = append(kinds, share)
	}
	return rapid.Custom(func(t *rapid.T) step {
		return step{
			Kind:    rapid.SampledFrom(kinds).Draw(t, "kind"),
			Wait:    between(t, 0, time.Second, "wait"),
			Horizon: between(t, 0, time.Second, "horizon"),
			Max:     rapid.IntRange(0, 12).Draw(t, "max"),
			Per:     between(t, time.Second/4, 3*time.Second, "per"),
			Calls:   rapid.IntRange(1, 8).Draw(t, "to"),
			Fates: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) fate {
				f := fate{
					Void:   rapid.IntRange(0, 9).Draw(t, "void") == 9,
					Lost:   rapid.IntRange(0, 9).Draw(t, "lost") == 9,
					Late:   rapid.IntRange(0, 1000).Draw(t, "late"),
					Out:    between(t, 0, 4*time.Second, "out"),
					Back:   between(t, 0, 2*time.Second, "back"),
					Report: between(t, 0, reports(o), "report"),
					Cost:   rapid.Int64Range(1, costly(o)).Draw(t, "cost"),
					Spent:  rapid.SampledFrom([]int64{0, 400, 1000}).Draw(t, "spent"),
					Refund: between(t, 0, time.Second, "refund"),
				}
				if o.lowers {
					f.Out, f.Back = time.Second+f.Out/8, f.Back/100
				} else if o.leftovers && rapid.Bool().Draw(t, "quick") {
					// One after the other, in the time of few.
					f.Out, f.Back = f.Out/100, f.Back/100
				}
				return f
			}), 1, 8).Draw(t, "fates"),
		}
	})
}

// round is a history in which calls end after a lower bound was wanted, and their
// owner is taken over when that has just come to be on record.
func round(t *rapid.T, one *rapid.Generator[step]) []step {
	steps := rapid.SliceOfN(one, 5, 5).Draw(t, "round")
	for i, k := range []kind{reserve, rebound, flush, zombie, reserve} {
		steps[i].Kind, steps[i].Max = k, 12
	}
	steps[2].Wait += time.Second
	steps[3].Wait, steps[4].Wait = steps[3].Wait/20, steps[4].Wait/4
	return steps
}

// reports is how late an owner hears of a call's end at most.
func reports(o universe) time.Duration {
	if o.leftovers {
		return 2 * time.Second
	}
	return time.Second / 2
}

// costly is the largest cost of a call.
func costly(o universe) int64 {
	if o.buckets == 0 {
		return 1
	}
	return 6
}

var worlds = map[string]universe{
	"one window":            {windows: 1},
	"several windows":       {windows: 3},
	"declared arrival":      {windows: 3, arrives: true},
	"owners with bounds":    {windows: 1, concurrency: true, bounds: true, crashes: true},
	"windows with bounds":   {windows: 1, leftovers: true, crashes: true},
	"bounds that are lower": {windows: 1, leftovers: true, lowers: true, crashes: true},
	"bounds and declared":   {windows: 3, arrives: true, leftovers: true, crashes: true, changes: true},
	"concurrency":           {windows: 1, concurrency: true},
	"crashes":               {windows: 1, crashes: true},
	"crashes and clocks":    {windows: 3, arrives: true, concurrency: true, crashes: true},
	"limits that change":    {windows: 2, arrives: true, changes: true},
	"a bucket":              {windows: 1, buckets: 1},
	"buckets and crashes":   {windows: 1, buckets: 2, crashes: true},
	"figures":               {windows: 1, buckets: 2, figures: true},
	"foreign use":           {windows: 1, buckets: 1, figures: true, foreign: true},
	"foreign use of one":    {windows: 1, buckets: 2, figures: true, foreign: true},
	"everything at a time":  {windows: 3, arrives: true, concurrency: true, crashes: true, changes: true, buckets: 2},
}

// TestNeverOverALimit drives the budget through random histories; the server's
// own log must stay within every limit in every closed window.
func TestNeverOverALimit(t *testing.T) {
	for name, o := range worlds {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				if err := play(scenarios(o).Draw(t, "scenario"), sound); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestTheJudgeNotices breaks the rule in the ways that limiters are known for
// and demands that the same property finds each out.
func TestTheJudgeNotices(t *testing.T) {
	for name, c := range map[string]struct {
		flaw  flaw
		world universe
	}{
		"judging by issue time":             {issueOnly, universe{windows: 1}},
		"forgetting calls without answer":   {forgetful, universe{windows: 1, crashes: true}},
		"trusting every clock":              {oneClock, universe{windows: 1, crashes: true}},
		"sending early":                     {early, universe{windows: 1}},
		"burying the living":                {namesake, universe{windows: 1, crashes: true}},
		"draining from the send time on":    {issueOnly, universe{windows: 1, buckets: 1}},
		"taking every call for a cheap one": {priceless, universe{windows: 1, buckets: 1}},
		"giving all of the cost back":       {undone, universe{windows: 1, buckets: 1}},
		"forgetting what is in flight":      {forgetful, universe{windows: 1, buckets: 1, crashes: true}},
		"starting with an empty bucket":     {emptied, universe{windows: 1, buckets: 1, crashes: true}},
		"sending early into a bucket":       {early, universe{windows: 1, buckets: 1}},
		"a level that follows nobody":       {deaf, universe{windows: 1, buckets: 1, figures: true, foreign: true}},
		"nothing on top of what it says":    {bare, universe{windows: 1, buckets: 1, figures: true, foreign: true}},
		"more under way than said":          {unbound, universe{windows: 1, concurrency: true, bounds: true, crashes: true}},
		"more on the way than said":         {unbound, universe{windows: 1, leftovers: true, crashes: true}},
		"a bound before it held":            {hasty, universe{windows: 1, leftovers: true, lowers: true, crashes: true}},
		"over once it is taken over":        {final, universe{windows: 1, leftovers: true, crashes: true}},
	} {
		t.Run(name, func(t *testing.T) {
			g := scenarios(c.world)
			for seed := range 5000 {
				err := play(g.Example(seed), c.flaw)
				if err != nil && (c.world.buckets == 0 || strings.HasPrefix(err.Error(), "bucket ")) {
					t.Logf("found with seed %d: %v", seed, err)
					return
				}
			}
			t.Fatal("5000 histories did not show the flaw: the property proves nothing about it")
		})
	}
}
