package faults_test

import (
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
)

func TestMishapsMeetTheirSharesAndRepeat(t *testing.T) {
	m := faults.Mishaps{Drop: 0.2, Late: 0.1, LateBy: jsontime.Duration(time.Second), Twice: 0.05, Seed: 3}
	const n = 20_000
	dropped, late, twice := 0, 0, 0
	for i := range n {
		id := strconv.Itoa(i)
		fate := m.Fate("order.created", id)
		if fate != m.Fate("order.created", id) {
			t.Fatalf("the fate of %s changes", id)
		}
		switch {
		case fate.Dropped && (fate.Delay > 0 || fate.Twice):
			t.Fatalf("%s is dropped and %+v", id, fate)
		case fate.Dropped:
			dropped++
		}
		if fate.Delay > 0 {
			late++
		}
		if fate.Twice {
			twice++
		}
	}
	for what, share := range map[string][2]float64{
		"dropped": {float64(dropped) / n, 0.2}, "late": {float64(late) / n, 0.8 * 0.1}, "twice": {float64(twice) / n, 0.8 * 0.05},
	} {
		if math.Abs(share[0]-share[1]) > 0.01 {
			t.Errorf("%s: %.3f, want about %.3f", what, share[0], share[1])
		}
	}
}

func TestMishapsOfOneTopicSpareTheOthers(t *testing.T) {
	m := faults.Mishaps{Drop: 1, Topics: []string{"order.updated"}}
	if !m.Fate("order.updated", "1").Dropped || m.Fate("order.created", "1").Dropped {
		t.Error("the topic does not choose")
	}
	if got := (faults.Mishaps{Late: 1}).Fate("x", "1").Delay; got != time.Minute {
		t.Errorf("late by %v, want a minute", got)
	}
	for _, m := range []faults.Mishaps{{Drop: -0.1}, {Twice: 1.1}, {Late: math.NaN()}, {LateBy: 1}} {
		if m.Validate() == nil {
			t.Errorf("%+v is taken", m)
		}
	}
}
