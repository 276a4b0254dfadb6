package catalog_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What says how the effect of a call is looked up: a mistake here doubles orders.
func TestEachMistakeInALookUpSaysWhereAndWhatIsExpected(t *testing.T) {
	const once = "effect: Once\n        find: "
	tests := map[string]struct {
		edits []edit
		want  []string
	}{
		"none": {[]edit{{"wms.yaml", "effect: Idempotent", once + "{path: '/orders/{externalId}'}"}}, []string{}},
		"none in a search": {[]edit{{"wms.yaml", "effect: Idempotent",
			once + "{method: GET, path: '/orders?externalId={externalId}', foundStatus: [200], absentStatus: [404, 410, 204], list: data.items}"}}, []string{}},
		"a path for all orders": {[]edit{{"wms.yaml", "effect: Idempotent", once + "{path: /orders}"}}, []string{
			`wms.yaml:17: spec.http.operations[0].find.path: found "/orders", expected {externalId} in it: it has to find this order alone`,
		}},
		"a path that leaves the endpoint": {[]edit{{"wms.yaml", "effect: Idempotent", once + "{path: 'orders?id={externalId}'}"}}, []string{
			`wms.yaml:17: spec.http.operations[0].find.path: found "orders?id={externalId}", expected a path from the endpoint on, such as /orders/{externalId} (the only name that braces may hold)`,
		}},
		"a method with an effect": {[]edit{{"wms.yaml", "effect: Idempotent", once + "{method: POST, path: '/orders/{externalId}'}"}}, []string{
			`wms.yaml:17: spec.http.operations[0].find.method: found "POST", expected GET`,
		}},
		"a look-up of what is sent again anyway": {[]edit{{"wms.yaml", "effect: Idempotent", "effect: Idempotent\n        find: {path: '/orders/{externalId}'}"}}, []string{
			`wms.yaml:17: spec.http.operations[0].find: belongs to effect Once, expected none here: an Idempotent request is simply sent again, and None has no effect to be found`,
		}},
		"an error that counts as found": {[]edit{{"wms.yaml", "effect: Idempotent", once + "{path: '/orders/{externalId}', foundStatus: [500]}"}}, []string{
			`wms.yaml:17: spec.http.operations[0].find.foundStatus[0]: found 500, expected a status from 200 to 299`,
		}},
		"an error that counts as absent": {[]edit{{"wms.yaml", "effect: Idempotent", once + "{path: '/orders/{externalId}', absentStatus: [404, 403]}"}}, []string{
			`wms.yaml:17: spec.http.operations[0].find.absentStatus[1]: found 403, expected 404, 410 or a status from 200 to 299: others do not say that the record is not there`,
		}},
		"a status that says both": {[]edit{{"wms.yaml", "effect: Idempotent", once + "{path: '/orders/{externalId}', absentStatus: [200]}"}}, []string{
			`wms.yaml:17: spec.http.operations[0].find.absentStatus[0]: found 200, which is in foundStatus too, expected it in one of them`,
		}},
		"a list that is no name": {[]edit{{"wms.yaml", "effect: Idempotent", once + "{path: '/orders/{externalId}', list: '$.items'}"}}, []string{
			`wms.yaml:17: spec.http.operations[0].find.list: found "$.items", expected names of fields joined by dots, such as data.items, or "." where the body is the list`,
		}},
		"a method without a body": {[]edit{{"wms.yaml", "effect: Idempotent", once + "{method: HEAD, path: '/orders/{externalId}'}"}}, []string{
			`wms.yaml:17: spec.http.operations[0].find.method: found "HEAD", expected GET`,
		}},
		"a horizon": {[]edit{{"erp.yaml", "timeout: 30s", "timeout: 30s\n  commitHorizon: 0s"}}, []string{}},
		"a horizon of days": {[]edit{{"erp.yaml", "timeout: 30s", "timeout: 30s\n  commitHorizon: 25h"}}, []string{
			`erp.yaml:23: spec.commitHorizon: found 25h, expected a time from 0s to 24h`,
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, check(t, folder(t, edited(t, test.edits...)))); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
