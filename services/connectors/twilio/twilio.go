// Package twilio sends texts through Twilio's Messages resource (API 2010-04-01).
package twilio

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
)

// maxBody is the longest text that Twilio takes, in characters.
const maxBody = 1600

// commitHorizon is for a message to be made and to be listed, both of which take
// seconds; a text that is a minute late is better than one that comes twice.
const commitHorizon = time.Minute

// Twilio implements connectors.System, connectors.Prober and connectors.Finder.
// It has no state.
type Twilio struct{}

var (
	_ connectors.System = Twilio{}
	_ connectors.Prober = Twilio{}
	_ connectors.Finder = Twilio{}
)

// Operations are sendMessage, which has no idempotency key: sent twice, a text
// arrives twice.
func (Twilio) Operations(spec *v1alpha1.ConnectorSpec) map[string]connectors.Operation {
	return map[string]connectors.Operation{
		connectors.OperationSendMessage: {Effect: connectors.EffectOnce, CommitHorizon: connectors.CommitHorizon(spec, commitHorizon)},
	}
}

// Authorize needs the key "authToken".
func (Twilio) Authorize(spec *v1alpha1.ConnectorSpec, secret connectors.Secret) (http.Header, error) {
	token := secret["authToken"]
	if token == "" {
		return nil, fmt.Errorf("%w: key \"authToken\" is missing or empty", connectors.ErrSecret)
	}
	if spec.Twilio == nil {
		return nil, errors.New("spec.twilio is missing: it holds accountSID and from")
	}
	credentials := base64.StdEncoding.EncodeToString([]byte(spec.Twilio.AccountSID + ":" + token))
	return http.Header{"Authorization": {"Basic " + credentials}}, nil
}

// Request builds the form that creates a message.
func (Twilio) Request(spec *v1alpha1.ConnectorSpec, call connectors.Call) (connectors.Request, error) {
	if call.Operation != connectors.OperationSendMessage {
		return connectors.Request{}, fmt.Errorf("operation %q: Twilio has %s", call.Operation, connectors.OperationSendMessage)
	}
	if spec.Twilio == nil {
		return connectors.Request{}, errors.New("spec.twilio is missing: it holds accountSID and from")
	}
	to, body := text(call)
	if to == "" || body == "" {
		return connectors.Request{}, errors.New("sendMessage: want the arguments to and body, texts that are not empty")
	}
	form := url.Values{"To": {to}, "From": {spec.Twilio.From}, "Body": {body}}
	return connectors.Request{
		Method: http.MethodPost,
		Path:   accountPath(spec) + "/Messages.json",
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}},
		Body:   []byte(form.Encode()),
	}, nil
}

// text returns a call's recipient and its text as it is sent.
func text(call connectors.Call) (to, body string) {
	fields := call.Arguments.GetFields()
	return fields["to"].GetStringValue(), cut(fields["body"].GetStringValue())
}

// Probe reads the account.
func (Twilio) Probe(spec *v1alpha1.ConnectorSpec) connectors.Request {
	return connectors.Request{Method: http.MethodGet, Path: accountPath(spec) + ".json", Header: http.Header{"Accept": {"application/json"}}}
}

func accountPath(spec *v1alpha1.ConnectorSpec) string {
	sid := ""
	if spec.Twilio != nil {
		sid = spec.Twilio.AccountSID
	}
	return "/2010-04-01/Accounts/" + url.PathEscape(strings.Trim(sid, "./"))
}

// cut shortens a text to what Twilio takes: a shorter text is of more use than
// one that is refused.
func cut(body string) string {
	body = strings.ToValidUTF8(body, "\uFFFD")
	if utf8.RuneCountInString(body) <= maxBody {
		return body
	}
	runes := []rune(body)
	return string(runes[:maxBody-1]) + "…"
}
