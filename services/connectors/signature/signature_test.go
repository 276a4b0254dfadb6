package signature_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/signature"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// spec returns a Connector with its defaults.
func spec(h *v1alpha1.HMAC) *v1alpha1.ConnectorSpec {
	c := v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{System: v1alpha1.SystemHTTP, Webhook: &v1alpha1.Webhook{HMAC: h}}}
	c.SetDefaults()
	return &c.Spec
}

const (
	github = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	slack  = "a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"

	slackBody = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar" +
		"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands" +
		"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)

// ofK is the HMAC by the key k.
func ofK(algorithm func() hash.Hash, message string) []byte {
	mac := hmac.New(algorithm, []byte("k"))
	mac.Write([]byte(message))
	return mac.Sum(nil)
}

// Ways to sign that senders have, two of them with the examples that they publish.
func TestDeclaredSignatures(t *testing.T) {
	ofGitHub := &v1alpha1.HMAC{Header: "X-Hub-Signature-256", Prefix: "sha256="}
	ofSlack := &v1alpha1.HMAC{
		Header: "X-Slack-Signature", Prefix: "v0=", Signed: "v0:{timestamp}:{body}",
		Timestamp: &v1alpha1.SignedTimestamp{Header: "X-Slack-Request-Timestamp"},
	}
	slackTime := time.Unix(1531420618, 0)
	const secret, body = "k", `{"id":1}`
	milliseconds := "1795435200123"
	tests := map[string]struct {
		hmac   *v1alpha1.HMAC
		secret string
		body   string
		header map[string]string
		at     time.Time
		want   error
	}{
		"GitHub's example": {ofGitHub, "It's a Secret to Everybody", "Hello, World!",
			map[string]string{"X-Hub-Signature-256": "sha256=" + github}, time.Time{}, nil},
		"in large letters": {ofGitHub, "It's a Secret to Everybody", "Hello, World!",
			map[string]string{"X-Hub-Signature-256": "sha256=" + strings.ToUpper(github)}, time.Time{}, nil},
		"one of several": {ofGitHub, "It's a Secret to Everybody", "Hello, World!",
			map[string]string{"X-Hub-Signature-256": "sha1=00, sha256=00,sha256=" + github}, time.Time{}, nil},
		"without its prefix": {ofGitHub, "It's a Secret to Everybody", "Hello, World!",
			map[string]string{"X-Hub-Signature-256": github}, time.Time{}, connectors.ErrSignature},
		"another body": {ofGitHub, "It's a Secret to Everybody", "Hello, World",
			map[string]string{"X-Hub-Signature-256": "sha256=" + github}, time.Time{}, connectors.ErrSignature},
		"no header": {ofGitHub, "It's a Secret to Everybody", "Hello, World!", nil, time.Time{}, connectors.ErrSignature},
		"Slack's example": {ofSlack, "8f742231b10e8888abcd99yyyzzz85a5", slackBody,
			map[string]string{"X-Slack-Signature": "v0=" + slack, "X-Slack-Request-Timestamp": "1531420618"}, slackTime, nil},
		"five minutes later": {ofSlack, "8f742231b10e8888abcd99yyyzzz85a5", slackBody,
			map[string]string{"X-Slack-Signature": "v0=" + slack, "X-Slack-Request-Timestamp": "1531420618"}, slackTime.Add(5 * time.Minute), nil},
		"and a second": {ofSlack, "8f742231b10e8888abcd99yyyzzz85a5", slackBody,
			map[string]string{"X-Slack-Signature": "v0=" + slack, "X-Slack-Request-Timestamp": "1531420618"}, slackTime.Add(5*time.Minute + time.Second), connectors.ErrSignature},
		"a second too early": {ofSlack, "8f742231b10e8888abcd99yyyzzz85a5", slackBody,
			map[string]string{"X-Slack-Signature": "v0=" + slack, "X-Slack-Request-Timestamp": "1531420618"}, slackTime.Add(-5*time.Minute - time.Second), connectors.ErrSignature},
		"another time": {ofSlack, "8f742231b10e8888abcd99yyyzzz85a5", slackBody,
			map[string]string{"X-Slack-Signature": "v0=" + slack, "X-Slack-Request-Timestamp": "1531420619"}, slackTime, connectors.ErrSignature},
		"no time": {ofSlack, "8f742231b10e8888abcd99yyyzzz85a5", slackBody,
			map[string]string{"X-Slack-Signature": "v0=" + slack}, slackTime, connectors.ErrSignature},
		"SHA-1": {&v1alpha1.HMAC{Header: "X-Signature", Algorithm: v1alpha1.HMACAlgorithmSHA1}, secret, body,
			map[string]string{"X-Signature": hex.EncodeToString(ofK(sha1.New, body))}, time.Time{}, nil},
		"SHA-512 in base64": {&v1alpha1.HMAC{Header: "X-Signature", Algorithm: v1alpha1.HMACAlgorithmSHA512, Encoding: v1alpha1.SignatureEncodingBase64}, secret, body,
			map[string]string{"X-Signature": base64.StdEncoding.EncodeToString(ofK(sha512.New, body))}, time.Time{}, nil},
		"base64 without its end": {&v1alpha1.HMAC{Header: "X-Signature", Algorithm: v1alpha1.HMACAlgorithmSHA512, Encoding: v1alpha1.SignatureEncodingBase64}, secret, body,
			map[string]string{"X-Signature": base64.RawStdEncoding.EncodeToString(ofK(sha512.New, body))}, time.Time{}, nil},
		"another algorithm": {&v1alpha1.HMAC{Header: "X-Signature"}, secret, body,
			map[string]string{"X-Signature": hex.EncodeToString(ofK(sha1.New, body))}, time.Time{}, connectors.ErrSignature},
		"both in one header, with milliseconds": {
			&v1alpha1.HMAC{
				Header: "Shop-Signature", Prefix: "h1=", Algorithm: v1alpha1.HMACAlgorithmSHA1, Signed: "{body}:{timestamp}",
				Timestamp: &v1alpha1.SignedTimestamp{Header: "Shop-Signature", Prefix: "ts=", Format: v1alpha1.TimestampFormatUnixMilliseconds},
			}, secret, body,
			map[string]string{"Shop-Signature": "ts=" + milliseconds + ";h1=" + hex.EncodeToString(ofK(sha1.New, body+":"+milliseconds))},
			time.UnixMilli(1795435200123), nil,
		},
		"a time in words, right in front": {
			&v1alpha1.HMAC{
				Header: "X-Signature", Algorithm: v1alpha1.HMACAlgorithmSHA1, Signed: "{timestamp}{body}",
				Timestamp: &v1alpha1.SignedTimestamp{Header: "X-Time", Format: v1alpha1.TimestampFormatRFC3339},
			}, secret, body,
			map[string]string{"X-Time": "2026-11-23T12:00:00Z", "X-Signature": hex.EncodeToString(ofK(sha1.New, "2026-11-23T12:00:00Z"+body))},
			time.Date(2026, 11, 23, 12, 1, 0, 0, time.UTC), nil,
		},
		"a time of another form": {
			&v1alpha1.HMAC{Header: "X-Signature", Algorithm: v1alpha1.HMACAlgorithmSHA1, Timestamp: &v1alpha1.SignedTimestamp{Header: "X-Time"}}, secret, body,
			map[string]string{"X-Time": "+1795435200", "X-Signature": hex.EncodeToString(ofK(sha1.New, "+1795435200."+body))},
			time.Unix(1795435200, 0), connectors.ErrSignature,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header := make(http.Header)
			for name, value := range test.header {
				header.Set(name, value)
			}
			err := signature.Check(connectors.Delivery{
				Spec: spec(test.hmac), Header: header, Body: []byte(test.body), Secret: connectors.Secret{"secret": test.secret}, ReceivedAt: test.at,
			})
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), test.secret) && test.secret != secret {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

// What admission refuses checks nothing that it should not, either.
func TestADeclarationWithoutTheBodySignsNothing(t *testing.T) {
	h := &v1alpha1.HMAC{Header: "X-Signature", Algorithm: v1alpha1.HMACAlgorithmSHA1, Signed: "fixed"}
	header := http.Header{"X-Signature": {hex.EncodeToString(ofK(sha1.New, "fixed"))}}
	err := signature.Check(connectors.Delivery{Spec: spec(h), Header: header, Body: []byte(`{}`), Secret: connectors.Secret{"secret": "k"}})
	if !errors.Is(err, connectors.ErrSignature) {
		t.Errorf("error %v, want ErrSignature", err)
	}
}

func TestTheSecretThatASenderShows(t *testing.T) {
	secret := connectors.Secret{"secret": "mF_9.B5f-4.1JqM", "previousSecret": "older"}
	for value, want := range map[string]error{
		"Bearer mF_9.B5f-4.1JqM":  nil,
		"bearer mF_9.B5f-4.1JqM":  nil,
		"Bearer  mF_9.B5f-4.1JqM": nil,
		"Bearer older":            nil,
		"Bearer mF_9.B5f-4.1Jq":   connectors.ErrSignature,
		"Bearer mF_9.B5f-4.1JqMM": connectors.ErrSignature,
		"Bearer ":                 connectors.ErrSignature,
		"Bearer":                  connectors.ErrSignature,
		"Basic mF_9.B5f-4.1JqM":   connectors.ErrSignature,
		"mF_9.B5f-4.1JqM":         connectors.ErrSignature,
		"":                        connectors.ErrSignature,
	} {
		err := signature.Check(connectors.Delivery{Spec: spec(nil), Header: http.Header{"Authorization": {value}}, Secret: secret})
		if !errors.Is(err, want) {
			t.Errorf("%q: error %v, want %v", value, err, want)
		}
	}
}

func TestAnEmptyKeySignsNothing(t *testing.T) {
	mac := hmac.New(sha1.New, nil)
	mac.Write([]byte("body"))
	if signature.Signed(sha1.New, []string{""}, [][]byte{mac.Sum(nil)}, []byte("body")) {
		t.Error("it does")
	}
	if _, err := signature.Keys(connectors.Secret{"secret": "", "previousSecret": "k"}); !errors.Is(err, connectors.ErrSecret) {
		t.Errorf("a secret that is missing, beside its predecessor: error %v, want ErrSecret", err)
	}
	if keys, err := signature.Keys(connectors.Secret{"secret": "k", "previousSecret": ""}); err != nil || len(keys) != 1 {
		t.Errorf("%d keys, error %v, want one", len(keys), err)
	}
}

func TestElements(t *testing.T) {
	header := http.Header{"X-S": {"t=1,v1=a; v1=b", "v1=c,v1=,w=d"}}
	if got := strings.Join(signature.Elements(header, "X-S", "v1="), " "); got != "a b c" {
		t.Errorf("found %q", got)
	}
	if got := signature.Elements(http.Header{"X-S": {strings.Repeat("a,", 1000)}}, "X-S", ""); len(got) != signature.Most {
		t.Errorf("%d elements are looked at, want %d", len(got), signature.Most)
	}
}
