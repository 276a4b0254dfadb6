package standardwebhooks_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/conformance"
	"github.com/peppasync/peppasync/services/connectors/standardwebhooks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const created = `{"type":"order.created","timestamp":"2026-11-23T11:59:58.5Z","data":{"id":7001,"updatedAt":"2026-11-23T11:59:58Z",` +
	`"total":"39.80","lines":[{"sku":"DESK-1","quantity":2,"unitPrice":"19.90"}]}}`

func spec() *v1alpha1.ConnectorSpec {
	c := v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{System: v1alpha1.SystemStandardWebhooks, Webhook: &v1alpha1.Webhook{OrderTopics: []string{"order.created"}}}}
	c.SetDefaults()
	return &c.Spec
}

func shared(text string) string { return "whsec_" + base64.StdEncoding.EncodeToString([]byte(text)) }

// headers are those of a delivery, with a signature that is still to be put in.
func headers(id string, at time.Time) http.Header {
	header := make(http.Header)
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	return header
}

func content(header http.Header, body []byte) []byte {
	return append([]byte(header.Get("webhook-id")+"."+header.Get("webhook-timestamp")+"."), body...)
}

func v1(header http.Header, body []byte, key string) string {
	decoded, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, "whsec_"))
	mac := hmac.New(sha256.New, decoded)
	mac.Write(content(header, body))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func source() conformance.Source {
	return conformance.Source{
		Source: standardwebhooks.New(),
		Spec:   spec(),
		Keys:   &[3]string{shared("today's key of 24 bytes."), shared("yesterday's key, 24 bytes"), shared("a guess that has 24 bytes")},
		Sign: func(_, eventID string, body []byte, key string) http.Header {
			header := headers(eventID, conformance.At)
			header.Set("webhook-signature", v1(header, body, key))
			return header
		},
		Orders:  []conformance.OrderCase{{Topic: "order.created", Body: []byte(created), ID: "7001"}},
		Signals: []conformance.OrderCase{{Topic: "contact.created", Body: []byte(`{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1f81eb52"}}`)}},
		Others:  []string{"", "customer.created"},
	}
}

// own is the same with keys of the sender's own, of which the secrets are the public half.
func own() conformance.Source {
	s := source()
	private := make(map[string]ed25519.PrivateKey)
	s.Keys = new([3]string)
	for i, seed := range []string{"today's seed has 32 bytes, so it", "yesterday's seed has as many, so", "and so has the guess, which is no"} {
		key := ed25519.NewKeyFromSeed([]byte(seed)[:ed25519.SeedSize])
		s.Keys[i] = "whpk_" + base64.StdEncoding.EncodeToString(key[ed25519.SeedSize:])
		private[s.Keys[i]] = key
	}
	s.Sign = func(_, eventID string, body []byte, key string) http.Header {
		header := headers(eventID, conformance.At)
		if key != "" {
			header.Set("webhook-signature", "v1a,"+base64.StdEncoding.EncodeToString(ed25519.Sign(private[key], content(header, body))))
		}
		return header
	}
	return s
}

func TestSourceConformance(t *testing.T) {
	t.Run("with a shared key", func(t *testing.T) { source().Test(t) })
	t.Run("with keys of the sender's own", func(t *testing.T) { own().Test(t) })
}
func FuzzOrder(f *testing.F)     { source().FuzzOrder(f) }
func FuzzVerify(f *testing.F)    { source().FuzzVerify(f) }
func FuzzVerifyOwn(f *testing.F) { own().FuzzVerify(f) }

// The vectors that the specification's own libraries are tested by. Their body has no
// type, so that it is refused, but only after its signature was found to be right.
func TestThePublishedVectors(t *testing.T) {
	const body = `{"test": 2432232314}`
	at := time.Unix(1614265330, 0)
	seed, err := base64.StdEncoding.DecodeString("VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=")
	if err != nil {
		t.Fatal(err)
	}
	public := "whpk_" + base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(seed)[ed25519.SeedSize:])
	const (
		symmetric  = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
		asymmetric = "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="
		wrong      = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
	)
	tests := map[string]struct {
		secret, signature string
		want              error
	}{
		"symmetric":                     {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", symmetric, connectors.ErrMalformed},
		"a key without its mark":        {"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", symmetric, connectors.ErrMalformed},
		"asymmetric":                    {public, asymmetric, connectors.ErrMalformed},
		"one of several":                {public, wrong + " v2," + symmetric[3:] + " " + asymmetric + " " + wrong, connectors.ErrMalformed},
		"a wrong one":                   {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", wrong, connectors.ErrSignature},
		"the other kind of key":         {public, symmetric, connectors.ErrSignature},
		"a version that is none":        {public, strings.Replace(asymmetric, "v1a", "v1", 1), connectors.ErrSignature},
		"a public key taken for shared": {strings.Replace(public, "whpk_", "whsec_", 1), asymmetric, connectors.ErrSignature},
		"a part":                        {public, "v1a,", connectors.ErrSignature},
		"the last that is looked at":    {public, strings.Repeat(wrong+" ", 15) + asymmetric, connectors.ErrMalformed},
		"behind the last":               {public, strings.Repeat(wrong+" ", 16) + asymmetric, connectors.ErrSignature},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header := headers("msg_p5jXN8AQM9LWM0D4loKWxJek", at)
			header.Set("webhook-signature", test.signature)
			_, err := standardwebhooks.New().Verify(connectors.Delivery{
				Spec: spec(), Header: header, Body: []byte(body), Secret: connectors.Secret{"secret": test.secret}, ReceivedAt: at,
			})
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestWhatADeliveryTells(t *testing.T) {
	key := source().Keys[0]
	tests := map[string]struct {
		id       string
		at       time.Time
		body     string
		change   func(http.Header)
		want     error
		wantTime time.Time
	}{
		"an event":                            {"msg_1", conformance.At, created, nil, nil, time.Date(2026, 11, 23, 11, 59, 58, 500_000_000, time.UTC)},
		"without a time":                      {"msg_1", conformance.At, `{"type":"a"}`, nil, nil, time.Time{}},
		"just in time":                        {"msg_1", conformance.At.Add(-5 * time.Minute), created, nil, nil, time.Date(2026, 11, 23, 11, 59, 58, 500_000_000, time.UTC)},
		"too old":                             {"msg_1", conformance.At.Add(-5*time.Minute - time.Second), created, nil, connectors.ErrSignature, time.Time{}},
		"of the future":                       {"msg_1", conformance.At.Add(5*time.Minute + time.Second), created, nil, connectors.ErrSignature, time.Time{}},
		"another id":                          {"msg_1", conformance.At, created, func(h http.Header) { h.Set("webhook-id", "msg_2") }, connectors.ErrSignature, time.Time{}},
		"another time":                        {"msg_1", conformance.At, created, func(h http.Header) { h.Set("webhook-timestamp", "1795435199") }, connectors.ErrSignature, time.Time{}},
		"an id with a part of what is signed": {"msg_1.5", conformance.At, created, nil, connectors.ErrMalformed, time.Time{}},
		"no type":                             {"msg_1", conformance.At, `{"data":{}}`, nil, connectors.ErrMalformed, time.Time{}},
		"a type that is no text":              {"msg_1", conformance.At, `{"type":{"a":1}}`, nil, connectors.ErrMalformed, time.Time{}},
		"a type in another case":              {"msg_1", conformance.At, `{"Type":"a"}`, nil, connectors.ErrMalformed, time.Time{}},
		"no JSON":                             {"msg_1", conformance.At, `type=a`, nil, connectors.ErrMalformed, time.Time{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header := headers(test.id, test.at)
			header.Set("webhook-signature", v1(header, []byte(test.body), key))
			if test.change != nil {
				test.change(header)
			}
			events, err := standardwebhooks.New().Verify(connectors.Delivery{
				Spec: spec(), Header: header, Body: []byte(test.body), Secret: connectors.Secret{"secret": key}, ReceivedAt: conformance.At,
			})
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if test.want == nil && (events[0].ID != "msg_1" || !events[0].TriggeredAt.Equal(test.wantTime)) {
				t.Errorf("%+v", events[0])
			}
		})
	}
}

func TestTheToleranceIsTheConnectors(t *testing.T) {
	s := spec()
	s.Webhook.Tolerance = metav1.Duration{Duration: time.Hour}
	key := source().Keys[0]
	header := headers("msg_1", conformance.At.Add(-59*time.Minute))
	header.Set("webhook-signature", v1(header, []byte(created), key))
	delivery := connectors.Delivery{Spec: s, Header: header, Body: []byte(created), Secret: connectors.Secret{"secret": key}, ReceivedAt: conformance.At}
	if _, err := standardwebhooks.New().Verify(delivery); err != nil {
		t.Errorf("within an hour: %v", err)
	}
}

// A key that cannot be read is the operator's to mend: the sender is to come again, and
// no log may tell the key.
func TestKeysThatCannotBeRead(t *testing.T) {
	const text = "c2VjcmV0"
	body := []byte(created)
	right := source().Keys[0]
	for name, secret := range map[string]connectors.Secret{
		"too short":                   {"secret": "whsec_" + text},
		"too long":                    {"secret": shared(strings.Repeat("x", 65))},
		"no base64":                   {"secret": "whsec_$" + text},
		"the sender's private key":    {"secret": "whsk_" + text},
		"a public key that is short":  {"secret": "whpk_" + text},
		"the previous key, and it is": {"secret": shared("a key that did not sign it"), "previousSecret": text},
	} {
		header := headers("msg_1", conformance.At)
		header.Set("webhook-signature", v1(header, body, right))
		_, err := standardwebhooks.New().Verify(connectors.Delivery{Spec: spec(), Header: header, Body: body, Secret: secret, ReceivedAt: conformance.At})
		if !errors.Is(err, connectors.ErrSecret) || errors.Is(err, connectors.ErrSignature) || strings.Contains(err.Error(), text) {
			t.Errorf("%s: error %v, want ErrSecret without the key in it", name, err)
		}
		secret["secret"] = right
		if _, err := standardwebhooks.New().Verify(connectors.Delivery{Spec: spec(), Header: header, Body: body, Secret: secret, ReceivedAt: conformance.At}); err != nil {
			t.Errorf("%s: with the right one beside it: %v", name, err)
		}
	}
}
