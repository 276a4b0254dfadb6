package stripe_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/conformance"
	"github.com/peppasync/peppasync/services/connectors/stripe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const paid = `{"id":"evt_1","object":"event","created":1795435198,"type":"payment_intent.succeeded","data":{"object":{"id":"pi_1"}}}`

func spec() *v1alpha1.ConnectorSpec {
	c := v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{System: v1alpha1.SystemStripe, Webhook: &v1alpha1.Webhook{}}}
	c.SetDefaults()
	return &c.Spec
}

func v1(body []byte, key string, at time.Time) string {
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return hex.EncodeToString(mac.Sum(nil))
}

func signed(value string) http.Header { return http.Header{"Stripe-Signature": {value}} }

func source() conformance.Source {
	return conformance.Source{
		Source: stripe.Stripe{},
		Spec:   spec(),
		Keys:   &[3]string{"whsec_today", "whsec_yesterday", "whsec_guess"},
		Sign: func(_, _ string, body []byte, key string) http.Header {
			return signed(fmt.Sprintf("t=%d,v1=%s", conformance.At.Unix(), v1(body, key, conformance.At)))
		},
		Signals: []conformance.OrderCase{{Topic: "payment_intent.succeeded", Body: []byte(paid)}},
		Others:  []string{"", "charge.refunded", "checkout.session.completed", "order.created"},
	}
}

func TestSourceConformance(t *testing.T) { source().Test(t) }
func FuzzOrder(f *testing.F)             { source().FuzzOrder(f) }
func FuzzVerify(f *testing.F)            { source().FuzzVerify(f) }

func TestSignatures(t *testing.T) {
	const key = "whsec_today"
	at := conformance.At.Unix()
	right := v1([]byte(paid), key, conformance.At)
	old := conformance.At.Add(-5*time.Minute - time.Second)
	tests := map[string]struct {
		header string
		want   error
	}{
		"one":                         {fmt.Sprintf("t=%d,v1=%s", at, right), nil},
		"in another order":            {fmt.Sprintf("v1=%s,t=%d", right, at), nil},
		"with spaces":                 {fmt.Sprintf("t=%d, v1=%s", at, right), nil},
		"several, the second is it":   {fmt.Sprintf("t=%d,v1=%s,v1=%s", at, strings.Repeat("00", 32), right), nil},
		"beside one of tests":         {fmt.Sprintf("t=%d,v1=%s,v0=%s", at, right, strings.Repeat("00", 32)), nil},
		"the scheme of tests alone":   {fmt.Sprintf("t=%d,v0=%s", at, right), connectors.ErrSignature},
		"not in hex":                  {fmt.Sprintf("t=%d,v1=%s", at, "zz"+right[2:]), connectors.ErrSignature},
		"cut off":                     {fmt.Sprintf("t=%d,v1=%s", at, right[:62]), connectors.ErrSignature},
		"no time":                     {"v1=" + right, connectors.ErrSignature},
		"two times":                   {fmt.Sprintf("t=%d,t=%d,v1=%s", at, at, right), connectors.ErrSignature},
		"a time that is none":         {"t=now,v1=" + right, connectors.ErrSignature},
		"another time":                {fmt.Sprintf("t=%d,v1=%s", at+1, right), connectors.ErrSignature},
		"five minutes and a second":   {fmt.Sprintf("t=%d,v1=%s", old.Unix(), v1([]byte(paid), key, old)), connectors.ErrSignature},
		"more than are looked at":     {fmt.Sprintf("t=%d,%sv1=%s", at, strings.Repeat("v1="+strings.Repeat("00", 32)+",", 16), right), connectors.ErrSignature},
		"as many as are looked at":    {fmt.Sprintf("t=%d,%sv1=%s", at, strings.Repeat("v1="+strings.Repeat("00", 32)+",", 15), right), nil},
		"words in the place of marks": {"hello", connectors.ErrSignature},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			events, err := stripe.Stripe{}.Verify(connectors.Delivery{
				Spec: spec(), Header: signed(test.header), Body: []byte(paid), Secret: connectors.Secret{"secret": key}, ReceivedAt: conformance.At,
			})
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if test.want == nil && (events[0].ID != "evt_1" || !events[0].TriggeredAt.Equal(time.Unix(1795435198, 0))) {
				t.Errorf("%+v", events[0])
			}
		})
	}
}

func TestBodiesThatAreNoEvents(t *testing.T) {
	for name, body := range map[string]string{"no id": `{"type":"a"}`, "no type": `{"id":"evt_1"}`, "no object": `[]`, "no JSON": `<html>`} {
		header := signed(fmt.Sprintf("t=%d,v1=%s", conformance.At.Unix(), v1([]byte(body), "whsec_today", conformance.At)))
		_, err := stripe.Stripe{}.Verify(connectors.Delivery{
			Spec: spec(), Header: header, Body: []byte(body), Secret: connectors.Secret{"secret": "whsec_today"}, ReceivedAt: conformance.At,
		})
		if !errors.Is(err, connectors.ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
}
