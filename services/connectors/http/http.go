// Package http speaks with systems that have no folder of their own: each
// operation is one JSON request that the Connector describes, with what its replies
// say in their bodies, errors are read as problem details (RFC 9457), and whatever
// else is HTTP means what RFC 9110 says.
package http

import (
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"net/url"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
)

// externalIDVariable is what an operation's path holds in place of the external id.
const externalIDVariable = "{externalId}"

// commitHorizon is twice what systems and their gateways commonly let a request
// run.
const commitHorizon = time.Minute

// HTTP implements connectors.System, connectors.Prober and connectors.Finder. It
// remembers nothing but the expressions that it has compiled; the zero value
// compiles them again each time.
type HTTP struct {
	expressions *expressions
}

// New returns an HTTP that keeps what it compiles.
func New() HTTP { return HTTP{expressions: new(expressions)} }

var (
	_ connectors.System = HTTP{}
	_ connectors.Prober = HTTP{}
	_ connectors.Finder = HTTP{}
)

// Operations are those that the Connector lists. All but queries get their body
// from a mapping; a DELETE has none.
func (HTTP) Operations(spec *v1alpha1.ConnectorSpec) map[string]connectors.Operation {
	operations := make(map[string]connectors.Operation)
	if spec.HTTP == nil {
		return operations
	}
	for _, o := range spec.HTTP.Operations {
		operation := connectors.Operation{Effect: effects[o.Effect], NeedsMapping: hasBody(o.Method)}
		if operation.Effect != connectors.EffectNone {
			operation.CommitHorizon = connectors.CommitHorizon(spec, commitHorizon)
		}
		// A POST that is idempotent is so by its key, which a late one carries too;
		// the others are so because they say what is to be.
		operation.Overwrites = operation.Effect == connectors.EffectIdempotent && o.Method != nethttp.MethodPost
		operations[o.Name] = operation
	}
	return operations
}

// effects; what is not in it is Once, the careful reading.
var effects = map[v1alpha1.HTTPEffect]connectors.Effect{
	v1alpha1.HTTPEffectIdempotent: connectors.EffectIdempotent,
	v1alpha1.HTTPEffectOnce:       connectors.EffectOnce,
	v1alpha1.HTTPEffectNone:       connectors.EffectNone,
}

func hasBody(method string) bool {
	return method != nethttp.MethodGet && method != nethttp.MethodDelete
}

// Authorize sends the key "token" as a bearer token; a Connector without auth
// signs nothing in.
func (HTTP) Authorize(spec *v1alpha1.ConnectorSpec, secret connectors.Secret) (nethttp.Header, error) {
	if spec.Auth == nil {
		return nethttp.Header{}, nil
	}
	token := secret["token"]
	if token == "" {
		return nil, fmt.Errorf("%w: key \"token\" is missing or empty", connectors.ErrSecret)
	}
	return nethttp.Header{"Authorization": {"Bearer " + token}}, nil
}

// Request builds the request of a call. Calls with an effect carry an
// Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07, a quoted
// string); Go's transport takes that header as leave to repeat the request by
// itself, so it must only be sent through a transport that asks for a permit for
// every write.
func (HTTP) Request(spec *v1alpha1.ConnectorSpec, call connectors.Call) (connectors.Request, error) {
	operation, ok := described(spec, call.Operation)
	if !ok {
		return connectors.Request{}, fmt.Errorf("operation %q: spec.http.operations has none of that name", call.Operation)
	}
	path, err := fill(operation.Path, call.ExternalID)
	if err != nil {
		return connectors.Request{}, fmt.Errorf("operation %q: %w", call.Operation, err)
	}
	request := connectors.Request{
		Method: operation.Method,
		Path:   path,
		Header: nethttp.Header{"Accept": {"application/json, application/problem+json"}},
		Cost:   operation.Cost,
	}
	if hasBody(operation.Method) {
		if !json.Valid(call.Payload) {
			return connectors.Request{}, fmt.Errorf("operation %q: the payload is not JSON: give the step a mapping", call.Operation)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Body = call.Payload
	}
	if effects[operation.Effect] != connectors.EffectNone && call.IdempotencyKey != "" {
		key, err := quoted(call.IdempotencyKey)
		if err != nil {
			return connectors.Request{}, fmt.Errorf("operation %q: %w", call.Operation, err)
		}
		request.Header.Set("Idempotency-Key", key)
	}
	return request, nil
}

// Probe asks probePath, or the root where there is none: any answer of the
// system itself shows that it is back. It costs what the operation does that is the same
// request.
func (HTTP) Probe(spec *v1alpha1.ConnectorSpec) connectors.Request {
	probe := connectors.Request{Method: nethttp.MethodGet, Path: "/", Header: nethttp.Header{"Accept": {"*/*"}}}
	if spec.HTTP == nil {
		return probe
	}
	if inside(spec.HTTP.ProbePath) {
		probe.Path = spec.HTTP.ProbePath
	}
	for _, operation := range spec.HTTP.Operations {
		if operation.Method == probe.Method && operation.Path == probe.Path {
			probe.Cost = operation.Cost
		}
	}
	return probe
}

// described returns the operation as the Connector describes it.
func described(spec *v1alpha1.ConnectorSpec, name string) (v1alpha1.HTTPOperation, bool) {
	if spec.HTTP != nil {
		for _, operation := range spec.HTTP.Operations {
			if operation.Name == name {
				return operation, true
			}
		}
	}
	return v1alpha1.HTTPOperation{}, false
}

// fill puts the external id into a path, escaped so that it stays one segment.
func fill(path, externalID string) (string, error) {
	if strings.Contains(path, externalIDVariable) {
		// A segment of dots alone would climb out of the path when it is resolved.
		if strings.Trim(externalID, ".") == "" {
			return "", fmt.Errorf("external id %q cannot stand in a path", externalID)
		}
		path = strings.ReplaceAll(path, externalIDVariable, url.PathEscape(externalID))
	}
	if !inside(path) {
		return "", fmt.Errorf("path %q leaves the endpoint: want a path such as /orders/{externalId}", path)
	}
	return path, nil
}

// inside says whether a path stays below the endpoint that it is joined to.
func inside(path string) bool {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\# ") {
		return false
	}
	parsed, err := url.ParseRequestURI(path)
	if err != nil || parsed.Host != "" {
		return false
	}
	for segment := range strings.SplitSeq(parsed.Path, "/") {
		if segment == ".." {
			return false
		}
	}
	return true
}

// quoted returns text as a Structured Field String (RFC 9651 section 3.3.3).
func quoted(text string) (string, error) {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return "", fmt.Errorf("idempotency key %q: want printable ASCII", text)
		}
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`, nil
}
