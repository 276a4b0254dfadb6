package cloudevents_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/cloudevents"
	"github.com/peppasync/peppasync/services/connectors/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	order      = `{"id":"7001","updatedAt":"2026-11-23T11:59:58Z","total":39.80,"lines":[{"sku":"DESK-1","quantity":2}]}`
	attributes = `"id":"b54557e4-bdd9-4b37-8a5f-bf7d70bcd043","source":"/shops/1","specversion":"1.0"`
	inJSON     = `{` + attributes + `,"time":"2026-11-23T12:00:00Z","type":"com.example.order.created","data":` + order + `}`
	// kept is what an event in binary mode becomes.
	kept = `{"data":` + order + `,"datacontenttype":"application/json; charset=utf-8",` + attributes + `,"time":"2026-11-23T12:00:00Z","type":"com.example.order.created"}`
	note = `{` + attributes + `,"type":"com.example.note","data":"I'm just a string"}`
)

func spec(h *v1alpha1.HMAC) *v1alpha1.ConnectorSpec {
	c := v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{
		System: v1alpha1.SystemCloudEvents, Webhook: &v1alpha1.Webhook{HMAC: h, OrderTopics: []string{"com.example.order.created"}},
	}}
	c.SetDefaults()
	return &c.Spec
}

func structured() conformance.Source {
	return conformance.Source{
		Source: cloudevents.New(),
		Spec:   spec(nil),
		Shown:  true,
		Sign: func(_, _ string, _ []byte, key string) http.Header {
			return http.Header{"Authorization": {"Bearer " + key}, "Content-Type": {"application/cloudevents+json; charset=UTF-8"}}
		},
		Orders:  []conformance.OrderCase{{Topic: "com.example.order.created", Body: []byte(inJSON), ID: "7001"}},
		Signals: []conformance.OrderCase{{Topic: "com.example.note", Body: []byte(note)}},
		Others:  []string{"", "com.example.order.deleted"},
	}
}

func binary() conformance.Source {
	s := structured()
	s.Sign = func(topic, eventID string, _ []byte, key string) http.Header {
		return http.Header{
			"Authorization": {"Bearer " + key}, "Content-Type": {"application/json; charset=utf-8"}, "Ce-Specversion": {"1.0"},
			"Ce-Id": {eventID}, "Ce-Source": {"/shops/1"}, "Ce-Type": {topic}, "Ce-Time": {"2026-11-23T12:00:00Z"},
		}
	}
	s.Orders = []conformance.OrderCase{{Topic: "com.example.order.created", Body: []byte(order), Event: []byte(kept), ID: "7001"}}
	s.Signals = nil
	return s
}

func batched() conformance.Source {
	s := structured()
	s.Sign = func(_, _ string, _ []byte, key string) http.Header {
		return http.Header{"Authorization": {"Bearer " + key}, "Content-Type": {"application/cloudevents-batch+json"}}
	}
	s.Orders = []conformance.OrderCase{{Topic: "com.example.order.created", Body: []byte(` [ ` + inJSON + ` ] `), Event: []byte(inJSON), ID: "7001"}}
	s.Signals = nil
	return s
}

// signed is the same with a signature in the place of the secret.
func signed() conformance.Source {
	s := structured()
	s.Spec, s.Shown = spec(&v1alpha1.HMAC{Header: "X-Signature"}), false
	s.Sign = func(_, _ string, body []byte, key string) http.Header {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(body)
		return http.Header{"X-Signature": {hex.EncodeToString(mac.Sum(nil))}, "Content-Type": {"application/cloudevents+json"}}
	}
	return s
}

func TestSourceConformance(t *testing.T) {
	t.Run("structured", func(t *testing.T) { structured().Test(t) })
	t.Run("binary", func(t *testing.T) { binary().Test(t) })
	t.Run("batched", func(t *testing.T) { batched().Test(t) })
	t.Run("signed", func(t *testing.T) { signed().Test(t) })
}
func FuzzOrder(f *testing.F)        { structured().FuzzOrder(f) }
func FuzzVerify(f *testing.F)       { structured().FuzzVerify(f) }
func FuzzVerifySigned(f *testing.F) { signed().FuzzVerify(f) }

func verify(t *testing.T, header http.Header, body string) ([]connectors.Event, error) {
	t.Helper()
	header = header.Clone()
	header.Set("Authorization", "Bearer k")
	return cloudevents.New().Verify(connectors.Delivery{Spec: spec(nil), Header: header, Body: []byte(body), Secret: connectors.Secret{"secret": "k"}})
}

// The examples of the specification's own pages, whose bodies it leaves to be filled in.
func TestTheExamplesOfTheSpecification(t *testing.T) {
	inBinary := http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Type": {"com.example.someevent"}, "Ce-Time": {"2018-04-05T03:56:24Z"}, "Ce-Id": {"1234-1234-1234"},
		"Ce-Source": {"/mycontext/subcontext"}, "Content-Type": {"application/json; charset=utf-8"},
	}
	inBatch := http.Header{"Content-Type": {"application/cloudevents-batch+json; charset=UTF-8"}}
	inStructure := http.Header{"Content-Type": {"application/cloudevents+json; charset=utf-8"}}
	thrift := `{"specversion" : "1.0","type" : "com.example.someevent","source" : "/mycontext/4","id" : "B234-1234-1234","time" : "2018-04-05T17:31:00Z",` +
		`"comexampleextension1" : "value","comexampleothervalue" : 5,"datacontenttype" : "application/vnd.apache.thrift.binary","data_base64" : "AAEC"}`
	appinfo := `{"specversion" : "1.0","type" : "com.example.someotherevent","source" : "/mycontext/9","id" : "C234-1234-1234","subject": null,` +
		`"time" : "2018-04-05T17:31:05Z","datacontenttype" : "application/json","data" : {"appinfoA" : "abc","appinfoB" : 123,"appinfoC" : true}}`
	tests := map[string]struct {
		header http.Header
		body   string
		want   []connectors.Event
	}{
		"binary": {inBinary, `{"a":1}`, []connectors.Event{{
			Topic: "com.example.someevent", ID: "/mycontext/subcontext|1234-1234-1234", TriggeredAt: time.Date(2018, 4, 5, 3, 56, 24, 0, time.UTC),
			Body: []byte(`{"data":{"a":1},"datacontenttype":"application/json; charset=utf-8","id":"1234-1234-1234","source":"/mycontext/subcontext",` +
				`"specversion":"1.0","time":"2018-04-05T03:56:24Z","type":"com.example.someevent"}`),
		}}},
		"bytes, kept as they came": {inStructure, thrift, []connectors.Event{{
			Topic: "com.example.someevent", ID: "/mycontext/4|B234-1234-1234", TriggeredAt: time.Date(2018, 4, 5, 17, 31, 0, 0, time.UTC), Body: []byte(thrift),
		}}},
		"a batch": {inBatch, `[ ` + thrift + ` , ` + appinfo + ` ]`, []connectors.Event{
			{Topic: "com.example.someevent", ID: "/mycontext/4|B234-1234-1234", TriggeredAt: time.Date(2018, 4, 5, 17, 31, 0, 0, time.UTC), Body: []byte(thrift)},
			{Topic: "com.example.someotherevent", ID: "/mycontext/9|C234-1234-1234", TriggeredAt: time.Date(2018, 4, 5, 17, 31, 5, 0, time.UTC), Body: []byte(appinfo)},
		}},
		"an empty batch": {inBatch, `[]`, []connectors.Event{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := verify(t, test.header, test.body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeadersAreDecoded(t *testing.T) {
	for written, want := range map[string]string{
		"Euro%20%E2%82%AC%20%F0%9F%98%80": "Euro € 😀", // the specification's example
		"plain":                           "plain",
		"%e2%82%ac":                       "€",
		"%41":                             "A",
		"%2541":                           "%41",
		`"quoted \"text\" %22"`:           `quoted "text" "`,
		"100%":                            "100%",
		"100%zz":                          "100%zz",
	} {
		header := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Type": {"a"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Subject": {written}}
		events, err := verify(t, header, "")
		if err != nil || !strings.Contains(string(events[0].Body), `"subject":`+quoted(want)) {
			t.Errorf("%s: %v, error %v", written, events, err)
		}
	}
	// An overlong encoding of a space, which the specification has refused.
	header := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Type": {"a"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Subject": {"%C0%A0"}}
	if _, err := verify(t, header, ""); !errors.Is(err, connectors.ErrMalformed) {
		t.Errorf("error %v, want ErrMalformed", err)
	}
}

func quoted(text string) string { return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"` }

func TestDataOfAnyKindIsKept(t *testing.T) {
	header := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Type": {"a"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}}
	tests := map[string]struct{ kind, body, want string }{
		"none":                       {"", "", `{"id":"1","source":"/s","specversion":"1.0","type":"a"}`},
		"JSON by its name":           {"application/vnd.shop+json", `{"a":"<b>"}`, `{"data":{"a":"<b>"},"datacontenttype":"application/vnd.shop+json","id":"1","source":"/s","specversion":"1.0","type":"a"}`},
		"a number of JSON, as it is": {"application/json", `19.90`, `{"data":19.90,"datacontenttype":"application/json","id":"1","source":"/s","specversion":"1.0","type":"a"}`},
		"a page":                     {"text/xml", `<a/>`, `{"data_base64":"PGEvPg==","datacontenttype":"text/xml","id":"1","source":"/s","specversion":"1.0","type":"a"}`},
	}
	for name, test := range tests {
		h := header.Clone()
		if test.kind != "" {
			h.Set("Content-Type", test.kind)
		}
		events, err := verify(t, h, test.body)
		if err != nil || string(events[0].Body) != test.want {
			t.Errorf("%s: error %v\ngot  %+v\nwant %s", name, err, events, test.want)
		}
	}
}

// Some libraries send JSON as bytes.
func TestJSONThatIsSentAsBytesIsAnOrder(t *testing.T) {
	body := `{` + attributes + `,"type":"com.example.order.created","datacontenttype":"application/json","data_base64":"` + base64.StdEncoding.EncodeToString([]byte(order)) + `"}`
	events, err := verify(t, http.Header{"Content-Type": {"application/cloudevents+json"}}, body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := cloudevents.New().Order(spec(nil), events[0].Topic, events[0].Body)
	if err != nil || got.GetId() != "7001" || got.GetTotal() != "39.80" {
		t.Errorf("%v, error %v", got, err)
	}
}

func TestWhatIsNoEvent(t *testing.T) {
	inStructure := http.Header{"Content-Type": {"application/cloudevents+json"}}
	inBatch := http.Header{"Content-Type": {"application/cloudevents-batch+json"}}
	plain := http.Header{"Content-Type": {"application/json"}}
	full := http.Header{"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}, "Ce-Type": {"a"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}}
	tests := map[string]struct {
		header http.Header
		body   string
		says   string
	}{
		"no CloudEvent":                    {plain, order, "specversion"},
		"another version":                  {inStructure, strings.Replace(inJSON, `"1.0"`, `"0.3"`, 1), `specversion is "0.3"`},
		"no id":                            {inStructure, `{"specversion":"1.0","source":"/s","type":"a"}`, "id or source is missing"},
		"no source":                        {inStructure, `{"specversion":"1.0","id":"1","source":"","type":"a"}`, "id or source is missing"},
		"no type":                          {inStructure, `{"specversion":"1.0","id":"1","source":"/s","type":null}`, "type of the event"},
		"an id that is a number":           {inStructure, `{"specversion":"1.0","id":1,"source":"/s","type":"a"}`, "id or source is missing"},
		"a list where an event is said":    {inStructure, `[` + inJSON + `]`, "not a JSON object"},
		"an event where a batch is said":   {inBatch, inJSON, "not a JSON list"},
		"a batch that is cut":              {inBatch, `[` + inJSON + `,{`, "the body of a batch"},
		"a batch with no JSON in it":       {inBatch, `[` + inJSON + `,x]`, "the body of a batch"},
		"a batch of another format":        {http.Header{"Content-Type": {"application/cloudevents-batch+avro"}}, `[]`, "expected events in JSON"},
		"another format":                   {http.Header{"Content-Type": {"application/cloudevents+avro"}}, `{}`, "expected events in JSON"},
		"data that is not what it is said": {full, `{`, "the body is not JSON"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			events, err := verify(t, test.header, test.body)
			if events != nil || !errors.Is(err, connectors.ErrMalformed) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%+v, error %v; want ErrMalformed that says %s", events, err, test.says)
			}
		})
	}
}

// A bad event of a batch is told of by its place, and the others as ever.
func TestABadEventOfABatchLeavesTheOthers(t *testing.T) {
	inBatch := http.Header{"Content-Type": {"application/cloudevents-batch+json"}}
	other := strings.Replace(inJSON, `"id":"b5`, `"id":"c5`, 1)
	tests := map[string]struct{ entry, topic, says string }{
		"nothing":         {`{}`, "", `specversion is ""`},
		"null":            {`null`, "", "not a JSON object"},
		"a number":        {`7`, "", "not a JSON object"},
		"a list":          {`[` + inJSON + `]`, "", "not a JSON object"},
		"without an id":   {`{"specversion":"1.0","source":"/s","type":"com.example.order.created"}`, "com.example.order.created", "id or source is missing"},
		"another version": {strings.Replace(inJSON, `"1.0"`, `"0.3"`, 1), "com.example.order.created", `specversion is "0.3"`},
		"without a type":  {`{"specversion":"1.0","id":"1","source":"/s"}`, "", "type of the event"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			body := `[` + inJSON + `, ` + test.entry + ` ,` + other + `]`
			events, err := verify(t, inBatch, body)
			if err != nil || len(events) != 3 {
				t.Fatalf("%+v, error %v", events, err)
			}
			for i, want := range map[int]string{0: inJSON, 2: other} {
				if e := events[i]; string(e.Body) != want || e.Malformed != "" || e.Topic != "com.example.order.created" {
					t.Errorf("event %d: %+v", i, e)
				}
			}
			bad := events[1]
			if string(bad.Body) != test.entry || bad.Topic != test.topic || bad.ID == "" ||
				!strings.HasPrefix(bad.Malformed, "event [1] of a batch of 3: ") || !strings.Contains(bad.Malformed, test.says) {
				t.Errorf("the bad one: %+v, want one that says %s", bad, test.says)
			}
			again, _ := verify(t, inBatch, body)
			if diff := cmp.Diff(events, again); diff != "" {
				t.Errorf("a retry is another event (-first +again):\n%s", diff)
			}
		})
	}
}

func TestInvitations(t *testing.T) {
	header := make(http.Header)
	if got := cloudevents.New().Invitation(header); got != nil {
		t.Errorf("nobody asked, and is told %v", got)
	}
	header.Set("WebHook-Request-Origin", "eventemitter.example.com")
	header.Set("WebHook-Request-Rate", "120")
	got := cloudevents.New().Invitation(header)
	if got.Get("WebHook-Allowed-Origin") != "eventemitter.example.com" || got.Get("WebHook-Allowed-Rate") != "*" {
		t.Errorf("told %v", got)
	}
}
