package catalog_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What says which replies are accepted: a mistake here loses orders.
func TestEachMistakeAboutRepliesSaysWhereAndWhatIsExpected(t *testing.T) {
	const with = "effect: Idempotent\n        reply:"
	tests := map[string]struct {
		written string
		want    []string
	}{
		"what is accepted": {with + " {accepted: has(body.id)}", []string{}},
		"all of it": {with + `
          accepted: '!has(body.errors) && has(body.data.order.id)'
          throttled: body.errors.exists(e, e.extensions.code == "THROTTLED")
          unauthorized: body.code == "TOKEN_EXPIRED"
          alreadyThere: status == 409 && body.order == externalId
          refused: body.errors.size() > 0 || text.startsWith("ERROR")
          reference: body.data.order.id
          code: body.errors[0].?extensions.?code
          message: body.errors.map(e, e.message).join("; ")`, []string{}},
		"nothing about what is accepted": {with + " {refused: has(body.errors)}", []string{
			`wms.yaml:17: spec.http.operations[0].reply.accepted: is missing, expected text, such as has(body.data.order.id)`,
		}},
		"an empty text for what is accepted": {with + " {accepted: ''}", []string{
			`wms.yaml:17: spec.http.operations[0].reply.accepted: is missing, expected which replies with a status from 200 to 299 say that the call was taken, such as has(body.data.order.id)`,
		}},
		"a bool in the place of an expression": {with + " {accepted: true}", []string{
			`wms.yaml:17: spec.http.operations[0].reply.accepted: found true, which is no text, expected text, such as has(body.data.order.id): put it in quotes`,
		}},
		"a field that is none": {with + " {accepted: has(body.id), denied: has(body.errors)}", []string{
			`wms.yaml:17: spec.http.operations[0].reply.denied: there is no such field in spec.http.operations[0].reply, expected accepted, refused, throttled, unauthorized, alreadyThere, reference, code or message`,
		}},
		"a name that is not there": {with + "\n          accepted: |\n            status == 200 &&\n            response.ok", []string{
			`wms.yaml:20: spec.http.operations[0].reply.accepted: "response" is not known here; an expression about a reply sees status, body, text and externalId (line 2, column 1 of the expression)`,
		}},
		"a condition that is a text": {with + " {accepted: has(body.id), refused: text}", []string{
			`wms.yaml:17: spec.http.operations[0].reply.refused: found a text (string), expected true or false, such as status == 200 (line 1, column 1 of the expression)`,
		}},
		"a text that is a condition": {with + " {accepted: has(body.id), message: has(body.message)}", []string{
			`wms.yaml:17: spec.http.operations[0].reply.message: found a bool, expected a text or a number, such as body.message (line 1, column 1 of the expression)`,
		}},
		"what only asks finds nothing there": {"effect: None\n        reply: {accepted: has(body.id), alreadyThere: has(body.errors)}", []string{
			`wms.yaml:17: spec.http.operations[0].reply.alreadyThere: belongs to effects Once and Idempotent, expected none here: what only asks leaves nothing there`,
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, check(t, folder(t, edited(t, edit{"wms.yaml", "effect: Idempotent", test.written})))); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
