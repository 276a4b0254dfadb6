package expr

import (
	"fmt"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/traits"
)

const seesBody = "an expression that makes an order sees " + variableBody + " and " + variableTopic

// Reading is a compiled expression that makes an order of an event's body. It is safe
// for concurrent use.
type Reading struct {
	program program
}

// Reading compiles an expression over "body" and "topic". Its value must be a map with
// text keys, null or absent, as far as that can be known before a body is there. The
// error is a *CompileError.
func (c *Compiler) Reading(source string) (*Reading, error) {
	ast, err := compile(c.reading, source)
	if err != nil {
		return nil, err
	}
	kind := ast.OutputType()
	if kind.Kind() == types.OpaqueKind && kind.TypeName() == types.OptionalType.TypeName() {
		kind = kind.Parameters()[0]
	}
	issues := []Issue(nil)
	switch kind.Kind() {
	case types.MapKind:
		// What is inside of an optional value or a function shows only when it runs.
		if ast.OutputType().Kind() == types.MapKind {
			issues = checkOutput(ast)
		}
	case types.DynKind, types.NullTypeKind, types.TypeParamKind:
	default:
		issues = []Issue{{Line: 1, Column: 1, Message: fmt.Sprintf(
			"found a %s, expected a map with the fields of an order, such as {\"id\": body.id, \"updated_at\": body.updated_at, \"lines\": []}",
			typeName(kind))}}
	}
	if len(issues) > 0 {
		return nil, &CompileError{Issues: issues}
	}
	program, err := plan(c.reading, ast)
	if err != nil {
		return nil, err
	}
	return &Reading{program: program}, nil
}

// Eval returns the order as a JSON object with sorted keys, nil where the value is null,
// absent or an empty map: then the body tells of no order. body is a value of ParseJSON.
// The error is an *EvalError.
func (r *Reading) Eval(topic string, body any) ([]byte, error) {
	value, err := r.program.eval(map[string]any{variableBody: body, variableTopic: topic})
	if err != nil {
		return nil, err
	}
	if optional, ok := value.(*types.Optional); ok {
		if !optional.HasValue() {
			return nil, nil
		}
		value = optional.GetValue()
	}
	if value == types.NullValue {
		return nil, nil
	}
	if m, ok := value.(traits.Mapper); ok && m.Size() == types.IntZero {
		return nil, nil
	}
	return render(value)
}
