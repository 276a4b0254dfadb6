package netsuite

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/arrivals"
)

const (
	recordPath  = "/services/rest/record/v1/salesOrder"
	suiteQLPath = "/services/rest/query/v1/suiteql"
	contentType = "application/vnd.oracle.resource+json; type=error"
)

// The operations that arrivals, reports and fault rules name.
const (
	OpUpsert = "order.upsert"
	OpCreate = "order.create"
	OpRead   = "order.read"
	OpQuery  = "query"
	OpOther  = "other"
)

// Classify names the operation and the external id.
func (a *Account) Classify(r *http.Request, body []byte) (operation, externalID string) {
	path := r.URL.Path
	switch {
	case path == recordPath && r.Method == http.MethodPost:
		var o struct {
			ExternalID string `json:"externalId"`
		}
		if json.Unmarshal(body, &o) != nil {
			return OpCreate, ""
		}
		return OpCreate, o.ExternalID
	case strings.HasPrefix(path, recordPath+"/"):
		id := strings.TrimPrefix(strings.TrimPrefix(path, recordPath+"/"), "eid:")
		switch r.Method {
		case http.MethodPut:
			return OpUpsert, id
		case http.MethodGet:
			return OpRead, id
		}
	case path == suiteQLPath && r.Method == http.MethodPost:
		return OpQuery, ""
	}
	return OpOther, ""
}

// Serve carries out one call.
func (a *Account) Serve(c account.Call, r *http.Request, body []byte) account.Reply {
	if r.Header.Get("Authorization") != "Bearer "+a.cfg.Token {
		return failure(http.StatusUnauthorized, detail{Code: "INVALID_LOGIN", Detail: "Invalid login attempt. " +
			"For more details, see the Login Audit Trail in the NetSuite UI at Setup > Users/Roles > User Management > View Login Audit Trail."})
	}
	switch c.Operation {
	case OpUpsert:
		return a.upsert(c, r, body)
	case OpCreate:
		return a.create(c, r, body)
	case OpRead:
		return a.read(r)
	case OpQuery:
		return a.query(r, body)
	}
	if r.URL.Path == recordPath || strings.HasPrefix(r.URL.Path, recordPath+"/") || r.URL.Path == suiteQLPath {
		return failure(http.StatusMethodNotAllowed, detail{Code: "INVALID_METHOD", Detail: "Method " + r.Method + " is not allowed here."})
	}
	return failure(http.StatusNotFound, detail{Code: "NONEXISTENT_ID", Detail: "The record type or path " + r.URL.Path + " does not exist."})
}

// Refuse returns NetSuite's form of a refusal. NetSuite sends no Retry-After of its own.
func (a *Account) Refuse(reason account.Reason) account.Reply {
	switch reason {
	case account.OverConcurrency:
		return failure(http.StatusTooManyRequests, detail{
			Code: "CONCURRENCY_LIMIT_EXCEEDED", Detail: "Concurrent request limit exceeded. Request blocked."})
	case account.UnderPenalty:
		return failure(http.StatusTooManyRequests, detail{
			Code: "REQUEST_LIMIT_EXCEEDED", Detail: "The account is blocked because the request limit was exceeded. Request blocked."})
	case account.InMaintenance:
		if a.cfg.MaintenanceHTML {
			return account.HTML(http.StatusServiceUnavailable)
		}
		return failure(http.StatusServiceUnavailable, detail{
			Code: "SERVICE_UNAVAILABLE", Detail: "NetSuite is undergoing scheduled maintenance. Please try again later."})
	case account.InjectedUnavailable:
		return failure(http.StatusServiceUnavailable, detail{Code: "SERVICE_UNAVAILABLE", Detail: "The service is temporarily unavailable."})
	case account.InjectedServerError:
		return failure(http.StatusInternalServerError, detail{
			Code: "UNEXPECTED_ERROR", Detail: "An unexpected error occurred. Error ID: l0f7x2k31h0v2j5y9q8x"})
	case account.InjectedThrottleInBody:
		reply := failure(http.StatusOK, detail{Code: "SSS_REQUEST_LIMIT_EXCEEDED", Detail: "Request limit exceeded. Request blocked."})
		reply.Outcome = arrivals.Throttled
		return reply
	default:
		return failure(http.StatusTooManyRequests, detail{Code: "REQUEST_LIMIT_EXCEEDED", Detail: "Request limit exceeded. Request blocked."})
	}
}

// detail is one entry of o:errorDetails.
type detail struct {
	Detail     string `json:"detail"`
	Code       string `json:"o:errorCode"`
	Path       string `json:"o:errorPath,omitempty"`
	QueryParam string `json:"o:errorQueryParam,omitempty"`
	Header     string `json:"o:errorHeader,omitempty"`
}

// rfcSections are the anchors that NetSuite's error types point to.
var rfcSections = map[int]string{
	http.StatusBadRequest: "#sec10.4.1", http.StatusUnauthorized: "#sec10.4.2", http.StatusNotFound: "#sec10.4.5",
	http.StatusMethodNotAllowed: "#sec10.4.6", http.StatusInternalServerError: "#sec10.5.1", http.StatusServiceUnavailable: "#sec10.5.4",
}

func failure(status int, details ...detail) account.Reply {
	title := http.StatusText(status)
	if status == http.StatusTooManyRequests {
		title = "Bad Request" // as observed in the field
	}
	return account.JSON(status, contentType, struct {
		Type    string   `json:"type"`
		Title   string   `json:"title"`
		Status  int      `json:"status"`
		Details []detail `json:"o:errorDetails"`
	}{"https://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html" + rfcSections[status], title, status, details})
}
