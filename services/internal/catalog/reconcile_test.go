package catalog_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

const afterWebhook = "    maxBodyBytes: 1048576\n"

func TestMistakesInLookingForWhatWebhooksMiss(t *testing.T) {
	shop := func(text string) edit { return edit{"shop.yaml", afterWebhook, afterWebhook + text} }
	for name, test := range map[string]struct {
		edit edit
		want []string
	}{
		"all of it": {shop("    address: https://orders.example.com/x/v1/webhooks/shop\n  reconcile: {every: 10s, overlap: 1m, lookBack: 0s, lane: express}\n"), []string{}},
		"never":     {shop("  reconcile: {every: 0s}\n"), []string{}},
		"as often as the share allows, in the cluster": {shop("    address: http://peppasync/v1/webhooks/shop\n  reconcile:\n    every: 5s\n"), []string{}},
		"more than its share": {
			edit{"shop.yaml", afterWebhook + "  limits:\n    - name: per-minute\n      rollingWindow: {calls: 240, per: 1m}\n", afterWebhook +
				"    address: https://orders.example.com/v1/webhooks/shop\n  reconcile:\n    every: 5s\n  limits:\n    - name: per-minute\n      rollingWindow: {calls: 100, per: 1m}\n"},
			[]string{`shop.yaml:15: spec.reconcile.every: every 5s is 24 calls in 1m, 24% of the 100 that limit "per-minute" allows, expected at most 20%: ask every 6s or less often`},
		},
		"a default that is more than its share is nobody's mistake": {edit{"shop.yaml", "calls: 240, per: 1m", "calls: 2, per: 1h"}, []string{}},
		"times without end": {shop("  reconcile:\n    every: 1s\n    overlap: 0.5s\n    lookBack: 2000h\n"), []string{
			"shop.yaml:14: spec.reconcile.every: found 1s, expected a time from 5s to 24h, or 0s for never",
			"shop.yaml:15: spec.reconcile.overlap: found 500ms, expected a time from 1s to 24h",
			"shop.yaml:16: spec.reconcile.lookBack: found 2000h, expected a time from 0s to 1440h",
		}},
		"a lane that is not there": {shop("  reconcile:\n    lane: slow\n"), []string{
			`shop.yaml:14: spec.reconcile.lane: Connector "shop" has no lane "slow", expected express, standard or bulk`,
		}},
		"a system that cannot be asked": {edit{"wms.yaml", "  http:\n", "  reconcile: {every: 1m}\n  http:\n"}, []string{
			"wms.yaml:11: spec.reconcile: belongs to Connectors that send webhooks, expected spec.webhook beside it: it finds what these miss",
			"wms.yaml:11: spec.reconcile: HTTP cannot be asked for the orders that changed, expected none here",
		}},
		"an address of somebody else": {shop("    address: https://orders.example.com/v1/webhooks/store\n"), []string{
			`shop.yaml:13: spec.webhook.address: found "https://orders.example.com/v1/webhooks/store", expected the https URL at which the system reaches this Connector, such as https://orders.example.com/v1/webhooks/shop`,
		}},
		"an address that anybody may read": {shop("    address: http://orders.example.com/v1/webhooks/shop\n"), []string{
			`shop.yaml:13: spec.webhook.address: found "http://orders.example.com/v1/webhooks/shop", expected the https URL at which the system reaches this Connector, such as https://orders.example.com/v1/webhooks/shop`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, check(t, folder(t, edited(t, test.edit)))); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsLookedForUnlessItIsWritten(t *testing.T) {
	duration := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	for name, test := range map[string]struct {
		edits []edit
		want  *v1alpha1.Reconcile
	}{
		"a shop that can be asked": {nil, &v1alpha1.Reconcile{
			Every: duration(5 * time.Minute), Overlap: *duration(10 * time.Minute), LookBack: duration(24 * time.Hour), Lane: "bulk",
		}},
		"one without webhooks": {[]edit{{"shop.yaml", "  webhook:\n    secretRef: {name: shop-webhook}\n" + afterWebhook, ""}, {"flow.yaml", "connector: shop", "connector: shop"}}, nil},
		"lanes of its own, and a part": {[]edit{{"shop.yaml", afterWebhook, afterWebhook + "  lanes: [{name: express, weight: 3}, {name: slow, weight: 1}]\n  reconcile: {every: 1m}\n"}}, &v1alpha1.Reconcile{
			Every: duration(time.Minute), Overlap: *duration(10 * time.Minute), LookBack: duration(24 * time.Hour), Lane: "slow",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var shop *v1alpha1.Connector
			for _, r := range load(t, test.edits...) {
				if c, ok := r.Object.(*v1alpha1.Connector); ok && c.Name == "shop" {
					shop = c
				}
			}
			shop.SetDefaults()
			if diff := cmp.Diff(test.want, shop.Spec.Reconcile); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, problems := catalog.Compile(load(t), systems.Set()); len(problems) > 0 {
		t.Errorf("the defaults are mistakes: %v", problems)
	}
}
