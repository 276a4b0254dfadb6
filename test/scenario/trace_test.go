package scenario

import (
	"slices"
	"testing"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/runner/scene"
)

// TestTrace follows one order from the webhook to the ERP's reply in one trace,
// as a collector receives it.
func TestTrace(t *testing.T) {
	t.Parallel()
	collector := runner.NewCollector(t.Errorf)
	t.Cleanup(collector.Close)
	stage := open(t, scene.Options{
		Script: scene.Saturday(), Binary: binary(t, true), Arguments: []string{"--otlp-endpoint", collector.URL},
	})
	sell(t, stage)
	fed(t, stage, 1)
	webhook := []string{"logic-gate event", "POST /v1/webhooks/{connector}"}
	for call, want := range map[string][]string{
		"PUT wms":      append([]string{"PUT wms", "dispatch putOrder"}, webhook...),
		"PUT netsuite": append([]string{"PUT netsuite", "dispatch upsertSalesOrder", "logic-gate release"}, webhook...),
	} {
		var names []string
		until(t, soon, "the chain of "+call+" is with the collector", func() bool {
			for _, span := range collector.Named(call) {
				names = namesOf(collector.Chain(span))
			}
			return slices.Equal(names, want) || len(names) > len(want)
		})
		if !slices.Equal(names, want) {
			t.Errorf("%s: the chain is %q, want %q", call, names, want)
		}
	}
	// The order waited for the warehouse: what set it free is linked, and leads
	// back to the warehouse's reply.
	release := collector.Named("logic-gate release")
	if len(release) != 1 || len(release[0].GetLinks()) != 1 {
		t.Fatalf("%d releases, want one with one link", len(release))
	}
	var freed []string
	until(t, soon, "the link of the release leads to the warehouse", func() bool {
		if by := collector.Span(release[0].GetLinks()[0].GetSpanId()); by != nil {
			freed = namesOf(collector.Chain(by))
		}
		return slices.Contains(freed, "dispatch putOrder")
	})
	t.Logf("what set the ERP's delivery free: %q", freed)
}

func namesOf(chain []*tracev1.Span) []string {
	var names []string
	for _, span := range chain {
		names = append(names, span.GetName())
	}
	return names
}
