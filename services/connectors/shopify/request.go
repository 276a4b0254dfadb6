package shopify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/stock"
)

// defaultAPIVersion is that of the field's default, for specs without settings.
const defaultAPIVersion = "2026-10"

// maxItems is Shopify's bound on input arrays, and the page that a query of
// stock can have within the cap of 1,000 points for a single query.
const maxItems = 250

const (
	// readStockCost is what readStockQuery is taken for: 2 for the connection and 3
	// for each of its 250 items, however many are found. What they really cost is
	// charged.
	readStockCost = 2 + 3*maxItems
	// mutationCost is what Shopify takes for a mutation.
	mutationCost = 10
)

// readStockQuery asks for a page of maxItems.
const readStockQuery = `query ReadStock($query: String!, $location: ID!) {
  inventoryItems(first: 250, query: $query) {
    nodes {
      id
      sku
      inventoryLevel(locationId: $location) {
        quantities(names: ["available", "committed"]) { name quantity }
      }
    }
    pageInfo { hasNextPage }
  }
}`

const setStockMutation = `mutation SetStock($input: InventorySetQuantitiesInput!, $key: String!) {
  inventorySetQuantities(input: $input) @idempotent(key: $key) {
    inventoryAdjustmentGroup { id }
    userErrors { code field message }
  }
}`

const probeBody = `{"query":"{ shop { id } }"}`

type graphQL struct {
	Query     string `json:"query"`
	Variables any    `json:"variables,omitempty"`
}

type readVariables struct {
	Query    string `json:"query"`
	Location string `json:"location"`
}

type setVariables struct {
	Input setInput `json:"input"`
	Key   string   `json:"key"`
}

type setInput struct {
	Name                 string        `json:"name"`
	Reason               string        `json:"reason"`
	ReferenceDocumentURI string        `json:"referenceDocumentUri"`
	Quantities           []setQuantity `json:"quantities"`
}

type setQuantity struct {
	InventoryItemID    string `json:"inventoryItemId"`
	LocationID         string `json:"locationId"`
	Quantity           int64  `json:"quantity"`
	ChangeFromQuantity int64  `json:"changeFromQuantity"`
}

// Operations are those of stock, and those by which is found what webhooks miss. A
// set carries an idempotency key that Shopify keeps for 24 hours, and a
// compare-and-set beside it. A second webhook of one topic and address is refused.
func (Shopify) Operations(*v1alpha1.ConnectorSpec) map[string]connectors.Operation {
	return map[string]connectors.Operation{
		connectors.OperationReadStock:    {Effect: connectors.EffectNone},
		connectors.OperationSetStock:     {Effect: connectors.EffectIdempotent},
		connectors.OperationListOrders:   {Effect: connectors.EffectNone},
		connectors.OperationReadOrder:    {Effect: connectors.EffectNone},
		connectors.OperationListWebhooks: {Effect: connectors.EffectNone},
		connectors.OperationPutWebhook:   {Effect: connectors.EffectIdempotent},
	}
}

// Authorize needs the key "accessToken".
func (Shopify) Authorize(_ *v1alpha1.ConnectorSpec, secret connectors.Secret) (http.Header, error) {
	token := secret["accessToken"]
	if token == "" {
		return nil, fmt.Errorf("%w: key \"accessToken\" is missing or empty", connectors.ErrSecret)
	}
	return http.Header{"X-Shopify-Access-Token": {token}}, nil
}

// Request builds the GraphQL request of a call.
func (Shopify) Request(spec *v1alpha1.ConnectorSpec, call connectors.Call) (connectors.Request, error) {
	switch call.Operation {
	case connectors.OperationReadStock:
		read, err := stock.ParseRead(call.Arguments)
		if err != nil {
			return connectors.Request{}, fmt.Errorf("readStock: %w", err)
		}
		if len(read.SKUs) > maxItems {
			return connectors.Request{}, fmt.Errorf("readStock: %d SKUs, of which one query holds %d: split them", len(read.SKUs), maxItems)
		}
		return post(spec, graphQL{readStockQuery, readVariables{search(read.SKUs), globalID("Location", read.Location)}}, readStockCost)
	case connectors.OperationSetStock:
		variables, err := setVariablesOf(call)
		if err != nil {
			return connectors.Request{}, fmt.Errorf("setStock: %w", err)
		}
		return post(spec, graphQL{setStockMutation, variables}, mutationCost)
	case connectors.OperationListOrders:
		return listOrdersRequest(spec, call)
	case connectors.OperationReadOrder:
		return readOrderRequest(spec, call)
	case connectors.OperationListWebhooks:
		return listWebhooksRequest(spec, call)
	case connectors.OperationPutWebhook:
		return putWebhookRequest(spec, call)
	}
	return connectors.Request{}, fmt.Errorf("operation %q: Shopify has readStock, setStock, listOrders, readOrder, listWebhooks and putWebhook", call.Operation)
}

// Probe asks for the shop's id, which costs one point.
func (Shopify) Probe(spec *v1alpha1.ConnectorSpec) connectors.Request {
	return request(spec, []byte(probeBody))
}

func setVariablesOf(call connectors.Call) (setVariables, error) {
	set, err := stock.ParseSet(call.Arguments)
	if err != nil {
		return setVariables{}, err
	}
	if len(set.Items) > maxItems {
		return setVariables{}, fmt.Errorf("%d items, of which one call holds %d: split them", len(set.Items), maxItems)
	}
	if call.IdempotencyKey == "" {
		return setVariables{}, errors.New("no idempotency key, which Shopify demands for every set")
	}
	quantities := make([]setQuantity, len(set.Items))
	for i, item := range set.Items {
		quantities[i] = setQuantity{
			InventoryItemID:    globalID("InventoryItem", item.Item),
			LocationID:         globalID("Location", set.Location),
			Quantity:           item.Quantity,
			ChangeFromQuantity: item.ChangeFrom,
		}
	}
	return setVariables{Key: call.IdempotencyKey, Input: setInput{
		Name: "available", Reason: "correction", ReferenceDocumentURI: set.Reference, Quantities: quantities,
	}}, nil
}

// globalID takes an id as people know it, such as 5001, for the global id that
// GraphQL wants; what is not a number stays as it is.
func globalID(kind, id string) string {
	if strings.Trim(id, "0123456789") != "" {
		return id
	}
	return "gid://shopify/" + kind + "/" + id
}

// search is a search for exactly these SKUs, quoted so that none can change it.
func search(skus []string) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	terms := make([]string, len(skus))
	for i, sku := range skus {
		terms[i] = "sku:'" + quote.Replace(sku) + "'"
	}
	return strings.Join(terms, " OR ")
}

func post(spec *v1alpha1.ConnectorSpec, query graphQL, cost int64) (connectors.Request, error) {
	body, err := json.Marshal(query)
	if err != nil {
		return connectors.Request{}, fmt.Errorf("encode the query: %w", err)
	}
	post := request(spec, body)
	post.Cost = cost
	return post, nil
}

func request(spec *v1alpha1.ConnectorSpec, body []byte) connectors.Request {
	version := defaultAPIVersion
	if spec.Shopify != nil && spec.Shopify.APIVersion != "" {
		version = spec.Shopify.APIVersion
	}
	return connectors.Request{
		Method: http.MethodPost,
		Path:   "/admin/api/" + version + "/graphql.json",
		Header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}},
		Body:   body,
	}
}
