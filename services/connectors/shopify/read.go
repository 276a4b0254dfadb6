package shopify

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/quota"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/connectors/retryafter"
	"github.com/peppasync/peppasync/services/connectors/stock"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// Statuses that Shopify gives a meaning of its own.
const (
	statusShopFrozen       = http.StatusPaymentRequired // 402
	statusShopLocked       = http.StatusLocked          // 423
	statusSecurityRejected = 430
)

// concurrentWait is how long to leave a first attempt that is still running.
const concurrentWait = time.Second

type response struct {
	Data *struct {
		InventoryItems         *inventoryItems `json:"inventoryItems"`
		InventorySetQuantities *setResult      `json:"inventorySetQuantities"`
		Orders                 *orderNodes     `json:"orders"`
		// Order is null where there is none.
		Order         json.RawMessage `json:"order"`
		Subscriptions *subscriptions  `json:"webhookSubscriptions"`
		Created       *subscribed     `json:"webhookSubscriptionCreate"`
		Updated       *subscribed     `json:"webhookSubscriptionUpdate"`
	} `json:"data"`
	Errors     json.RawMessage `json:"errors"`
	Extensions struct {
		Cost *cost `json:"cost"`
	} `json:"extensions"`
}

type cost struct {
	Requested float64  `json:"requestedQueryCost"`
	Actual    *float64 `json:"actualQueryCost"`
	Throttle  struct {
		Maximum     float64 `json:"maximumAvailable"`
		Available   float64 `json:"currentlyAvailable"`
		RestoreRate float64 `json:"restoreRate"`
	} `json:"throttleStatus"`
}

type graphQLError struct {
	Message    string `json:"message"`
	Extensions struct {
		Code string `json:"code"`
	} `json:"extensions"`
}

type inventoryItems struct {
	Nodes []struct {
		ID    string `json:"id"`
		SKU   string `json:"sku"`
		Level *struct {
			Quantities []struct {
				Name     string  `json:"name"`
				Quantity float64 `json:"quantity"`
			} `json:"quantities"`
		} `json:"inventoryLevel"`
	} `json:"nodes"`
	PageInfo struct {
		HasNextPage bool `json:"hasNextPage"`
	} `json:"pageInfo"`
}

type setResult struct {
	Group *struct {
		ID string `json:"id"`
	} `json:"inventoryAdjustmentGroup"`
	UserErrors []struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"userErrors"`
}

// classes is the table of Shopify's codes, of errors and of userErrors alike.
// What is not in it is Permanent: a query that Shopify does not take.
var classes = map[string]fault.Class{
	"THROTTLED":             fault.Throttled,
	"ACCESS_DENIED":         fault.Auth,
	"SHOP_INACTIVE":         fault.Transient,
	"INTERNAL_SERVER_ERROR": fault.Unknown,
	"MAX_COST_EXCEEDED":     fault.Permanent,

	"CHANGE_FROM_QUANTITY_STALE": fault.Conflict,
	"COMPARE_QUANTITY_STALE":     fault.Conflict,

	// A first attempt with this key is still running: its outcome is open, and
	// the same key may ask again.
	"IDEMPOTENCY_CONCURRENT_REQUEST": fault.Unknown,
	// The same key with other content: a defect on this side.
	"IDEMPOTENCY_KEY_PARAMETER_MISMATCH": fault.Permanent,
	// The key is spent: read again, and ask with a new one.
	"IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED": fault.Conflict,
}

// Read reads a reply of the GraphQL API, which says most of its refusals with
// status 200.
func (s Shopify) Read(spec *v1alpha1.ConnectorSpec, call connectors.Call, r connectors.Reply) connectors.Answer {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Answer{Verdict: verdict}
	}
	effect := s.Operations(spec)[call.Operation].Effect
	if r.Status != http.StatusOK {
		return connectors.Answer{Verdict: byStatus(r, effect)}
	}
	var body response
	if err := json.Unmarshal(r.Body, &body); err != nil || r.Err != nil {
		return reply.Unreadable(r, "status 200 with a body that is no whole GraphQL reply: "+reply.Excerpt(r.Header, r.Body))
	}
	if found := errorsOf(body.Errors); len(found) > 0 {
		return connectors.Answer{Verdict: denied(call, worst(r, effect, found, body.Extensions.Cost))}
	}
	if body.Data != nil {
		if answer, ok := watched(call, r, &body); ok {
			return answer
		}
	}
	switch {
	case call.Operation == connectors.OperationReadStock && body.Data != nil && body.Data.InventoryItems != nil:
		return readStock(call, r, body.Data.InventoryItems)
	case call.Operation == connectors.OperationSetStock && body.Data != nil && body.Data.InventorySetQuantities != nil:
		return setStock(r, effect, body.Data.InventorySetQuantities)
	}
	return reply.Unreadable(r, "status 200 without the data of "+call.Operation)
}

func byStatus(r connectors.Reply, effect connectors.Effect) fault.Verdict {
	verdict := reply.ByStatus(r, effect)
	switch r.Status {
	case statusShopFrozen, statusShopLocked:
		// The whole shop is shut, and opens again without anything changing here.
		verdict.Class, verdict.Outage = fault.Transient, true
	case statusSecurityRejected:
		verdict.Class = fault.Throttled
	}
	if verdict.Class == fault.OK {
		// Only 200 carries a GraphQL reply.
		verdict.Class = fault.Unknown
		verdict.Cause.Code = "unreadable-reply"
	}
	verdict.Wait, verdict.WaitSaid = reply.WaitOf(r, verdict.Class)
	return verdict
}

// errorsOf reads errors as GraphQL sends them, and as REST does, where they are
// a text or an object.
func errorsOf(raw json.RawMessage) []graphQLError {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var list []graphQLError
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	return []graphQLError{{Message: string(raw)}}
}

// worst returns the verdict of the error that decides: where several are given,
// the one that says most about what to do next.
func worst(r connectors.Reply, effect connectors.Effect, found []graphQLError, c *cost) fault.Verdict {
	order := []fault.Class{fault.Throttled, fault.Auth, fault.Transient, fault.Unknown, fault.Conflict, fault.Permanent}
	rank := func(e graphQLError) int { return slices.Index(order, classOf(e.Extensions.Code, effect)) }
	deciding := slices.MinFunc(found, func(a, b graphQLError) int { return rank(a) - rank(b) })
	code := deciding.Extensions.Code
	verdict := fault.Verdict{
		Class:  classOf(code, effect),
		Outage: code == "SHOP_INACTIVE",
		Cause:  fault.Cause{Code: reply.Slug(code, "graphql-error"), Detail: reply.Shorten(deciding.Message), Status: r.Status},
	}
	verdict.Wait, verdict.WaitSaid = reply.WaitOf(r, verdict.Class)
	if code == "THROTTLED" {
		verdict.Wait = max(verdict.Wait, throttleWait(c))
		verdict.WaitSaid = verdict.WaitSaid || verdict.Wait > 0
	}
	if code == "IDEMPOTENCY_CONCURRENT_REQUEST" {
		verdict.Wait, verdict.WaitSaid = max(verdict.Wait, concurrentWait), true
	}
	return verdict
}

func classOf(code string, effect connectors.Effect) fault.Class {
	class, known := classes[code]
	if !known {
		return fault.Permanent
	}
	if class == fault.Unknown && effect == connectors.EffectNone {
		return fault.Transient
	}
	return class
}

// throttleWait is ceil((requested - available) / restore rate) in seconds, as
// Shopify's page on rate limits computes it; 0 where the figures are missing.
func throttleWait(c *cost) time.Duration {
	if c == nil || c.Throttle.RestoreRate <= 0 {
		return 0
	}
	return retryafter.Seconds(math.Ceil((c.Requested - c.Throttle.Available) / c.Throttle.RestoreRate))
}

// Quota reads throttleStatus, which every reply of the GraphQL API carries. What is
// left counts in calls like this one: a query takes what it might cost, and is given
// back the rest afterwards.
func (Shopify) Quota(r connectors.Reply) []quota.Figure {
	c := costOf(r)
	if c == nil {
		return nil
	}
	figure, ok := quota.Bucket("throttleStatus", c.Throttle.Maximum, c.Throttle.Available, c.Throttle.RestoreRate, c.Requested, r.At)
	if !ok {
		return nil
	}
	return []quota.Figure{figure}
}

// Spent reads what a call did cost. One that was throttled says nothing of it.
func (Shopify) Spent(r connectors.Reply) (int64, bool) {
	c := costOf(r)
	if c == nil || c.Actual == nil || !(*c.Actual >= 0 && *c.Actual <= mostPoints) {
		return 0, false
	}
	return int64(math.Ceil(*c.Actual)), true
}

// mostPoints is more than any shop's bucket holds.
const mostPoints = 1e9

// costOf returns what the reply says of costs; nil where it says nothing.
func costOf(r connectors.Reply) *cost {
	var body struct {
		Extensions struct {
			Cost *cost `json:"cost"`
		} `json:"extensions"`
	}
	if r.Status != http.StatusOK || json.Unmarshal(r.Body, &body) != nil {
		return nil
	}
	return body.Extensions.Cost
}

func setStock(r connectors.Reply, effect connectors.Effect, result *setResult) connectors.Answer {
	if len(result.UserErrors) > 0 {
		found := make([]graphQLError, len(result.UserErrors))
		for i, e := range result.UserErrors {
			found[i].Message, found[i].Extensions.Code = e.Message, e.Code
		}
		return connectors.Answer{Verdict: worst(r, effect, found, nil)}
	}
	answer := reply.Told(r)
	if result.Group != nil {
		answer.Reference = reply.Shorten(result.Group.ID)
	}
	return answer
}

// readStock leaves out what was not asked for (a search by words can find more)
// and what has no level at the location.
func readStock(call connectors.Call, r connectors.Reply, found *inventoryItems) connectors.Answer {
	read, err := stock.ParseRead(call.Arguments)
	if err != nil {
		return reply.Refused(r, fault.Unknown, "unreadable-arguments", err.Error())
	}
	if found.PageInfo.HasNextPage {
		// More than a page for at most as many SKUs: several items share one.
		return reply.Refused(r, fault.Permanent, "ambiguous-sku", "the shop has more items with these SKUs than one page holds: make SKUs unique")
	}
	var figures []stock.Figure
	for _, node := range found.Nodes {
		if node.Level == nil || !slices.Contains(read.SKUs, node.SKU) {
			continue
		}
		figure, known := stock.Figure{SKU: node.SKU, Item: node.ID}, false
		for _, quantity := range node.Level.Quantities {
			units, ok := stock.Whole(quantity.Quantity)
			switch {
			case !ok:
			case quantity.Name == "available":
				figure.Available, known = units, true
			case quantity.Name == "committed":
				figure.Committed = &units
			}
		}
		if known {
			figures = append(figures, figure)
		}
	}
	return reply.Answered(r, stock.Value(figures), nil)
}
