package netsuite

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// Find reads the sales order by its external id.
func (NetSuite) Find(_ *v1alpha1.ConnectorSpec, lookup connectors.Lookup) (connectors.Request, bool) {
	if lookup.Call.Operation != OperationUpsertSalesOrder || !validExternalID(lookup.Call.ExternalID) {
		return connectors.Request{}, false
	}
	return connectors.Request{
		Method: http.MethodGet,
		Path:   salesOrderByExternalID + lookup.Call.ExternalID,
		Header: http.Header{"Accept": {"application/json"}},
	}, true
}

// missingCodes are the o:errorCodes that say that the record is not there.
var missingCodes = []string{"NONEXISTENT_ID", "RCRD_DSNT_EXIST"}

// ReadFound takes only NetSuite's own words: a record that names the external id,
// which NetSuite compares without case, or its error for one that does not exist.
func (NetSuite) ReadFound(_ *v1alpha1.ConnectorSpec, lookup connectors.Lookup, r connectors.Reply) connectors.Finding {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Finding{Answer: connectors.Answer{Verdict: verdict}}
	}
	verdict := reply.ByStatus(r, connectors.EffectNone)
	if verdict.Class != fault.OK {
		if r.Status == http.StatusNotFound && r.Err == nil && saysMissing(r.Body) {
			return connectors.Finding{Answer: reply.Told(r), Presence: connectors.Absent}
		}
		return connectors.Finding{Answer: connectors.Answer{Verdict: refine(verdict, r, connectors.EffectNone)}}
	}
	var record struct {
		ID         looseID `json:"id"`
		ExternalID string  `json:"externalId"`
	}
	if err := json.Unmarshal(r.Body, &record); err != nil || r.Err != nil || !strings.EqualFold(record.ExternalID, lookup.Call.ExternalID) {
		return connectors.Finding{Answer: reply.Unreadable(r,
			"a look-up's reply that is no whole sales order of that external id: "+reply.Excerpt(r.Header, r.Body))}
	}
	answer := reply.Told(r)
	answer.Reference = reply.Shorten(string(record.ID))
	if answer.Reference == "" {
		answer.Reference = "eid:" + lookup.Call.ExternalID
	}
	return connectors.Finding{Answer: answer, Presence: connectors.Present}
}

func saysMissing(data []byte) bool {
	var body errorBody
	return json.Unmarshal(data, &body) == nil && slices.ContainsFunc(body.Details, func(d errorDetail) bool {
		return slices.Contains(missingCodes, d.Code)
	})
}

// looseID is an id that is a text or a number.
type looseID string

func (id *looseID) UnmarshalJSON(data []byte) error {
	*id = looseID(strings.Trim(string(data), `"`))
	if *id == "null" {
		*id = ""
	}
	return nil
}
