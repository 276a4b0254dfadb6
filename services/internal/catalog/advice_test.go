package catalog_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// A topic that the shop may have got since this release was made is taken, and said to be
// unknown: most likely it is misspelt, and then no event ever comes under it.
func TestATopicThatTheSystemIsNotKnownToHaveIsAdvisedAgainst(t *testing.T) {
	const topics = "[orders/create, orders/paid]"
	for name, test := range map[string]struct {
		topics string
		want   []string
	}{
		"all are known":              {topics, nil},
		"known, and rarely an order": {"[orders/edited, orders/delete]", nil},
		"misspelt": {"[orders/create, orders/paied]", []string{
			`flow.yaml:8: spec.from[0].topics[1]: found "orders/paied", a topic about orders that system Shopify is not known to have: ` +
				`if it has none of that name no event will ever come under it, expected one of orders/cancelled, orders/create, orders/delete, ` +
				`orders/edited, orders/fulfilled, orders/link_requested, orders/paid, orders/partially_fulfilled, orders/risk_assessment_changed, ` +
				`orders/shopify_protect_eligibility_changed or orders/updated; did you mean orders/paid?`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			resources := load(t, edit{"flow.yaml", topics, test.topics})
			var got []string
			for _, advice := range catalog.Advice(resources, systems.Set()) {
				advice.File = filepath.Base(advice.File)
				got = append(got, advice.Error())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, problems := catalog.Compile(resources, systems.Set()); len(problems) > 0 {
				t.Errorf("it is refused: %v", problems)
			}
		})
	}
}
