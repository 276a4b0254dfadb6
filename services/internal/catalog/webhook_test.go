package catalog_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// ofEvents checks a Connector that only sends, beside the files without a mistake.
func ofEvents(t *testing.T, spec string) []string {
	t.Helper()
	return check(t, folder(t, edited(t, edit{"events.yaml", "", onlySends + spec})))
}

func TestMistakesInWebhooks(t *testing.T) {
	const http = "  system: HTTP\n  webhook:\n    secretRef: {name: events}\n"
	tests := map[string]struct {
		spec string
		want []string
	}{
		"as little as can be": {http, []string{}},
		"everything": {http + "    tolerance: 168h\n    hmac: {header: X-S, algorithm: SHA1, encoding: Base64, prefix: v0=, signed: '{body}{timestamp}', timestamp: {header: X-S, prefix: t=, format: RFC3339}}\n" +
			"    topic: {field: meta.event}\n    eventId: {header: X-Id}\n    orderTopics: [a, b]\n    order: body.data\n", []string{}},
		"no such algorithm": {http + "    hmac: {header: X-S, algorithm: MD5}\n", []string{
			`events.yaml:8: spec.webhook.hmac.algorithm: found "MD5", expected SHA1, SHA256 or SHA512`,
		}},
		"no header": {http + "    hmac: {prefix: v0=}\n", []string{
			`events.yaml:8: spec.webhook.hmac.header: is missing, expected text, such as X-Hub-Signature-256`,
		}},
		"what a header holds in the place of its name": {http + "    hmac: {header: 'Authorization: Bearer x'}\n", []string{
			`events.yaml:8: spec.webhook.hmac.header: is not the name of a header, expected one such as X-Hub-Signature-256; what it holds never belongs here`,
		}},
		"a prefix with what stands between elements": {http + "    hmac: {header: X-S, prefix: 'v1,'}\n", []string{
			`events.yaml:8: spec.webhook.hmac.prefix: found "v1,", expected at most 32 letters and signs without space, comma and semicolon, such as sha256=`,
		}},
		"a signature over nothing": {http + "    hmac: {header: X-S, signed: fixed}\n", []string{
			`events.yaml:8: spec.webhook.hmac.signed: found "fixed", expected a text with {body} once in it and {timestamp} at most once, such as "{timestamp}.{body}"`,
		}},
		"a body twice": {http + "    hmac: {header: X-S, signed: '{body}{body}'}\n", []string{
			`events.yaml:8: spec.webhook.hmac.signed: found "{body}{body}", expected a text with {body} once in it and {timestamp} at most once, such as "{timestamp}.{body}"`,
		}},
		"what nothing fills": {http + "    hmac: {header: X-S, signed: '{id}.{body}'}\n", []string{
			`events.yaml:8: spec.webhook.hmac.signed: found "{id}.{body}", expected a text with {body} once in it and {timestamp} at most once, such as "{timestamp}.{body}"`,
		}},
		"a time from nowhere": {http + "    hmac: {header: X-S, signed: '{timestamp}{body}'}\n", []string{
			`events.yaml:8: spec.webhook.hmac.signed: holds {timestamp}, expected none without hmac.timestamp, which says where it comes from`,
		}},
		"a time that is not signed": {http + "    hmac: {header: X-S, signed: '{body}', timestamp: {header: X-T}}\n", []string{
			`events.yaml:8: spec.webhook.hmac.signed: found "{body}", expected {timestamp} in it: one that is not signed protects from nothing`,
		}},
		"a tolerance for no time": {http + "    tolerance: 5m\n", []string{
			`events.yaml:8: spec.webhook.tolerance: belongs to systems StandardWebhooks, Stripe and BigCommerce, and to hmac.timestamp, expected none here`,
		}},
		"a tolerance of years": {"  system: Stripe\n  webhook: {secretRef: {name: events}, tolerance: 9000h}\n", []string{
			`events.yaml:6: spec.webhook.tolerance: found 9000h, expected a time from 1s to 168h`,
		}},
		"what others have": {"  system: Stripe\n  webhook:\n    secretRef: {name: events}\n    hmac: {header: X-S}\n    topic: {constant: a}\n    eventId: {field: a}\n    orderTopics: [a]\n    order: body\n", []string{
			`events.yaml:8: spec.webhook.hmac: belongs to systems HTTP and CloudEvents, expected none here`,
			`events.yaml:9: spec.webhook.topic: belongs to system HTTP, expected none here`,
			`events.yaml:10: spec.webhook.eventId: belongs to system HTTP, expected none here`,
			`events.yaml:11: spec.webhook.orderTopics: belongs to systems HTTP, StandardWebhooks and CloudEvents, expected none here`,
			`events.yaml:12: spec.webhook.order: belongs to systems HTTP, StandardWebhooks and CloudEvents, expected none here`,
		}},
		"a topic from two places": {http + "    topic: {header: X-T, field: type}\n", []string{
			`events.yaml:8: spec.webhook.topic: has 2 of header, field or constant, expected one of them`,
		}},
		"a topic from nowhere": {http + "    topic: {}\n", []string{
			`events.yaml:8: spec.webhook.topic: has 0 of header, field or constant, expected one of them`,
		}},
		"an id that is always the same": {http + "    eventId: {constant: a}\n", []string{
			`events.yaml:8: spec.webhook.eventId.constant: there is no such field in spec.webhook.eventId, expected header or field`,
		}},
		"a field that is none": {http + "    topic: {field: 'a[0]'}\n", []string{
			`events.yaml:8: spec.webhook.topic.field: found "a[0]", expected a field of the body, such as type or meta.event`,
		}},
		"a topic twice, and one that is empty": {http + "    orderTopics: [a, a, '']\n", []string{
			`events.yaml:8: spec.webhook.orderTopics[1]: "a" is written twice, expected it once`,
			`events.yaml:8: spec.webhook.orderTopics[2]: has 0 bytes, expected 1 to 255, such as order.created`,
		}},
		"an expression about something else": {http + "    order: |\n      {\n        \"id\": order.id,\n      }\n", []string{
			`events.yaml:10: spec.webhook.order: "order" is not known here; an expression that makes an order sees body and topic (line 2, column 9 of the expression)`,
		}},
		"an expression whose value is no map": {http + "    order: string(body.id)\n", []string{
			`events.yaml:8: spec.webhook.order: found a text (string), expected a map with the fields of an order, such as {"id": body.id, "updated_at": body.updated_at, "lines": []} (line 1, column 1 of the expression)`,
		}},
		"an expression with what may be absent": {http + "    order: '{\"id\": body.?id}'\n", []string{
			`events.yaml:8: spec.webhook.order: the value may be absent: write .orValue("") behind it, or {?"key": value} to leave the key out (line 1, column 12 of the expression)`,
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, ofEvents(t, test.spec)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// A flow takes what its sources can say, and a program's orders by any topic.
func TestFlowsTakeTheTopicsThatCarryOrders(t *testing.T) {
	for name, test := range map[string]struct {
		spec, topics string
		want         int
	}{
		"any, where none is written":      {"  system: StandardWebhooks\n  webhook: {secretRef: {name: events}}\n", "[order.created]", 0},
		"one that is written":             {"  system: CloudEvents\n  webhook: {secretRef: {name: events}, orderTopics: [a, b]}\n", "[b]", 0},
		"one that is not":                 {"  system: HTTP\n  webhook: {secretRef: {name: events}, orderTopics: [a, b]}\n", "[b, c]", 1},
		"of a payment":                    {"  system: Stripe\n  webhook: {secretRef: {name: events}}\n", "[payment_intent.succeeded]", 1},
		"any, of a program":               {"  system: GRPC\n  webhook: {secretRef: {name: events}}\n", "[whatever]", 0},
		"an order by an expression, any":  {"  system: HTTP\n  webhook: {secretRef: {name: events}, order: body.data}\n", "[sale]", 0},
		"the only one, where it is fixed": {"  system: HTTP\n  webhook: {secretRef: {name: events}, topic: {constant: sale}}\n", "[sale]", 0},
	} {
		t.Run(name, func(t *testing.T) {
			flow := "apiVersion: peppasync.io/v1alpha1\nkind: Flow\nmetadata: {name: events}\nspec:\n  from: [{connector: events, topics: " + test.topics + "}]\n" +
				"  deliver: [{name: wms, connector: wms, operation: putOrder, mapping: '{\"id\": order.id}'}]\n"
			got := check(t, folder(t, edited(t, edit{"events.yaml", "", onlySends + test.spec}, edit{"events-flow.yaml", "", flow})))
			if len(got) != test.want {
				t.Errorf("found %v, want %d problems", got, test.want)
			}
			for _, problem := range got {
				if !strings.Contains(problem, "which carries no order") {
					t.Errorf("found %s", problem)
				}
			}
		})
	}
}

// What nobody writes is said here, and nowhere else.
func TestDefaultsOfWebhooks(t *testing.T) {
	tests := map[string]struct{ spec, want string }{
		"system HTTP":                  {"  system: HTTP\n  webhook: {secretRef: {name: x}}\n", `{"secretRef":{"name":"x"},"maxBodyBytes":1048576,"topic":{"constant":"order"}}`},
		"with a signature":             {"  system: HTTP\n  webhook: {secretRef: {name: x}, hmac: {header: X-S}}\n", `{"secretRef":{"name":"x"},"maxBodyBytes":1048576,"hmac":{"header":"X-S","algorithm":"SHA256","encoding":"Hex","signed":"{body}"},"topic":{"constant":"order"}}`},
		"with a time":                  {"  system: CloudEvents\n  webhook: {secretRef: {name: x}, hmac: {header: X-S, timestamp: {header: X-T}}}\n", `{"secretRef":{"name":"x"},"maxBodyBytes":1048576,"tolerance":"5m0s","hmac":{"header":"X-S","algorithm":"SHA256","encoding":"Hex","signed":"{timestamp}.{body}","timestamp":{"header":"X-T","format":"UnixSeconds"}}}`},
		"a sender that signs the time": {"  system: StandardWebhooks\n  webhook: {secretRef: {name: x}}\n", `{"secretRef":{"name":"x"},"maxBodyBytes":1048576,"tolerance":"5m0s"}`},
		"a topic that is written":      {"  system: HTTP\n  webhook: {secretRef: {name: x}, topic: {header: X-T}}\n", `{"secretRef":{"name":"x"},"maxBodyBytes":1048576,"topic":{"header":"X-T"}}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			snapshot, problems := catalog.Compile(load(t, edit{"events.yaml", "", onlySends + test.spec}), systems.Set())
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			got, err := json.Marshal(snapshot.Connectors["events"].Spec.Webhook)
			if err != nil || string(got) != test.want {
				t.Errorf("error %v\ngot  %s\nwant %s", err, got, test.want)
			}
		})
	}
	stripe := v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{System: v1alpha1.SystemStripe, Webhook: &v1alpha1.Webhook{}}}
	stripe.SetDefaults()
	if stripe.Spec.Webhook.Tolerance.Duration != 5*time.Minute {
		t.Errorf("Stripe's tolerance is %v", stripe.Spec.Webhook.Tolerance)
	}
}
