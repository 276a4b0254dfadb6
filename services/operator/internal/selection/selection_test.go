package selection

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

func compile(resources []catalog.Resource) catalog.Problems {
	_, problems := catalog.Compile(resources, systems.Set())
	return problems
}

// connector takes orders by PUT, in the lane standard and others.
func connector(name string, calls int64, lanes ...string) catalog.Resource {
	c := &v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{
		System: v1alpha1.SystemHTTP, Endpoint: "http://" + name,
		Webhook: &v1alpha1.Webhook{SecretRef: v1alpha1.SecretReference{Name: "secret"}},
		Limits:  []v1alpha1.Limit{{Name: "per-minute", RollingWindow: &v1alpha1.RollingWindow{Calls: calls, Per: metav1.Duration{Duration: time.Minute}}}},
		HTTP: &v1alpha1.HTTPSettings{Operations: []v1alpha1.HTTPOperation{
			{Name: "putOrder", Method: "PUT", Path: "/orders/{externalId}", Effect: v1alpha1.HTTPEffectIdempotent},
		}},
	}}
	for _, lane := range lanes {
		c.Spec.Lanes = append(c.Spec.Lanes, v1alpha1.Lane{Name: lane, Weight: 1})
	}
	c.Name = name
	return catalog.Resource{Object: c, File: "Connector/" + name}
}

func flow(name, from, to, lane, mapping string) catalog.Resource {
	f := &v1alpha1.Flow{Spec: v1alpha1.FlowSpec{
		From:    []v1alpha1.EventSource{{Connector: from, Topics: []string{"order"}}},
		Deliver: []v1alpha1.DeliverStep{{Name: "step", Connector: to, Operation: "putOrder", Lane: lane, Mapping: mapping}},
	}}
	f.Name = name
	return catalog.Resource{Object: f, File: "Flow/" + name}
}

const (
	good = `{"id": externalId}`
	bad  = `{"id": externalId + 1}`
)

func TestChoose(t *testing.T) {
	t.Parallel()
	erp, shop, other := connector("erp", 100), connector("shop", 100), connector("other", 100)
	for name, test := range map[string]struct {
		wanted, before []catalog.Resource
		// what is taken, and what is said of the others
		taken []string
		said  map[string]string
	}{
		"all are fine": {
			wanted: []catalog.Resource{erp, shop, flow("orders", "shop", "erp", "", good)},
			taken:  []string{"Connector/erp", "Connector/shop", "Flow/orders"},
		},
		"a new one that does not compile": {
			wanted: []catalog.Resource{erp, shop, flow("orders", "shop", "erp", "", good), flow("wrong", "shop", "erp", "", bad)},
			taken:  []string{"Connector/erp", "Connector/shop", "Flow/orders"},
			said:   map[string]string{"Flow/wrong": "spec.deliver[0].mapping"},
		},
		"an edit that does not compile": {
			wanted: []catalog.Resource{erp, shop, flow("orders", "shop", "erp", "", bad)},
			before: []catalog.Resource{erp, shop, flow("orders", "shop", "erp", "", good)},
			taken:  []string{"Connector/erp", "Connector/shop", "Flow/orders (before)"},
			said:   map[string]string{"Flow/orders": "spec.deliver[0].mapping"},
		},
		"an edit that takes a lane from a flow": {
			wanted: []catalog.Resource{connector("erp", 100, "bulk"), shop, other, flow("orders", "shop", "erp", "standard", good)},
			before: []catalog.Resource{erp, shop, flow("orders", "shop", "erp", "standard", good)},
			taken:  []string{"Connector/erp (before)", "Connector/other", "Connector/shop", "Flow/orders"},
			said:   map[string]string{"Connector/erp": `Flow/orders would not compile any more: spec.deliver[0].lane: Connector "erp" has no lane "standard"`},
		},
		"a Connector that is gone": {
			wanted: []catalog.Resource{shop, flow("orders", "shop", "erp", "", good), flow("round", "shop", "shop", "", good)},
			before: []catalog.Resource{erp, shop, flow("orders", "shop", "erp", "", good), flow("round", "shop", "shop", "", good)},
			taken:  []string{"Connector/shop", "Flow/round"},
			said:   map[string]string{"Flow/orders": `there is no Connector "erp"`},
		},
		"a new Connector that does not compile, and what names it": {
			wanted: []catalog.Resource{connector("erp", -1), shop, flow("orders", "shop", "erp", "", good)},
			taken:  []string{"Connector/shop"},
			said:   map[string]string{"Connector/erp": "spec.limits[0]", "Flow/orders": `there is no Connector "erp"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chosen, verdicts, err := Choose(test.wanted, test.before, compile)
			if err != nil {
				t.Fatal(err)
			}
			var taken []string
			for _, r := range chosen {
				text := Key(r)
				if verdicts[Key(r)].Older {
					text += " (before)"
				}
				taken = append(taken, text)
			}
			if diff := cmp.Diff(test.taken, taken); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
			for key, verdict := range verdicts {
				if want := test.said[key]; !strings.Contains(verdict.Message, want) || verdict.InUse != (want == "") {
					t.Errorf("%s: in use %v: %q, want one that says %q", key, verdict.InUse, verdict.Message, want)
				}
			}
		})
	}
}

// Whatever is edited: what is taken compiles, each resource has a verdict, what was not
// touched and is not named by what was touched stays, and what is not in use has a reason.
func TestOneThatIsWrongTakesNoOtherDown(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before := []catalog.Resource{
			connector("a", 100), connector("b", 100), flow("ab", "a", "b", "standard", good), flow("bb", "b", "b", "standard", good),
			connector("x", 100), flow("xx", "x", "x", "standard", good),
		}
		wanted := slices.Clone(before)
		// The rest is about a and b; x and its flow are never touched.
		edits := []func() catalog.Resource{
			func() catalog.Resource {
				return connector("a", rapid.SampledFrom([]int64{-1, 50, 100}).Draw(t, "calls of a"))
			},
			func() catalog.Resource {
				return connector("b", 100, rapid.SampledFrom([]string{"standard", "bulk"}).Draw(t, "lane of b"))
			},
			func() catalog.Resource {
				return flow("ab", "a", "b", rapid.SampledFrom([]string{"standard", "bulk"}).Draw(t, "lane of ab"), rapid.SampledFrom([]string{good, bad}).Draw(t, "mapping"))
			},
			func() catalog.Resource {
				return flow("bb", "b", rapid.SampledFrom([]string{"b", "nowhere"}).Draw(t, "to"), "standard", good)
			},
		}
		for i, edit := range edits {
			if rapid.Bool().Draw(t, fmt.Sprintf("edit %d", i)) {
				wanted[i] = edit()
			}
		}
		for range rapid.IntRange(0, 2).Draw(t, "removed") {
			wanted = slices.DeleteFunc(wanted, func(r catalog.Resource) bool {
				return Key(r) == "Connector/"+rapid.SampledFrom([]string{"a", "b"}).Draw(t, "gone")
			})
		}
		chosen, verdicts, err := Choose(wanted, before, compile)
		if err != nil {
			t.Fatal(err)
		}
		if problems := compile(chosen); len(problems) > 0 {
			t.Fatalf("what was taken does not compile: %v", problems)
		}
		if len(verdicts) != len(wanted) {
			t.Fatalf("%d verdicts of %d resources", len(verdicts), len(wanted))
		}
		for key, verdict := range verdicts {
			if !verdict.InUse && verdict.Message == "" {
				t.Fatalf("%s is not in use, and nobody says why", key)
			}
		}
		if !verdicts["Connector/x"].InUse || !verdicts["Flow/xx"].InUse {
			t.Fatalf("what nobody touched was taken down: %+v", verdicts)
		}
	})
}
