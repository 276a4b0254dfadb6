// Package netsuite speaks with Oracle NetSuite over SuiteTalk REST: sales orders
// are upserted by external id, and stock is read by SuiteQL. Facts are from
// docs.oracle.com as of 2026.2; what NetSuite does not document is read
// tolerantly.
package netsuite

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/stock"
)

// OperationUpsertSalesOrder creates or rewrites a sales order. The payload is the
// record as SuiteTalk REST takes it.
const OperationUpsertSalesOrder = "upsertSalesOrder"

// salesOrderByExternalID is the path of a sales order, up to the external id.
const salesOrderByExternalID = "/services/rest/record/v1/salesOrder/eid:"

// maxRows is the largest page of a SuiteQL reply.
const maxRows = 1000

// commitHorizon is how long NetSuite itself lets a request run.
const commitHorizon = 15 * time.Minute

// NetSuite implements connectors.System, connectors.Prober and
// connectors.Finder. It has no state.
type NetSuite struct{}

var (
	_ connectors.System = NetSuite{}
	_ connectors.Prober = NetSuite{}
	_ connectors.Finder = NetSuite{}
)

// Operations are upsertSalesOrder, where the same PUT has the same outcome, and
// readStock. An upsert that commits late writes the order as it was then over
// what it has become.
func (NetSuite) Operations(spec *v1alpha1.ConnectorSpec) map[string]connectors.Operation {
	return map[string]connectors.Operation{
		OperationUpsertSalesOrder: {
			Effect: connectors.EffectIdempotent, NeedsMapping: true,
			CommitHorizon: connectors.CommitHorizon(spec, commitHorizon), Overwrites: true,
		},
		connectors.OperationReadStock: {Effect: connectors.EffectNone},
	}
}

// Authorize needs the key "accessToken".
func (NetSuite) Authorize(_ *v1alpha1.ConnectorSpec, secret connectors.Secret) (http.Header, error) {
	token := secret["accessToken"]
	if token == "" {
		return nil, fmt.Errorf("%w: key \"accessToken\" is missing or empty", connectors.ErrSecret)
	}
	return http.Header{"Authorization": {"Bearer " + token}}, nil
}

// Request builds the request of a call.
func (NetSuite) Request(_ *v1alpha1.ConnectorSpec, call connectors.Call) (connectors.Request, error) {
	switch call.Operation {
	case OperationUpsertSalesOrder:
		return upsert(call)
	case connectors.OperationReadStock:
		read, err := stock.ParseRead(call.Arguments)
		if err != nil {
			return connectors.Request{}, fmt.Errorf("readStock: %w", err)
		}
		query, err := stockQuery(read)
		if err != nil {
			return connectors.Request{}, fmt.Errorf("readStock: %w", err)
		}
		return suiteQL(query), nil
	}
	return connectors.Request{}, fmt.Errorf("operation %q: NetSuite has %s and %s", call.Operation, OperationUpsertSalesOrder, connectors.OperationReadStock)
}

// Probe is the cheapest query that touches the database.
func (NetSuite) Probe(*v1alpha1.ConnectorSpec) connectors.Request {
	return suiteQL("SELECT id FROM location WHERE id = 1")
}

// upsert is the one synchronous write of NetSuite that is idempotent: its
// idempotency header counts on asynchronous requests only. Without replace=item
// a second PUT would add the lines to those that are there.
func upsert(call connectors.Call) (connectors.Request, error) {
	if !validExternalID(call.ExternalID) {
		return connectors.Request{}, fmt.Errorf("external id %q: NetSuite takes letters, digits, '_' and '-', and needs at least one", call.ExternalID)
	}
	var record map[string]json.RawMessage
	if err := json.Unmarshal(call.Payload, &record); err != nil || record == nil {
		return connectors.Request{}, fmt.Errorf("the payload of %s is not a JSON object: have the mapping return a map", OperationUpsertSalesOrder)
	}
	return connectors.Request{
		Method: http.MethodPut,
		Path:   salesOrderByExternalID + call.ExternalID + "?replace=item",
		Header: http.Header{
			"Content-Type": {"application/json"},
			"Accept":       {"application/json"},
			// Misspelled fields are dropped without a word otherwise.
			"X-Netsuite-Propertynamevalidation":  {"Error"},
			"X-Netsuite-Propertyvaluevalidation": {"Error"},
		},
		Body: call.Payload,
	}, nil
}

func validExternalID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return id != ""
}

// stockQuery reads quantityAvailable, the figure that an accepted order lowers
// at once; quantityOnHand waits for the shipment.
func stockQuery(read stock.Read) (string, error) {
	if len(read.Location) > 18 || strings.Trim(read.Location, "0123456789") != "" {
		return "", fmt.Errorf("location %q: NetSuite's is the internal id, a number such as 1", read.Location)
	}
	if len(read.SKUs) > maxRows {
		return "", fmt.Errorf("%d SKUs, of which one page holds %d: split them", len(read.SKUs), maxRows)
	}
	quoted := make([]string, len(read.SKUs))
	for i, sku := range read.SKUs {
		quoted[i] = "'" + strings.ReplaceAll(sku, "'", "''") + "'"
	}
	return "SELECT item.itemid AS sku, aggregateItemLocation.quantityAvailable AS quantityavailable" +
		" FROM aggregateItemLocation INNER JOIN item ON item.id = aggregateItemLocation.item" +
		" WHERE item.itemid IN (" + strings.Join(quoted, ",") + ") AND aggregateItemLocation.location = " + read.Location, nil
}

func suiteQL(query string) connectors.Request {
	body, _ := json.Marshal(map[string]string{"q": query}) //nolint:errchkjson // a text always encodes
	return connectors.Request{
		Method: http.MethodPost,
		Path:   fmt.Sprintf("/services/rest/query/v1/suiteql?limit=%d", maxRows),
		Header: http.Header{
			"Content-Type": {"application/json"},
			"Accept":       {"application/json"},
			"Prefer":       {"transient"},
		},
		Body: body,
	}
}
