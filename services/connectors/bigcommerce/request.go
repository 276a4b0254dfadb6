package bigcommerce

import (
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
	orders   = "/v2/orders"
	webhooks = "/v3/hooks"
	// included brings the lines along, which are a request of their own otherwise: one
	// permit, and one moment that all of the order is of.
	included = "consignments.line_items"
	// ordersPerPage orders are some 400 KiB as a store writes them, and a third of that as
	// they are kept; what is more than an answer holds is left to the next page.
	ordersPerPage   = 50
	webhooksPerPage = 250
	// idDigits is as long as an id gets.
	idDigits = 19
	// commitHorizon is far more than the API lets a request run.
	commitHorizon = time.Minute
)

// Operations are the queries that events, a poll and a look at the webhooks need, and
// the making of a webhook. A second call would make a second webhook, so it is looked
// up before.
func (BigCommerce) Operations(spec *v1alpha1.ConnectorSpec) map[string]connectors.Operation {
	return map[string]connectors.Operation{
		connectors.OperationReadOrder:    {Effect: connectors.EffectNone},
		connectors.OperationListOrders:   {Effect: connectors.EffectNone},
		connectors.OperationListWebhooks: {Effect: connectors.EffectNone},
		connectors.OperationPutWebhook: {
			Effect: connectors.EffectOnce, CommitHorizon: connectors.CommitHorizon(spec, commitHorizon),
		},
	}
}

// Authorize needs the key "accessToken" of a store-level API account.
func (BigCommerce) Authorize(_ *v1alpha1.ConnectorSpec, secret connectors.Secret) (http.Header, error) {
	token := secret["accessToken"]
	if token == "" {
		return nil, fmt.Errorf("%w: key \"accessToken\" is missing or empty", connectors.ErrSecret)
	}
	return http.Header{"X-Auth-Token": {token}}, nil
}

// Request builds the request of a call.
func (BigCommerce) Request(_ *v1alpha1.ConnectorSpec, call connectors.Call) (connectors.Request, error) {
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
		return get(orders+"/"+id, url.Values{"include": {included}}), nil
	case connectors.OperationListOrders:
		at, err := cursorOf(call)
		if err != nil {
			return connectors.Request{}, err
		}
		return get(orders, query(at)), nil
	case connectors.OperationListWebhooks:
		page, err := listing.ParsePageNumber(call.Arguments)
		if err != nil {
			return connectors.Request{}, err
		}
		return get(webhooks, url.Values{"limit": {strconv.Itoa(webhooksPerPage)}, "page": {strconv.Itoa(page)}}), nil
	case connectors.OperationPutWebhook:
		return putWebhook(call)
	}
	return connectors.Request{}, errors.New("BigCommerce has readOrder, listOrders, listWebhooks and putWebhook")
}

// Probe asks for one order, with the credentials that calls have.
func (BigCommerce) Probe(*v1alpha1.ConnectorSpec) connectors.Request {
	return get(orders, url.Values{"limit": {"1"}})
}

// webhookBody is a webhook as it is written. Seal puts the secret into its headers.
type webhookBody struct {
	Scope       string            `json:"scope"`
	Destination string            `json:"destination"`
	IsActive    bool              `json:"is_active"`
	Headers     map[string]string `json:"headers,omitempty"`
}

func putWebhook(call connectors.Call) (connectors.Request, error) {
	put, err := listing.ParseWebhook(call.Arguments)
	if err == nil && put.ID != "" {
		err = listing.WholeNumber(put.ID, idDigits)
	}
	if err != nil {
		return connectors.Request{}, err
	}
	body, err := json.Marshal(webhookBody{Scope: put.Topic, Destination: put.Address, IsActive: true})
	if err != nil {
		return connectors.Request{}, fmt.Errorf("encode the webhook: %w", err)
	}
	request := get(webhooks, nil)
	request.Method = http.MethodPost
	if put.ID != "" {
		request = get(webhooks+"/"+put.ID, nil)
		request.Method = http.MethodPut
	}
	request.Header.Set("Content-Type", "application/json")
	request.Body = body
	return request, nil
}

// Find lists the webhooks of that scope and destination.
func (BigCommerce) Find(_ *v1alpha1.ConnectorSpec, lookup connectors.Lookup) (connectors.Request, bool) {
	if lookup.Call.Operation != connectors.OperationPutWebhook {
		return connectors.Request{}, false
	}
	put, err := listing.ParseWebhook(lookup.Call.Arguments)
	if err != nil {
		return connectors.Request{}, false
	}
	return get(webhooks, url.Values{"scope": {put.Topic}, "destination": {put.Address}, "limit": {strconv.Itoa(webhooksPerPage)}}), true
}

// get asks for JSON: version 2 answers in XML otherwise.
func get(path string, query url.Values) connectors.Request {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return connectors.Request{Method: http.MethodGet, Path: path, Header: http.Header{"Accept": {"application/json"}}}
}
