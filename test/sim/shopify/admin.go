package shopify

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/arrivals"
)

//go:embed schema.graphql
var schemaText string

// maxCost is the most that one query may cost.
const maxCost = 1000

// admin is the GraphQL Admin API with its cost bucket and its memory of idempotency keys.
type admin struct {
	shop   *Shop
	schema *ast.Schema

	mu     sync.Mutex
	level  float64 // points available
	filled time.Time

	keys map[string]remembered // under the shop's lock
	sets int
}

func newAdmin(s *Shop) (*admin, error) {
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: schemaText})
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return &admin{
		shop: s, schema: schema, level: s.cfg.Bucket.MaximumAvailable, filled: time.Now(), keys: make(map[string]remembered),
	}, nil
}

// The operations that arrivals, reports and fault rules name.
const (
	OpQuery    = "graphql.query"
	OpMutation = "graphql.mutation"
	OpOther    = "other"
)

type graphRequest struct {
	Query         string         `json:"query"`
	OperationName string         `json:"operationName"`
	Variables     map[string]any `json:"variables"`
}

func (s *Shop) path() string { return "/admin/api/" + s.cfg.APIVersion + "/graphql.json" }

// Classify names the operation.
func (s *Shop) Classify(r *http.Request, body []byte) (operation, key string) {
	if r.Method != http.MethodPost || r.URL.Path != s.path() {
		return OpOther, ""
	}
	var q graphRequest
	if json.Unmarshal(body, &q) == nil && strings.HasPrefix(strings.TrimSpace(q.Query), "mutation") {
		return OpMutation, ""
	}
	return OpQuery, ""
}

// Serve carries out one call of the Admin API.
func (s *Shop) Serve(c account.Call, r *http.Request, body []byte) account.Reply {
	switch {
	case c.Operation == OpOther:
		return account.JSON(http.StatusNotFound, "application/json", map[string]string{"errors": "Not Found"})
	case r.Header.Get("X-Shopify-Access-Token") != s.cfg.Token:
		return account.JSON(http.StatusUnauthorized, "application/json", map[string]string{
			"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)",
		})
	}
	var q graphRequest
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&q); err != nil || q.Query == "" {
		return account.JSON(http.StatusBadRequest, "application/json", map[string]string{
			"errors": "The request body must be a JSON object with a query.",
		})
	}
	reply := s.admin.execute(q)
	reply.Write = c.Operation == OpMutation
	return reply
}

// Refuse returns Shopify's form of a refusal by the platform, before GraphQL is reached.
func (s *Shop) Refuse(reason account.Reason) account.Reply {
	switch reason {
	case account.InMaintenance, account.InjectedUnavailable:
		return account.JSON(http.StatusServiceUnavailable, "application/json", map[string]string{"errors": "Service Unavailable"})
	case account.InjectedServerError:
		return account.JSON(http.StatusInternalServerError, "application/json", map[string]string{"errors": "Internal Server Error"})
	case account.InjectedThrottleInBody:
		return s.admin.drained()
	default:
		return account.JSON(http.StatusTooManyRequests, "application/json", map[string]string{
			"errors": "Exceeded 2 calls per second for api client. Reduce request rates to resume uninterrupted service.",
		})
	}
}

type graphError struct {
	Message    string         `json:"message"`
	Path       []any          `json:"path,omitempty"`
	Extensions map[string]any `json:"extensions,omitempty"`
}

type graphReply struct {
	Data       map[string]any `json:"data,omitempty"`
	Errors     []graphError   `json:"errors,omitempty"`
	Extensions map[string]any `json:"extensions,omitempty"`
}

func refused(code, message string) account.Reply {
	return reply(graphReply{Errors: []graphError{{Message: message, Extensions: map[string]any{"code": code}}}}, arrivals.Refused)
}

func reply(r graphReply, o arrivals.Outcome) account.Reply {
	out := account.JSON(http.StatusOK, "application/json; charset=utf-8", r)
	out.Outcome = o
	return out
}

// execute validates a request against the schema, charges its cost, and runs it.
func (a *admin) execute(q graphRequest) account.Reply {
	document, problems := gqlparser.LoadQueryWithRules(a.schema, q.Query, nil)
	if len(problems) > 0 {
		return refused("GRAPHQL_VALIDATION_FAILED", problems.Error())
	}
	operation := document.Operations.ForName(q.OperationName)
	if operation == nil {
		return refused("BAD_REQUEST", fmt.Sprintf("No operation named %q", q.OperationName))
	}
	variables, err := validator.VariableValues(a.schema, operation, q.Variables)
	if err != nil {
		return refused("INVALID_VARIABLE", err.Error())
	}
	requested := requestedCost(operation, variables)
	if requested > maxCost {
		return reply(graphReply{Errors: []graphError{{
			Message:    fmt.Sprintf("Query cost is %d, which exceeds the single query max cost limit (%d).", requested, maxCost),
			Extensions: map[string]any{"code": "MAX_COST_EXCEEDED", "cost": requested, "maxCost": maxCost},
		}}}, arrivals.Refused)
	}
	if status, ok := a.reserve(float64(requested)); !ok {
		a.shop.countThrottled()
		return throttled(requested, status)
	}
	e := &execution{admin: a, variables: variables}
	data := e.run(operation)
	status := a.refund(float64(requested) - float64(e.cost))
	outcome := arrivals.Accepted
	if len(e.errors) > 0 {
		outcome = arrivals.Refused
	}
	return reply(graphReply{Data: data, Errors: e.errors, Extensions: costExtension(requested, e.cost, status)}, outcome)
}

// DrainedFor is how long a call has to wait that the fault throttleInBody refuses, as throttleStatus tells.
const DrainedFor = time.Second

// drained is the refusal of a call while others have used up the points: 200, as all of them.
func (a *admin) drained() account.Reply {
	b := a.shop.cfg.Bucket
	return throttled(int(b.RestoreRate*DrainedFor.Seconds()), map[string]any{
		"maximumAvailable": b.MaximumAvailable, "currentlyAvailable": 0, "restoreRate": b.RestoreRate,
	})
}

func throttled(requested int, status map[string]any) account.Reply {
	return reply(graphReply{
		Errors: []graphError{{Message: "Throttled", Extensions: map[string]any{
			"code": "THROTTLED", "documentation": "https://shopify.dev/api/usage/rate-limits",
		}}},
		Extensions: costExtension(requested, nil, status),
	}, arrivals.Throttled)
}

func costExtension(requested int, actual any, status map[string]any) map[string]any {
	return map[string]any{"cost": map[string]any{
		"requestedQueryCost": requested, "actualQueryCost": actual, "throttleStatus": status,
	}}
}

// refill restores points for the time since the last look; it needs the lock.
func (a *admin) refill() {
	now := time.Now()
	b := a.shop.cfg.Bucket
	a.level = min(b.MaximumAvailable, a.level+now.Sub(a.filled).Seconds()*b.RestoreRate)
	a.filled = now
}

// reserve takes points out of the bucket, or nothing if there are too few.
func (a *admin) reserve(points float64) (status map[string]any, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refill()
	if ok = points <= a.level; ok {
		a.level -= points
	}
	return a.status(), ok
}

// refund gives back what a query was charged and did not use.
func (a *admin) refund(points float64) map[string]any {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refill()
	a.level = min(a.shop.cfg.Bucket.MaximumAvailable, a.level+points)
	return a.status()
}

func (a *admin) status() map[string]any {
	b := a.shop.cfg.Bucket
	return map[string]any{
		"maximumAvailable": b.MaximumAvailable, "currentlyAvailable": math.Floor(a.level), "restoreRate": b.RestoreRate,
	}
}

func (s *Shop) countThrottled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.graphThrottled++
}
