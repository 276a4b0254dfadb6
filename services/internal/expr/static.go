package expr

import (
	"fmt"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// selects says whether an expression reads a field of an order, or asks whether it is
// there.
func selects(ast *cel.Ast, field string) bool {
	native := ast.NativeRep()
	found := celast.MatchDescendants(celast.NavigateAST(native), func(e celast.NavigableExpr) bool {
		var of celast.Expr
		switch e.Kind() {
		case celast.SelectKind:
			if selected := e.AsSelect(); selected.FieldName() == field {
				of = selected.Operand()
			}
		case celast.CallKind: // order.?field
			call := e.AsCall()
			if call.FunctionName() == "_?._" && call.Args()[1].AsLiteral().Value() == field {
				of = call.Args()[0]
			}
		}
		return of != nil && native.GetType(of.ID()).TypeName() == orderType
	})
	return len(found) > 0
}

// checkOutput finds what could never become JSON, before any order meets it.
func checkOutput(ast *cel.Ast) []Issue {
	native := ast.NativeRep()
	checker := outputChecker{ast: native}
	checker.top(native.Expr())
	return checker.issues
}

type outputChecker struct {
	ast    *celast.AST
	issues []Issue
}

func (c *outputChecker) top(expression celast.Expr) {
	kind := c.ast.GetType(expression.ID())
	switch {
	case kind.Kind() == types.MapKind:
		if key := kind.Parameters()[0]; key.Kind() != types.StringKind && key.Kind() != types.DynKind {
			c.report(expression, fmt.Sprintf("the keys of a map must be text, found %s", typeName(key)))
			return
		}
	case kind.Kind() == types.DynKind:
	default:
		c.report(expression, fmt.Sprintf("found a %s, expected a map, such as {\"externalId\": externalId}", typeName(kind)))
		return
	}
	c.value(expression)
}

// value goes down literals and the branches of conditions, which is where a
// mapping is written; what comes out of functions is checked when it runs.
func (c *outputChecker) value(expression celast.Expr) {
	switch expression.Kind() {
	case celast.MapKind:
		for _, entry := range expression.AsMap().Entries() {
			pair := entry.AsMapEntry()
			if key := c.ast.GetType(pair.Key().ID()); key.Kind() != types.StringKind && key.Kind() != types.DynKind {
				c.report(pair.Key(), fmt.Sprintf("the keys of a map must be text, found %s: put it in quotes", typeName(key)))
			}
			if !pair.IsOptional() {
				c.value(pair.Value())
			}
		}
		return
	case celast.ListKind:
		list := expression.AsList()
		for i, element := range list.Elements() {
			if !list.IsOptional(int32(i)) {
				c.value(element)
			}
		}
		return
	case celast.CallKind:
		call := expression.AsCall()
		if call.FunctionName() == "_?_:_" {
			c.value(call.Args()[1])
			c.value(call.Args()[2])
			return
		}
	}
	c.leaf(expression)
}

func (c *outputChecker) leaf(expression celast.Expr) {
	kind := c.ast.GetType(expression.ID())
	element := kind
	for element.Kind() == types.ListKind || element.Kind() == types.MapKind {
		element = element.Parameters()[len(element.Parameters())-1]
	}
	switch element.Kind() {
	case types.StructKind:
		c.report(expression, fmt.Sprintf("a whole %s cannot be a value: write a map with the fields that are wanted", typeName(element)))
	case types.OpaqueKind:
		c.report(expression, "the value may be absent: write .orValue(\"\") behind it, or {?\"key\": value} to leave the key out")
	case types.TypeKind:
		c.report(expression, "a type cannot be a value")
	}
}

func (c *outputChecker) report(expression celast.Expr, message string) {
	issue := Issue{Line: 1, Column: 1, Message: message}
	if at := c.ast.SourceInfo().GetStartLocation(expression.ID()); at.Line() > 0 {
		issue.Line, issue.Column = at.Line(), at.Column()+1
	}
	c.issues = append(c.issues, issue)
}

// typeName returns a type as a user would say it.
func typeName(kind *types.Type) string {
	switch kind.Kind() {
	case types.StringKind:
		return "text (string)"
	case types.IntKind, types.UintKind:
		return "whole number (int)"
	case types.DoubleKind:
		return "number (double)"
	case types.BoolKind:
		return "bool"
	}
	return cel.FormatCELType(kind)
}
