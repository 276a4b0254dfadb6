package bigcommerce

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/signature"
)

// Seal puts in the header by which the store shows that it is the sender. Where only the
// client secret is known, the store's signature has to do.
func (BigCommerce) Seal(_ *v1alpha1.ConnectorSpec, call connectors.Call, request connectors.Request, webhook connectors.Secret) (connectors.Request, error) {
	if call.Operation != connectors.OperationPutWebhook || request.Method == http.MethodGet {
		return request, nil
	}
	if err := known(webhook); err != nil {
		return connectors.Request{}, err
	}
	if webhook[keyShown] == "" {
		return request, nil
	}
	var body webhookBody
	if err := json.Unmarshal(request.Body, &body); err != nil {
		return connectors.Request{}, fmt.Errorf("the request holds no webhook: %w", err)
	}
	body.Headers = maps.Clone(body.Headers)
	if body.Headers == nil {
		body.Headers = make(map[string]string, 1)
	}
	body.Headers[headerToken] = webhook[keyShown]
	sealed, err := json.Marshal(body)
	if err != nil {
		return connectors.Request{}, fmt.Errorf("encode the webhook: %w", err)
	}
	request.Body = sealed
	return request, nil
}

func known(webhook connectors.Secret) error {
	if webhook[keyShown] == "" && webhook[keyClientSecret] == "" {
		return fmt.Errorf("%w: key %q is missing or empty, and so is %q", connectors.ErrSecret, keyShown, keyClientSecret)
	}
	return nil
}

// seal says what a webhook shows.
type seal string

const (
	// sealToday: what it sends is taken, and nothing is to be done.
	sealToday seal = "today"
	// sealBefore: it shows the secret before today's.
	sealBefore seal = "before"
	// sealBeforeAmongOthers: and has headers beside it, such as for a gateway, which a new
	// list of headers would take away: whoever made it has to put in the new one.
	sealBeforeAmongOthers seal = "before-among-others"
	// sealHidden: the store covers what it shows. To put it again would change nothing that
	// could be seen, so it would be put at each look for ever.
	sealHidden seal = "hidden"
	// sealNone: what it sends is refused.
	sealNone seal = "none"
)

// fieldSeal is where Unseal leaves it with a webhook.
const fieldSeal = "peppasync_seal"

// Unseal writes what each webhook of a list shows, in place of the secret.
func (BigCommerce) Unseal(_ *v1alpha1.ConnectorSpec, call connectors.Call, r connectors.Reply, webhook connectors.Secret) (connectors.Reply, error) {
	if call.Operation != connectors.OperationListWebhooks || r.Status != http.StatusOK {
		return r, nil
	}
	if err := known(webhook); err != nil {
		return r, err
	}
	// What is no list stays as it is: Read says what is wrong with it.
	if body, err := unsealed(r.Body, webhook); err == nil {
		r.Body = body
	}
	return withoutSecret(r), nil
}

func unsealed(body []byte, webhook connectors.Secret) ([]byte, error) {
	var list map[string]json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	var hooks []map[string]json.RawMessage
	if err := json.Unmarshal(list["data"], &hooks); err != nil {
		return nil, err
	}
	for _, hook := range hooks {
		headers := map[string]json.RawMessage{}
		if hook["headers"] == nil || json.Unmarshal(hook["headers"], &headers) != nil {
			continue // the store does not say
		}
		hook[fieldSeal] = json.RawMessage(strconv.Quote(string(sealOf(headers, webhook))))
	}
	data, err := json.Marshal(hooks)
	if err != nil {
		return nil, err
	}
	list["data"] = data
	return json.Marshal(list)
}

func sealOf(headers map[string]json.RawMessage, webhook connectors.Secret) seal {
	if webhook[keyShown] == "" {
		return sealToday // they need to show nothing: the store signs
	}
	for name, value := range headers {
		var token string
		if !strings.EqualFold(name, headerToken) || json.Unmarshal(value, &token) != nil {
			continue
		}
		switch {
		case signature.Shown([]string{webhook[keyShown]}, token):
			return sealToday
		case signature.Shown([]string{webhook[keyShownBefore]}, token):
		case covered(token):
			return sealHidden
		default:
			return sealNone
		}
		if len(headers) > 1 {
			return sealBeforeAmongOthers
		}
		return sealBefore
	}
	return sealNone
}

// covers are what a value is covered with.
const covers = "*•●·#xX.-_"

// covered reports whether a value has no part of a secret, or only its beginning and end:
// it is one sign many times over, has a row of asterisks or dots, or says so in a word.
// The documentation shows the values and says of no cover; a gateway or a plan may have one.
func covered(value string) bool {
	switch strings.ToLower(strings.Trim(value, "[]<>() ")) {
	case "redacted", "masked", "hidden", "filtered", "removed":
		return true
	}
	first, _ := utf8.DecodeRuneInString(value)
	if utf8.RuneCountInString(value) >= 3 && strings.ContainsRune(covers, first) && strings.Trim(value, string(first)) == "" {
		return true
	}
	return strings.Contains(value, "****") || strings.Contains(value, "••••") || strings.Contains(value, "●●●●")
}

// shown is the webhook's secret as the store shows it with a webhook: it lists the
// headers that each sends along.
var shown = regexp.MustCompile(`(?i)"` + headerToken + `"\s*:\s*"(?:[^"\\]|\\.)*"?`)

// withoutSecret returns a reply without it. What cannot be read is quoted in causes, which
// are logged, kept and shown.
func withoutSecret(r connectors.Reply) connectors.Reply {
	r.Body = shown.ReplaceAll(r.Body, []byte(`"`+headerToken+`":"-"`))
	return r
}
