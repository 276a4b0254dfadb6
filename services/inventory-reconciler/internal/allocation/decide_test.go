package allocation_test

import (
	"testing"

	"github.com/peppasync/peppasync/services/inventory-reconciler/internal/allocation"
)

func TestDecide(t *testing.T) {
	sure := func(free int64) allocation.Evidence {
		return allocation.Evidence{Least: free, Most: free, Before: free, HasBefore: true}
	}
	for name, c := range map[string]struct {
		shown    int64
		evidence allocation.Evidence
		want     int64
		unsure   bool
	}{
		"what is right stays":                  {shown: 5, evidence: sure(5), want: 5},
		"too little is raised":                 {shown: 3, evidence: sure(5), want: 5},
		"too much by both reads is lowered":    {shown: 8, evidence: sure(5), want: 5},
		"a source that is oversold shows none": {shown: 8, evidence: sure(-2), want: 0},
		"a shop that is oversold stays":        {shown: -3, evidence: sure(-2), want: -3},
		"and is raised when there is some":     {shown: -3, evidence: sure(2), want: 2},
		"one read alone raises": {
			shown: 3, evidence: allocation.Evidence{Least: 5, Most: 6}, want: 5},
		"one read alone does not lower": {
			shown: 8, evidence: allocation.Evidence{Least: 5, Most: 6}, want: 8, unsure: true},
		"what was accepted during the read may be free": {
			shown: 8, evidence: allocation.Evidence{Least: 5, Most: 8, Before: 5, HasBefore: true}, want: 8},
		"what the read before supports may be free": {
			shown: 8, evidence: allocation.Evidence{Least: 5, Most: 6, Before: 8, HasBefore: true}, want: 8, unsure: true},
		"the last units stay on sale": {
			shown: 1, evidence: allocation.Evidence{Least: -4, Most: 1, Before: -2, HasBefore: true}, want: 1},
		"beyond what both support it goes to what is certain": {
			shown: 9, evidence: allocation.Evidence{Least: 5, Most: 7, Before: 8, HasBefore: true}, want: 5},
	} {
		t.Run(name, func(t *testing.T) {
			show, unsure := allocation.Decide(c.shown, c.evidence)
			if show != c.want || unsure != c.unsure {
				t.Errorf("show %d, unsure %v; want %d, %v", show, unsure, c.want, c.unsure)
			}
		})
	}
}
