package operator

import (
	"errors"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/operator/internal/selection"
)

// A verdict is on one generation of one resource. That NATS does not answer is no news to
// those that have one, until it lasts; who has none hears it at once.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	by := map[string]judged{"Flow/orders": {verdict: selection.Verdict{InUse: true}, uid: "a", generation: 3}}
	var lasting verdicts
	lasting.set(by, nil, now)
	lasting.set(nil, errors.New("no answer"), now)
	lasting.set(nil, errors.New("still no answer"), now.Add(5*time.Second)) // it does not begin anew
	var over verdicts
	over.set(by, errors.New("no answer"), now)
	over.set(by, nil, now.Add(time.Second))
	over.set(by, errors.New("another time"), now.Add(20*time.Second))
	for name, test := range map[string]struct {
		of         *verdicts
		uid        types.UID
		generation int64
		after      time.Duration
		want       string
	}{
		"what was judged":                      {&over, "a", 3, 2 * time.Second, v1alpha1.ReasonCompiled},
		"before it lasts":                      {&lasting, "a", 3, troubleAfter - time.Second, v1alpha1.ReasonCompiled},
		"once it lasts":                        {&lasting, "a", 3, troubleAfter, v1alpha1.ReasonBus},
		"another time, which is short too":     {&over, "a", 3, 21 * time.Second, v1alpha1.ReasonCompiled},
		"a new generation while it is silent":  {&lasting, "a", 4, time.Second, v1alpha1.ReasonBus},
		"another of the same name while it is": {&lasting, "b", 3, time.Second, v1alpha1.ReasonBus},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flow := &v1alpha1.Flow{}
			flow.UID, flow.Generation = test.uid, test.generation
			got, known := test.of.of("Flow/orders", flow, now.Add(test.after))
			if !known || got.Reason != test.want {
				t.Errorf("got %+v, known %v, want %s", got, known, test.want)
			}
		})
	}
	var fresh verdicts
	fresh.set(by, nil, now)
	for name, about := range map[string]struct {
		uid        types.UID
		generation int64
	}{"a new generation": {"a", 4}, "another of the same name": {"b", 3}} {
		flow := &v1alpha1.Flow{}
		flow.UID, flow.Generation = about.uid, about.generation
		if got, known := fresh.of("Flow/orders", flow, now); known {
			t.Errorf("%s has the verdict %+v, and nobody has looked at it", name, got)
		}
	}
}
