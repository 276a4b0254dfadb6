package operator_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// Resources that an API server takes; each case breaks one of them.
var bases = map[string]string{
	"http": `
kind: Connector
spec:
  system: HTTP
  endpoint: https://wms.example.com
  webhook:
    secretRef: {name: wms}
    hmac: {header: X-Signature, timestamp: {header: X-Time}}
    topic: {header: X-Topic}
    eventId: {header: X-Event}
  limits:
  - {name: per-minute, rollingWindow: {calls: 100, per: 1m}}
  - {name: parallel, concurrency: {calls: 15}}
  - {name: points, bucket: {capacity: 100, refill: {points: 2, per: 1s}}}
  maintenance: [{schedule: "0 2 * * 0", duration: 2h}]
  http:
    probePath: /health
    operations:
    - {name: putOrder, method: PUT, path: "/orders/{externalId}", effect: Idempotent}
    - {name: postOrder, method: POST, path: /orders, effect: Once, find: {path: "/orders/{externalId}"}, reply: {accepted: "true"}}
`,
	"erp": `
kind: Connector
spec:
  system: NetSuite
  endpoint: https://123456.suitetalk.api.netsuite.com
  auth: {secretRef: {name: netsuite}}
  limits: [{name: per-minute, rollingWindow: {calls: 100, per: 1m}}]
`,
	"shop": `
kind: Connector
spec:
  system: Shopify
  endpoint: https://my-shop.myshopify.com
  auth: {secretRef: {name: shopify}}
  webhook: {secretRef: {name: shopify-webhook}}
  limits: [{name: per-minute, rollingWindow: {calls: 100, per: 1m}}]
  shopify: {apiVersion: "2026-10"}
`,
	"texts": `
kind: Connector
spec:
  system: Twilio
  endpoint: https://api.twilio.com
  auth: {secretRef: {name: twilio}}
  limits: [{name: per-second, rollingWindow: {calls: 10, per: 1s}}]
  twilio: {accountSID: AC0123456789abcdef0123456789abcdef, from: "+15550100001"}
`,
	"money": `
kind: Connector
spec: {system: Stripe, webhook: {secretRef: {name: stripe}}}
`,
	"flow": `
kind: Flow
spec:
  from: [{connector: shop, topics: [orders/create]}]
  deliver: [{name: erp, connector: erp, operation: upsertSalesOrder, mapping: "{}"}]
`,
	"pool": `
kind: StockPool
spec: {skus: [DESK-1], source: {connector: erp, location: "1"}, channels: [{connector: shop, location: "1"}]}
`,
	"policy": `
kind: NotificationPolicy
spec: {events: [Held], through: {connector: texts}, to: ["+15550100002"]}
`,
}

// broken is a base with one thing changed, and the sentence that refuses it.
type broken struct {
	base, path string
	// value takes the place of what is at path; nil removes it.
	value any
	want  string
}

const spec = "spec"

var (
	hmac   = map[string]any{"header": "X-Signature"}
	fields = map[string]any{"header": "X-Topic", "constant": "order"}
)

var brokenCases = []broken{
	{"erp", "metadata.name", "a.b", "the name of a Connector is at most 63"},
	{"flow", "metadata.name", "a.b", "the name of a Flow is at most 63"},
	{"pool", "metadata.name", "a.b", "the name of a StockPool is at most 63"},
	{"policy", "metadata.name", "a.b", "the name of a NotificationPolicy is at most 63"},
	{"erp", "spec.endpoint", nil, "endpoint is needed where the system is called"},
	{"money", "spec.endpoint", "https://api.stripe.com", "send events and are never called: write no endpoint"},
	{"money", "spec.webhook", nil, "webhook is needed where there is no endpoint"},
	{"erp", "spec.limits", nil, "limits are written where there is an endpoint, and only there"},
	{"money", "spec.auth", map[string]any{"secretRef": map[string]any{"name": "x"}}, "auth and maintenance are for Connectors with an endpoint"},
	{"http", "spec.http", nil, "http is written for system HTTP with an endpoint, and only there"},
	{"texts", "spec.twilio", nil, "twilio is written for system Twilio, and only there"},
	{"erp", "spec.shopify", map[string]any{"apiVersion": "2026-10"}, "shopify is written only for system Shopify"},
	{"erp", "spec.auth", nil, "auth.secretRef.name is needed: only system HTTP can do without signing in"},
	{"shop", "spec.webhook.hmac", hmac, "webhook.hmac is for systems HTTP and CloudEvents"},
	{"shop", "spec.webhook.topic", map[string]any{"constant": "order"}, "webhook.topic and webhook.eventId are for system HTTP"},
	{"shop", "spec.webhook.order", "body", "webhook.order and webhook.orderTopics are for systems HTTP"},
	{"shop", "spec.webhook.tolerance", "5m", "webhook.tolerance is for systems StandardWebhooks"},
	{"erp", "spec.commitHorizon", "25h", "commitHorizon is between 0s and 24h, such as 15m"},
	{"erp", "spec.endpoint", "netsuite", "endpoint is a URL such as https://123456"},
	{"http", "spec.http.operations.0.path", "/orders", "an idempotent PUT names its record: write {externalId} in path"},
	{"http", "spec.http.operations.1.effect", "Idempotent", "find belongs to effect Once"},
	{"http", "spec.http.operations.1", map[string]any{
		"name": "getOrder", "method": "GET", "path": "/orders", "effect": "None", "reply": map[string]any{"accepted": "true", "alreadyThere": "false"},
	}, "reply.alreadyThere belongs to effects Once and Idempotent"},
	{"http", "spec.http.operations.1.find.list", "a b", "list is a field of the body"},
	{"http", "spec.http.operations.1.find.path", "orders/{externalId}", "find.path is a path from the endpoint on"},
	{"http", "spec.http.operations.1.find.path", "/orders", "find.path names the record"},
	{"http", "spec.http.operations.0.name", "Put-Order", "the name of an operation is letters and digits"},
	{"http", "spec.http.operations.0.path", "orders/{externalId}", "path is a path from the endpoint on"},
	{"http", "spec.http.probePath", "health", "probePath is a path from the endpoint on"},
	{"erp", "spec.lanes", []any{map[string]any{"name": "Express", "weight": int64(1)}}, "the name of a lane is lower-case letters"},
	{"erp", "spec.limits.0.concurrency", map[string]any{"calls": int64(5)}, "a limit is one of rollingWindow"},
	{"http", "spec.limits.1.arrivesWithin", "20ms", "arrivesWithin belongs to a rollingWindow"},
	{"http", "spec.limits.0.headroom", int64(100), "headroom must be smaller than rollingWindow.calls"},
	{"http", "spec.limits.1.headroom", int64(15), "headroom must be smaller than concurrency.calls"},
	{"http", "spec.limits.2.headroom", int64(100), "headroom must be smaller than bucket.capacity"},
	{"http", "spec.limits.0.arrivesWithin", "0s", "arrivesWithin is a time such as 20ms"},
	{"http", "spec.limits.2.bucket.refill.calls", int64(2), "refill is one of {calls, per} and {points, per}"},
	{"http", "spec.limits.2.bucket.refill.per", "1ms", "per is a time between 100ms and 168h, such as 1s"},
	{"http", "spec.limits.0.headroom", "2", "headroom is a number of calls, such as 1, or a share"},
	{"http", "spec.limits.0.headroom", int64(-1), "headroom is a number of calls, such as 1, or a share"},
	{"http", "spec.limits.0.name", "per_minute", "the name of a limit is lower-case letters"},
	{"http", "spec.limits.0.rollingWindow.per", "60", "per is a time between 100ms and 168h, such as 1m"},
	{"http", "spec.limits.0.rollingWindow.per", "1 minute", "per is a time between 100ms and 168h, such as 1m"},
	{"http", "spec.maintenance.0.duration", "0s", "duration is a time above 0 and up to 336h"},
	{"http", "spec.maintenance.0.rampUp", "25h", "rampUp is a time up to 24h"},
	{"http", "spec.maintenance.0.schedule", "0 2 * *", "schedule is five fields of cron"},
	{"http", "spec.outage", map[string]any{"rampUp": "25h"}, "rampUp is a time up to 24h"},
	{"shop", "spec.reconcile", map[string]any{"every": "1s"}, "every is a time between 5s and 24h, such as 5m, or 0s for never"},
	{"shop", "spec.reconcile", map[string]any{"lookBack": "2000h"}, "lookBack is a time up to 1440h"},
	{"shop", "spec.reconcile", map[string]any{"overlap": "0s"}, "overlap is a time between 1s and 24h"},
	{"erp", "spec.retry", map[string]any{"maxAge": "721h"}, "maxAge is a time between 1s and 720h"},
	{"shop", "spec.shopify.apiVersion", "2026-11", "apiVersion is a quarter's version"},
	{"erp", "spec.timeout", "11m", "timeout is between 100ms and 10m"},
	{"texts", "spec.twilio.accountSID", "0123456789", "accountSID is AC and 32 hexadecimal digits"},
	{"texts", "spec.twilio.from", "0555-010", "from is a phone number in E.164 form"},
	{"shop", "spec.webhook.address", "orders.example.com", "address is a URL such as"},
	{"http", "spec.webhook.eventId.field", "id", "eventId is one of header and field"},
	{"http", "spec.webhook.eventId", map[string]any{"field": "a..b"}, "field is a field of the body, such as id or meta.id"},
	{"http", "spec.webhook.eventId.header", "X Event", "found what is no name of a header"},
	{"http", "spec.webhook.hmac.signed", "{body}", "signed holds {timestamp} where there is a timestamp"},
	{"http", "spec.webhook.hmac.signed", "{timestamp}{body}{body}", "signed holds {body} once"},
	{"http", "spec.webhook.hmac.header", "X Signature", "found what is no name of a header"},
	{"http", "spec.webhook.hmac.prefix", "a b", "prefix is letters and signs without space"},
	{"http", "spec.webhook.hmac.signed", "nothing", "signed is a text in which {body} stands"},
	{"http", "spec.webhook.hmac.timestamp.header", "X Time", "found what is no name of a header"},
	{"http", "spec.webhook.hmac.timestamp.prefix", "a b", "prefix is letters and signs without space"},
	{"http", "spec.webhook.tolerance", "0s", "tolerance is a time between 1s and 168h"},
	{"http", "spec.webhook.topic", fields, "topic is one of header, field and constant"},
	{"http", "spec.webhook.topic", map[string]any{"field": "a..b"}, "field is a field of the body, such as type or meta.event"},
	{"http", "spec.webhook.topic.header", "X Topic", "found what is no name of a header"},
	{"flow", "spec.deliver.0.name", "Erp", "the name of a step is lower-case letters"},
	{"policy", "spec.to", []any{"555"}, "to lists phone numbers in E.164 form"},
	{"pool", "spec.mode", "Escrow", "mode Escrow is not available in this release: write Shared"},
	{"pool", "spec.source.readEvery", "1ms", "readEvery is a time between 500ms and 24h"},
	// What a schema says without a rule.
	{"erp", "spec.system", "Oracle", `supported values: "Shopify"`},
	{"erp", "spec.pacing", "Fast", `supported values: "Even", "Burst"`},
	{"erp", "spec.limits.0.rollingWindow.calls", "100", "must be of type integer"},
	{"erp", "spec.limits.0.rollingWindow.calls", int64(0), "should be greater than or equal to 1"},
	{"erp", "spec.token", "abc", `unknown field "spec.token"`},
}

// Each rule of the definitions refuses something at apply, with its sentence.
func TestEachRuleRefuses(t *testing.T) { //nolint:tparallel // the cases strike rules off one list
	t.Parallel()
	namespace := &corev1.Namespace{}
	namespace.GenerateName = "rules-"
	if err := api.client.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	unused := ruleList()
	for i := range brokenCases {
		test := &brokenCases[i]
		t.Run(test.base+" "+test.path+": "+test.want, func(t *testing.T) {
			object := base(t, namespace.Name, test.base)
			if err := strictly(t.Context(), object); err != nil {
				t.Fatalf("what is to be broken is broken: %v", err)
			}
			put(t, object.Object, strings.Split(test.path, "."), test.value)
			err := strictly(t.Context(), object)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want it refused with %q", err, test.want)
			}
			unused = slices.DeleteFunc(unused, func(r rule) bool { return r.broke(object.GetKind(), err) })
		})
	}
	t.Run("erp spec.system is changed", func(t *testing.T) {
		object := base(t, namespace.Name, "erp")
		if err := api.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		put(t, object.Object, []string{spec, "system"}, "HTTP")
		err := api.client.Update(t.Context(), object)
		if err == nil || !strings.Contains(err.Error(), "system cannot change: make a new Connector and let this one drain") {
			t.Fatalf("got %v, want it refused", err)
		}
		unused = slices.DeleteFunc(unused, func(r rule) bool { return r.broke(object.GetKind(), err) })
	})
	for _, r := range unused {
		t.Errorf("no case breaks the rule of %s%s: %s", r.kind, r.path, r.message)
	}
}

// strictly applies without keeping, and refuses unknown fields, as kubectl does.
func strictly(ctx context.Context, object *unstructured.Unstructured) error {
	return client.WithFieldValidation(api.client, "Strict").Create(ctx, object.DeepCopy(), client.DryRunAll)
}

// rule is one of x-kubernetes-validations.
type rule struct{ kind, path, message string }

func ruleList() []rule {
	var all []rule
	for _, definition := range definitions() {
		var walk func(s *apiextensionsv1.JSONSchemaProps, path string)
		walk = func(s *apiextensionsv1.JSONSchemaProps, path string) {
			for _, r := range s.XValidations {
				all = append(all, rule{definition.Spec.Names.Kind, path, r.Message})
			}
			for name, property := range s.Properties {
				walk(&property, path+"."+name)
			}
			if s.Items != nil && s.Items.Schema != nil {
				walk(s.Items.Schema, path+"[]")
			}
		}
		walk(definition.Spec.Versions[0].Schema.OpenAPIV3Schema, "")
	}
	return all
}

var index = regexp.MustCompile(`\[[^\]]*\]`)

// broke reports whether an error is of this rule.
func (r rule) broke(kind string, err error) bool {
	var status apierrors.APIStatus
	if kind != r.kind || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1Cause) bool {
		return strings.TrimPrefix(index.ReplaceAllString(c.Field, "[]"), "<nil>") == strings.TrimPrefix(r.path, ".") && strings.Contains(c.Message, r.message)
	})
}

func base(t *testing.T, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(bases[name]), &object.Object); err != nil {
		t.Fatal(err)
	}
	object.SetAPIVersion(v1alpha1.GroupVersion.String())
	object.SetNamespace(namespace)
	object.SetName(name)
	return object
}

// put sets or removes what is at a path of keys and indices.
func put(t *testing.T, in any, path []string, value any) {
	t.Helper()
	last := len(path) == 1
	switch container := in.(type) {
	case map[string]any:
		switch {
		case last && value == nil:
			delete(container, path[0])
		case last:
			container[path[0]] = value
		default:
			if container[path[0]] == nil {
				t.Fatalf("there is no %s to change", path[0])
			}
			put(t, container[path[0]], path[1:], value)
		}
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(container) {
			t.Fatalf("there is no element %s", path[0])
		}
		if last {
			container[i] = value
			return
		}
		put(t, container[i], path[1:], value)
	default:
		t.Fatalf("%v has no %s", in, path[0])
	}
}

// What the API server fills in is what a file loader fills in.
func TestDefaultsAreThoseOfFiles(t *testing.T) {
	t.Parallel()
	namespace := &corev1.Namespace{}
	namespace.GenerateName = "defaults-"
	if err := api.client.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	for name := range bases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read := func(from *unstructured.Unstructured) any {
				t.Helper()
				object := typed(t, from)
				object.SetDefaults()
				return specOf(object)
			}
			object := base(t, namespace.Name, name)
			want := read(object)
			if err := api.client.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, read(object)); diff != "" {
				t.Errorf("(-by file +by API server):\n%s", diff)
			}
		})
	}
}

// No figure of the status is a float, and no time a number.
func TestSchemaHasNoFloats(t *testing.T) {
	t.Parallel()
	for _, definition := range definitions() {
		var walk func(s *apiextensionsv1.JSONSchemaProps, path string)
		walk = func(s *apiextensionsv1.JSONSchemaProps, path string) {
			if s.Type == "number" {
				t.Errorf("%s%s is a float", definition.Name, path)
			}
			if s.Type == "integer" && regexp.MustCompile(`(?i)(seconds|millis|minutes|duration|timeout)$`).MatchString(path) {
				t.Errorf("%s%s is a time without a unit", definition.Name, path)
			}
			for name, property := range s.Properties {
				if !regexp.MustCompile(`^[a-z][A-Za-z0-9]*$`).MatchString(name) {
					t.Errorf("%s%s.%s is no name of a field", definition.Name, path, name)
				}
				walk(&property, path+"."+name)
			}
			if s.Items != nil && s.Items.Schema != nil {
				if s.XListType == nil && s.Items.Schema.Type == "object" {
					t.Errorf("%s%s is a list of objects, and nothing says how it is merged", definition.Name, path)
				}
				walk(s.Items.Schema, path+"[]")
			}
		}
		schema := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
		walk(schema, "")
		if definition.Spec.Versions[0].Subresources == nil || definition.Spec.Versions[0].Subresources.Status == nil {
			t.Errorf("%s has no status of its own", definition.Name)
		}
	}
}

// The columns of kubectl get connectors, in the order of the figures that matter.
func TestColumns(t *testing.T) {
	t.Parallel()
	for _, definition := range definitions() {
		if definition.Spec.Names.Kind != v1alpha1.KindConnector {
			continue
		}
		var columns []string
		for _, column := range definition.Spec.Versions[0].AdditionalPrinterColumns {
			if column.Priority == 0 {
				columns = append(columns, strings.ToUpper(column.Name))
			}
		}
		if got, want := fmt.Sprint(columns), "[SYSTEM LIMIT PACE QUEUE HELD ETA READY AGE]"; got != want {
			t.Errorf("columns are %s, want %s", got, want)
		}
	}
}
