package shopify

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// mutationCost is what a mutation costs, whatever it returns.
const mutationCost = 10

// requestedCost is what an operation may cost at most: an object 1, a scalar 0, a connection 2 plus its page size times
// what one node costs, a mutation 10.
func requestedCost(operation *ast.OperationDefinition, variables map[string]any) int {
	if operation.Operation == ast.Mutation {
		return mutationCost * len(fields(operation.SelectionSet, variables))
	}
	return selectionCost(operation.SelectionSet, variables, 0)
}

// selectionCost sums the fields of a selection. size is the page size of the connection whose fields these are.
func selectionCost(set ast.SelectionSet, variables map[string]any, size int) int {
	cost := 0
	for _, f := range fields(set, variables) {
		switch {
		case len(f.SelectionSet) == 0 || f.Name == "pageInfo":
		case strings.HasSuffix(f.Definition.Type.Name(), "Connection"):
			cost += 2 + selectionCost(f.SelectionSet, variables, pageSize(f, variables))
		case f.Name == "nodes":
			cost += size * (1 + selectionCost(f.SelectionSet, variables, 0))
		case f.Name == "edges": // the edge costs nothing, its node 1
			cost += size * selectionCost(f.SelectionSet, variables, 0)
		default:
			cost += 1 + selectionCost(f.SelectionSet, variables, 0)
		}
	}
	return cost
}

func pageSize(f *ast.Field, variables map[string]any) int {
	first, _ := integer(f.ArgumentMap(variables)["first"])
	return min(max(first, 0), maxCost+1)
}

// fields flattens fragments and drops what @skip and @include leave out.
func fields(set ast.SelectionSet, variables map[string]any) []*ast.Field {
	var all []*ast.Field
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			if included(s.Directives, variables) {
				all = append(all, s)
			}
		case *ast.InlineFragment:
			if included(s.Directives, variables) {
				all = append(all, fields(s.SelectionSet, variables)...)
			}
		case *ast.FragmentSpread:
			if included(s.Directives, variables) {
				all = append(all, fields(s.Definition.SelectionSet, variables)...)
			}
		}
	}
	return all
}

func included(directives ast.DirectiveList, variables map[string]any) bool {
	if d := directives.ForName("skip"); d != nil && d.ArgumentMap(variables)["if"] == true {
		return false
	}
	d := directives.ForName("include")
	return d == nil || d.ArgumentMap(variables)["if"] == true
}

// node is an object of a reply: field returns a scalar, a node, a []node or nil.
type node struct {
	kind  string
	field func(name string, arguments map[string]any) any
}

// execution runs one operation and adds up what it costs in fact.
type execution struct {
	admin     *admin
	variables map[string]any
	cost      int
	errors    []graphError
}

func (e *execution) run(operation *ast.OperationDefinition) map[string]any {
	// One lock for the whole operation: a reply is a picture of one moment, and a mutation takes effect as one.
	e.admin.shop.mu.Lock()
	defer e.admin.shop.mu.Unlock()
	if operation.Operation == ast.Mutation {
		return e.runMutation(operation)
	}
	return e.object(operation.SelectionSet, e.root())
}

func (e *execution) runMutation(operation *ast.OperationDefinition) map[string]any {
	data := make(map[string]any)
	for _, f := range fields(operation.SelectionSet, e.variables) {
		e.cost += mutationCost
		if f.Name == "__typename" {
			data[f.Alias] = "Mutation"
			continue
		}
		payload, problem := e.admin.mutate(f, e.variables)
		if problem != nil {
			problem.Path = []any{f.Alias}
			e.errors = append(e.errors, *problem)
			data[f.Alias] = nil
			continue
		}
		cost := e.cost // what a mutation returns is free
		data[f.Alias] = e.object(f.SelectionSet, *payload)
		e.cost = cost
	}
	return data
}

// mutate carries out one mutation; it needs the shop's lock.
func (a *admin) mutate(f *ast.Field, variables map[string]any) (*node, *graphError) {
	arguments := f.ArgumentMap(variables)
	switch f.Name {
	case "webhookSubscriptionCreate":
		return a.shop.delivery.createSubscription(arguments), nil
	case "webhookSubscriptionUpdate":
		return a.shop.delivery.updateSubscription(arguments), nil
	case "webhookSubscriptionDelete":
		return a.shop.delivery.deleteSubscription(arguments), nil
	default:
		return a.setQuantities(f, variables)
	}
}

func (e *execution) object(set ast.SelectionSet, n node) map[string]any {
	out := make(map[string]any)
	for _, f := range fields(set, e.variables) {
		if f.Name == "__typename" {
			out[f.Alias] = n.kind
			continue
		}
		out[f.Alias] = e.value(f, n.field(f.Name, f.ArgumentMap(e.variables)))
	}
	return out
}

func (e *execution) value(f *ast.Field, value any) any {
	switch v := value.(type) {
	case node:
		e.charge(v)
		return e.object(f.SelectionSet, v)
	case []node:
		all := make([]map[string]any, 0, len(v))
		for _, n := range v {
			e.charge(n)
			all = append(all, e.object(f.SelectionSet, n))
		}
		// A list of objects outside a connection is charged as one, as in the requested cost.
		if len(v) > 0 && f.Name != "nodes" && f.Name != "edges" {
			e.cost -= len(v) - 1
		}
		return all
	case *refusal:
		e.errors = append(e.errors, graphError{Message: v.message, Path: []any{f.Alias}, Extensions: map[string]any{"code": v.code}})
		return nil
	default:
		return value
	}
}

func (e *execution) charge(n node) {
	switch {
	case strings.HasSuffix(n.kind, "Connection"):
		e.cost += 2
	case n.kind == "PageInfo" || strings.HasSuffix(n.kind, "Edge"):
	default:
		e.cost++
	}
}

// refusal is a field that cannot be answered.
type refusal struct{ code, message string }
