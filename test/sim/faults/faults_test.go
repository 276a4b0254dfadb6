package faults_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPlan(t testing.TB, seed uint64, latency faults.Latency, rules ...faults.Rule) *faults.Plan {
	t.Helper()
	p, err := faults.NewPlan(seed, latency, rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func kinds(p *faults.Plan, calls ...faults.Call) []faults.Kind {
	var all []faults.Kind
	for _, c := range calls {
		if f := p.Next(c).Fault; f != nil {
			all = append(all, f.Kind)
		} else {
			all = append(all, "")
		}
	}
	return all
}

func TestRulesChooseTheirCalls(t *testing.T) {
	write := func(key string) faults.Call { return faults.Call{Operation: "write", Key: key} }
	read := faults.Call{Operation: "read"}
	for name, test := range map[string]struct {
		rule  faults.Rule
		calls []faults.Call
		want  []faults.Kind
	}{
		"a call number counts the calls that the rule is about": {
			faults.Rule{Kind: faults.Slow, Operations: []string{"write"}, Calls: []int{2}},
			[]faults.Call{write("a"), read, write("b"), write("c")}, []faults.Kind{"", "", faults.Slow, ""},
		},
		"a key is compared without case": {
			faults.Rule{Kind: faults.CutAfterCommit, Keys: []string{"Shop-7"}},
			[]faults.Call{write("shop-8"), write("SHOP-7"), read}, []faults.Kind{"", faults.CutAfterCommit, ""},
		},
		"times bounds how often a rule fires": {
			faults.Rule{Kind: faults.Unavailable, Times: 2},
			[]faults.Call{read, read, read}, []faults.Kind{faults.Unavailable, faults.Unavailable, ""},
		},
		"the first request of a connection is not closed": {
			faults.Rule{Kind: faults.CloseMidRequest},
			[]faults.Call{{Operation: "write", FirstOnConnection: true}, write("")}, []faults.Kind{"", faults.CloseMidRequest},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, kinds(newPlan(t, 1, faults.Latency{}, test.rule), test.calls...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSameSeedSameFaultsWhateverTheOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rule := faults.Rule{Kind: faults.CutBeforeCommit, Probability: rapid.Float64Range(0.01, 1).Draw(rt, "p")}
		latency := faults.Latency{Distribution: faults.Uniform, Max: jsontime.Duration(time.Second)}
		var calls []faults.Call
		for i := range 40 {
			calls = append(calls, faults.Call{Operation: "write", Key: fmt.Sprint(i)})
		}
		decide := func(order []faults.Call) map[string]faults.Decision {
			p := newPlan(t, seed, latency, rule)
			all := make(map[string]faults.Decision)
			for _, c := range order {
				all[c.Key] = p.Next(c)
			}
			return all
		}
		forward := decide(calls)
		slices.Reverse(calls)
		if diff := cmp.Diff(forward, decide(calls)); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func TestProbabilityIsAboutThatOfTheRule(t *testing.T) {
	p := newPlan(t, 3, faults.Latency{}, faults.Rule{Kind: faults.Slow, Probability: 0.2})
	for i := range 5000 {
		p.Next(faults.Call{Operation: "write", Key: fmt.Sprint(i)})
	}
	if fired := p.Fired()[faults.Slow]; fired < 900 || fired > 1100 {
		t.Errorf("fired %d of 5000 at 0.2", fired)
	}
}

func TestLatencyKeepsItsBounds(t *testing.T) {
	millis := func(n int) jsontime.Duration { return jsontime.Duration(time.Duration(n) * time.Millisecond) }
	for name, l := range map[string]faults.Latency{
		"fixed":   {Distribution: faults.Fixed, Min: millis(5), Max: millis(5)},
		"uniform": {Distribution: faults.Uniform, Min: millis(5), Max: millis(50)},
		"pareto":  {Distribution: faults.Pareto, Min: millis(5), Max: millis(5000)},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlan(t, 9, l)
			var all []time.Duration
			for i := range 2000 {
				all = append(all, p.Next(faults.Call{Operation: fmt.Sprint(i)}).Latency)
			}
			slices.Sort(all)
			if all[0] < l.Min.Std() || all[len(all)-1] > l.Max.Std() {
				t.Errorf("from %v to %v, want within %v to %v", all[0], all[len(all)-1], l.Min.Std(), l.Max.Std())
			}
			if name == "pareto" && (all[1000] > 10*time.Millisecond || all[1999] < 100*time.Millisecond) {
				t.Errorf("median %v and maximum %v do not look heavy-tailed", all[1000], all[1999])
			}
		})
	}
}

func TestWrongRulesAreRefused(t *testing.T) {
	for wanted, rule := range map[string]faults.Rule{
		"kind":        {Kind: "explode"},
		"probability": {Kind: faults.Slow, Probability: 1.5},
		"call number": {Kind: faults.Slow, Calls: []int{0}},
		"times":       {Kind: faults.Slow, Times: -1},
	} {
		p := newPlan(t, 1, faults.Latency{}, faults.Rule{Kind: faults.Throttle})
		if err := p.Set([]faults.Rule{rule}); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("Set(%+v) = %v, want an error about %q", rule, err, wanted)
		}
		if got := kinds(p, faults.Call{}); got[0] != faults.Throttle {
			t.Errorf("after a refused rule the old one is gone: %v", got)
		}
	}
	for _, l := range []faults.Latency{
		{Distribution: "normal"}, {Distribution: faults.Uniform, Min: 5}, {Distribution: faults.Pareto, Max: 5},
	} {
		if _, err := faults.NewPlan(1, l, nil); err == nil {
			t.Errorf("latency %+v is accepted", l)
		}
	}
}
