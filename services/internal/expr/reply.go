package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// Reply is what an expression about a reply sees.
type Reply struct {
	Status int
	// Body is a value of ParseJSON. Expressions see it only where it is an object or a
	// list: has(body.errors) is false for a text and for null, too, so that
	// !has(body.errors) would hold for a reply that says nothing.
	Body any
	// Text is the body as it came.
	Text string
	// ExternalID is that of the call.
	ExternalID string
}

// ReplyCondition is a compiled condition over a reply. It is safe for concurrent use.
type ReplyCondition struct {
	program program
}

// ReplyText is a compiled expression whose value is a text of a reply. It is safe for
// concurrent use.
type ReplyText struct {
	program program
}

// ReplyCondition compiles a condition over "status", "body", "text" and "externalId".
// Whether a field of the body is true or false shows only when a reply is there. The
// error is a *CompileError.
func (c *Compiler) ReplyCondition(source string) (*ReplyCondition, error) {
	program, err := dynamic(c.reply, source, "true or false, such as status == 200", func(kind *cel.Type) bool { return kind.Kind() == types.BoolKind })
	if err != nil {
		return nil, err
	}
	return &ReplyCondition{program: program}, nil
}

// ReplyText compiles an expression whose value is a text, a number, or absent. The
// error is a *CompileError.
func (c *Compiler) ReplyText(source string) (*ReplyText, error) {
	program, err := dynamic(c.reply, source, "a text or a number, such as body.message", func(kind *cel.Type) bool {
		if kind.Kind() == types.OpaqueKind && kind.TypeName() == types.OptionalType.TypeName() {
			kind = kind.Parameters()[0]
		}
		switch kind.Kind() {
		case types.StringKind, types.IntKind, types.UintKind, types.DoubleKind, types.DynKind:
			return true
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	return &ReplyText{program: program}, nil
}

// dynamic compiles an expression whose type may show only when it runs.
func dynamic(env scope, source, want string, fits func(*cel.Type) bool) (program, error) {
	ast, err := compile(env, source)
	if err != nil {
		return program{}, err
	}
	if kind := ast.OutputType(); kind.Kind() != types.DynKind && !fits(kind) {
		return program{}, &CompileError{Issues: []Issue{{Line: 1, Column: 1, Message: fmt.Sprintf("found a %s, expected %s", typeName(kind), want)}}}
	}
	return plan(env, ast)
}

func (r Reply) variables() map[string]any {
	variables := map[string]any{variableStatus: r.Status, variableText: r.Text, variableExternalID: r.ExternalID}
	switch r.Body.(type) {
	case map[string]any, []any:
		variables[variableBody] = r.Body
	}
	return variables
}

// ofBody turns the library's words for a variable that is not there into the user's.
func ofBody(err error) error {
	if evalError, ok := errors.AsType[*EvalError](err); ok && strings.HasPrefix(evalError.Message, "no such attribute(s): "+variableBody) {
		evalError.Message = "the reply's body is no JSON object or list"
	}
	return err
}

// Eval says whether the condition holds. The error is an *EvalError, also where the
// body has no such field.
func (c *ReplyCondition) Eval(reply Reply) (bool, error) {
	held, err := c.program.holds(reply.variables())
	return held, ofBody(err)
}

// Eval returns the text, "" where it is absent or null. The error is an *EvalError.
func (t *ReplyText) Eval(reply Reply) (string, error) {
	value, err := t.program.eval(reply.variables())
	if err != nil {
		return "", ofBody(err)
	}
	if optional, ok := value.(*types.Optional); ok {
		if !optional.HasValue() {
			return "", nil
		}
		value = optional.GetValue()
	}
	switch v := value.(type) {
	case types.String:
		return string(v), nil
	case types.Int:
		return strconv.FormatInt(int64(v), 10), nil
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10), nil
	case types.Double:
		return strconv.FormatFloat(float64(v), 'f', -1, 64), nil
	case types.Null:
		return "", nil
	}
	return "", &EvalError{Message: fmt.Sprintf("found a %s, expected a text or a number", value.Type().TypeName())}
}

// ParseJSON reads one whole JSON value. Whole numbers stay whole: an id of 19 digits
// is not what a double makes of it, and one of more digits than a number has is a text.
func ParseJSON(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the JSON value")
	}
	return numbers(value), nil
}

// numbers puts numbers that CEL knows in the place of their text.
func numbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if whole, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return whole
		}
		if whole, err := strconv.ParseUint(string(v), 10, 64); err == nil {
			return whole
		}
		// A whole number with more digits is an id. As a double it would be that of others.
		if double, err := v.Float64(); err == nil && strings.ContainsAny(string(v), ".eE") {
			return double
		}
		return string(v) // beyond every number that there is
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for key, item := range v {
			v[key] = numbers(item)
		}
	}
	return value
}
