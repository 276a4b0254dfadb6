package woocommerce

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
)

const (
	root = "/wp-json/wc/v3"
	// ordersPerPage orders are some 500 KiB as shops write them, and a third of that as
	// they are kept; what is more than an answer holds is left to the next page.
	ordersPerPage = 50
	// tiedPerPage is the page of a second in which more was changed than one page holds.
	tiedPerPage     = 10
	webhooksPerPage = 100
	// idDigits is as long as an id gets.
	idDigits = 20
	// commitHorizon is how long a shop's PHP may go on with a request that nobody waits
	// for any more: twice what hosts commonly let it run.
	commitHorizon = time.Minute
)

// Operations are the queries that a thin event, a poll and a look at the webhooks need,
// and the making of a webhook. A second call would make a second webhook, so it is
// looked up before.
func (WooCommerce) Operations(spec *v1alpha1.ConnectorSpec) map[string]connectors.Operation {
	return map[string]connectors.Operation{
		connectors.OperationReadOrder:    {Effect: connectors.EffectNone},
		connectors.OperationListOrders:   {Effect: connectors.EffectNone},
		connectors.OperationListWebhooks: {Effect: connectors.EffectNone},
		connectors.OperationPutWebhook: {
			Effect: connectors.EffectOnce, CommitHorizon: connectors.CommitHorizon(spec, commitHorizon),
		},
	}
}

// Authorize needs the keys "consumerKey" and "consumerSecret" of the REST API, which a
// shop takes as basic authentication over https.
func (WooCommerce) Authorize(_ *v1alpha1.ConnectorSpec, secret connectors.Secret) (http.Header, error) {
	for _, key := range []string{"consumerKey", "consumerSecret"} {
		if secret[key] == "" {
			return nil, fmt.Errorf("%w: key %q is missing or empty", connectors.ErrSecret, key)
		}
	}
	credentials := base64.StdEncoding.EncodeToString([]byte(secret["consumerKey"] + ":" + secret["consumerSecret"]))
	return http.Header{"Authorization": {"Basic " + credentials}}, nil
}

// Request builds the request of a call.
func (WooCommerce) Request(_ *v1alpha1.ConnectorSpec, call connectors.Call) (connectors.Request, error) {
	request, err := requestOf(call)
	if err != nil {
		return connectors.Request{}, fmt.Errorf("%s: %w", call.Operation, err)
	}
	return request, nil
}

func requestOf(call connectors.Call) (connectors.Request, error) {
	switch call.Operation {
	case connectors.OperationReadOrder:
		id, err := listing.ParseOrderID(call.Arguments)
		if err == nil {
			err = listing.WholeNumber(id, idDigits)
		}
		if err != nil {
			return connectors.Request{}, err
		}
		return get("/orders/"+id, nil), nil
	case connectors.OperationListOrders:
		at, err := cursorOf(call)
		if err != nil {
			return connectors.Request{}, err
		}
		return get("/orders", at.query()), nil
	case connectors.OperationListWebhooks:
		page, err := listing.ParsePageNumber(call.Arguments)
		if err != nil {
			return connectors.Request{}, err
		}
		return get("/webhooks", url.Values{"per_page": {strconv.Itoa(webhooksPerPage)}, "page": {strconv.Itoa(page)}}), nil
	case connectors.OperationPutWebhook:
		return putWebhook(call)
	}
	return connectors.Request{}, errors.New("WooCommerce has readOrder, listOrders, listWebhooks and putWebhook")
}

// Probe asks for the id of one order, with the credentials that calls have.
func (WooCommerce) Probe(*v1alpha1.ConnectorSpec) connectors.Request {
	return get("/orders", url.Values{"per_page": {"1"}, "_fields": {"id"}})
}

// webhookBody is a webhook as it is written. Seal puts the secret in.
type webhookBody struct {
	Name    string `json:"name"`
	Topic   string `json:"topic"`
	Address string `json:"delivery_url"`
	Status  string `json:"status"`
	Secret  string `json:"secret,omitempty"`
}

func putWebhook(call connectors.Call) (connectors.Request, error) {
	put, err := listing.ParseWebhook(call.Arguments)
	if err == nil && put.ID != "" {
		err = listing.WholeNumber(put.ID, idDigits)
	}
	if err != nil {
		return connectors.Request{}, err
	}
	webhook := webhookBody{Name: "Peppasync " + put.Topic, Topic: put.Topic, Address: put.Address, Status: webhookActive}
	body, err := json.Marshal(webhook) //nolint:gosec // without its secret
	if err != nil {
		return connectors.Request{}, fmt.Errorf("encode the webhook: %w", err)
	}
	request := get("/webhooks", nil)
	request.Method = http.MethodPost
	if put.ID != "" {
		request = get("/webhooks/"+put.ID, nil)
		request.Method = http.MethodPut
	}
	request.Header.Set("Content-Type", "application/json")
	request.Body = body
	return request, nil
}

// Seal puts the key in by which the shop signs what the webhook sends.
func (WooCommerce) Seal(_ *v1alpha1.ConnectorSpec, call connectors.Call, request connectors.Request, webhook connectors.Secret) (connectors.Request, error) {
	if call.Operation != connectors.OperationPutWebhook {
		return request, nil
	}
	if webhook["secret"] == "" {
		return connectors.Request{}, fmt.Errorf("%w: key \"secret\" is missing or empty", connectors.ErrSecret)
	}
	var body webhookBody
	if err := json.Unmarshal(request.Body, &body); err != nil {
		return connectors.Request{}, fmt.Errorf("the request holds no webhook: %w", err)
	}
	body.Secret = webhook["secret"]
	sealed, err := json.Marshal(body) //nolint:gosec // to the shop that it is the secret of
	if err != nil {
		return connectors.Request{}, fmt.Errorf("encode the webhook: %w", err)
	}
	request.Body = sealed
	return request, nil
}

// Find lists the newest webhooks.
func (WooCommerce) Find(_ *v1alpha1.ConnectorSpec, lookup connectors.Lookup) (connectors.Request, bool) {
	if lookup.Call.Operation != connectors.OperationPutWebhook {
		return connectors.Request{}, false
	}
	if _, err := listing.ParseWebhook(lookup.Call.Arguments); err != nil {
		return connectors.Request{}, false
	}
	return get("/webhooks", url.Values{"per_page": {strconv.Itoa(webhooksPerPage)}, "orderby": {"id"}, "order": {"desc"}}), true
}

func get(path string, query url.Values) connectors.Request {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return connectors.Request{Method: http.MethodGet, Path: root + path, Header: http.Header{"Accept": {"application/json"}}}
}
