package hmac_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/conformance"
	source "github.com/peppasync/peppasync/services/connectors/hmac"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	plain  = `{"id":"7001","updatedAt":"2026-11-23T11:59:58Z","total":"39.80","lines":[{"sku":"DESK-1","quantity":2}]}`
	custom = `{"event":"order.changed","meta":{"id":"e-1"},"order":{"number":7001,"changed":"2026-11-23T11:59:58Z","items":[{"sku":"DESK-1","n":2}]}}`
)

func spec(webhook v1alpha1.Webhook) *v1alpha1.ConnectorSpec {
	c := v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{System: v1alpha1.SystemHTTP, Webhook: &webhook}}
	c.SetDefaults()
	return &c.Spec
}

func sum(key, before string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(before))
	mac.Write(body)
	return mac.Sum(nil)
}

// shopLike signs the body in base64, and says in headers what it is about.
func shopLike() conformance.Source {
	return conformance.Source{
		Source: source.New(),
		Spec: spec(v1alpha1.Webhook{
			HMAC:  &v1alpha1.HMAC{Header: "X-Shop-Hmac", Encoding: v1alpha1.SignatureEncodingBase64},
			Topic: &v1alpha1.WebhookTopic{Header: "X-Shop-Topic"}, EventID: &v1alpha1.WebhookEventID{Header: "X-Shop-Delivery"},
			OrderTopics: []string{"orders/create"},
		}),
		Sign: func(topic, eventID string, body []byte, key string) http.Header {
			header := make(http.Header)
			header.Set("X-Shop-Hmac", base64.StdEncoding.EncodeToString(sum(key, "", body)))
			header.Set("X-Shop-Topic", topic)
			header.Set("X-Shop-Delivery", eventID)
			return header
		},
		Orders:  []conformance.OrderCase{{Topic: "orders/create", Body: []byte(plain), ID: "7001"}},
		Signals: []conformance.OrderCase{{Topic: "app/uninstalled", Body: []byte(`{"reason":"cost"}`)}},
		Others:  []string{"", "orders/delete"},
	}
}

// slackLike signs the time too, and its orders have a form of their own.
func slackLike() conformance.Source {
	s := shopLike()
	s.Spec = spec(v1alpha1.Webhook{
		HMAC: &v1alpha1.HMAC{
			Header: "X-Signature", Prefix: "v0=", Signed: "v0:{timestamp}:{body}", Timestamp: &v1alpha1.SignedTimestamp{Header: "X-Request-Timestamp"},
		},
		Topic: &v1alpha1.WebhookTopic{Field: "event"}, EventID: &v1alpha1.WebhookEventID{Field: "meta.id"},
		OrderTopics: []string{"order.changed"},
		Order: `{"id": body.order.number, "updated_at": body.order.changed,
			"lines": body.order.items.map(i, {"sku": i.sku, "quantity": i.n})}`,
	})
	s.Sign = func(_, _ string, body []byte, key string) http.Header {
		header := make(http.Header)
		header.Set("X-Request-Timestamp", fmt.Sprint(conformance.At.Unix()))
		header.Set("X-Signature", "v0="+hex.EncodeToString(sum(key, fmt.Sprintf("v0:%d:", conformance.At.Unix()), body)))
		return header
	}
	s.Orders = []conformance.OrderCase{{Topic: "order.changed", Body: []byte(custom), ID: "7001"}}
	s.Signals = []conformance.OrderCase{{Topic: "ping", Body: []byte(`{"event":"ping"}`)}}
	s.Others = []string{"", "order.deleted"}
	return s
}

// shown is as little as can be written: the sender shows the secret, and sends orders.
func shown() conformance.Source {
	s := shopLike()
	s.Spec, s.Shown = spec(v1alpha1.Webhook{}), true
	s.Sign = func(_, _ string, _ []byte, key string) http.Header {
		return http.Header{"Authorization": {"Bearer " + key}}
	}
	s.Orders = []conformance.OrderCase{{Topic: "order", Body: []byte(plain), ID: "7001"}}
	s.Signals, s.Others = nil, []string{""}
	return s
}

func TestSourceConformance(t *testing.T) {
	t.Run("like a shop", func(t *testing.T) { shopLike().Test(t) })
	t.Run("like Slack", func(t *testing.T) { slackLike().Test(t) })
	t.Run("the secret alone", func(t *testing.T) { shown().Test(t) })
}
func FuzzOrder(f *testing.F)       { slackLike().FuzzOrder(f) }
func FuzzVerify(f *testing.F)      { shopLike().FuzzVerify(f) }
func FuzzVerifyTime(f *testing.F)  { slackLike().FuzzVerify(f) }
func FuzzVerifyShown(f *testing.F) { shown().FuzzVerify(f) }

func TestNamesOfEventsAndTopics(t *testing.T) {
	const body = `{"event":"order.changed","id":9007199254740993,"meta":{"id":"e-1"}}`
	header := http.Header{"Authorization": {"Bearer k"}, "X-Topic": {"from-header"}, "X-Id": {"h-1"}}
	tests := map[string]struct {
		topic     *v1alpha1.WebhookTopic
		id        *v1alpha1.WebhookEventID
		wantTopic string
		wantID    string // "" for a digest
		want      error
	}{
		"none is written":         {nil, nil, "order", "", nil},
		"in headers":              {&v1alpha1.WebhookTopic{Header: "x-topic"}, &v1alpha1.WebhookEventID{Header: "x-id"}, "from-header", "h-1", nil},
		"in the body":             {&v1alpha1.WebhookTopic{Field: "event"}, &v1alpha1.WebhookEventID{Field: "meta.id"}, "order.changed", "e-1", nil},
		"a number":                {nil, &v1alpha1.WebhookEventID{Field: "id"}, "order", "9007199254740993", nil},
		"always the same":         {&v1alpha1.WebhookTopic{Constant: "sale"}, nil, "sale", "", nil},
		"an id that is not there": {nil, &v1alpha1.WebhookEventID{Header: "X-None"}, "order", "", nil},
		"a topic that is none":    {&v1alpha1.WebhookTopic{Field: "meta"}, nil, "", "", connectors.ErrMalformed},
		"a topic not in headers":  {&v1alpha1.WebhookTopic{Header: "X-None"}, nil, "", "", connectors.ErrMalformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			events, err := source.New().Verify(connectors.Delivery{
				Spec: spec(v1alpha1.Webhook{Topic: test.topic, EventID: test.id}), Header: header, Body: []byte(body), Secret: connectors.Secret{"secret": "k"},
			})
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if err == nil && (events[0].Topic != test.wantTopic || events[0].ID != test.wantID && (test.wantID != "" || len(events[0].ID) != len("sha256-")+64)) {
				t.Errorf("%+v", events[0])
			}
		})
	}
}
