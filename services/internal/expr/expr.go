// Package expr compiles and evaluates the expressions of flows and of Connectors:
// CEL over the canonical order, type-checked against its proto message before
// anything runs, bounded in cost, and rendered as JSON with sorted keys, so that
// one order always gives the same bytes; and CEL over a system's reply, an event as it
// came in, or its body, whose form nobody knows before it comes. It is pure: values in, values out.
package expr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

const (
	// A mapping of an order with 500 lines and four fields a line costs about
	// 50,000; one million is tens of milliseconds of work. It bounds memory too:
	// building text and lists costs by their size. (The library's own memory
	// limit cannot serve: it refuses every order of 2,000 lines.)
	costLimit = 1_000_000
	// The cost limit ends a runaway expression long before this; it is the
	// second line, wide enough that a busy machine never meets it.
	evalTimeout = 5 * time.Second
	// Iterations of a comprehension between two looks at the timeout.
	interruptEvery = 256
	// Code points; the same figure as the maxLength of a mapping in its schema.
	maxSource = 65536
)

// Names that an expression sees.
const (
	variableOrder      = "order"
	variableExternalID = "externalId"
	variableStatus     = "status"
	variableBody       = "body"
	variableText       = "text"
	variableConnector  = "connector"
	variableTopic      = "topic"
	variableID         = "id"
	variableReceivedAt = "receivedAt"
)

// What an expression sees, as it is told to whoever wrote another name.
const (
	seesOrder = "an expression sees " + variableOrder + ", a mapping " + variableExternalID + " too"
	seesReply = "an expression about a reply sees " + variableStatus + ", " + variableBody + ", " + variableText + " and " + variableExternalID
)

// orderType is the type of an order in an expression.
const orderType = "peppasync.order.v1.Order"

// fieldCancelled is the order's field that says that it is cancelled.
const fieldCancelled = "cancelled_at"

// Compiler turns source text into programs. It is safe for concurrent use.
type Compiler struct {
	condition scope
	mapping   scope
	reply     scope
	event     scope
	reading   scope
}

// scope is an environment, and what it holds in words.
type scope struct {
	*cel.Env
	sees string
}

// NewCompiler returns a Compiler; it fails only where the libraries do not fit
// together.
func NewCompiler() (*Compiler, error) {
	language, err := cel.NewEnv(
		cel.OptionalTypes(),
		ext.Strings(), ext.Math(), ext.Lists(), ext.Encoders(),
		cel.ParserExpressionSizeLimit(maxSource),
	)
	if err != nil {
		return nil, fmt.Errorf("set up the expression language: %w", err)
	}
	condition, err := language.Extend(
		cel.Types(&orderv1.Order{}),
		cel.Variable(variableOrder, cel.ObjectType(orderType)),
	)
	if err != nil {
		return nil, fmt.Errorf("set up the expression language of conditions: %w", err)
	}
	mapping, err := condition.Extend(cel.Variable(variableExternalID, cel.StringType))
	if err != nil {
		return nil, fmt.Errorf("set up the expression language of mappings: %w", err)
	}
	reply, err := language.Extend(
		cel.Variable(variableStatus, cel.IntType), cel.Variable(variableBody, cel.DynType),
		cel.Variable(variableText, cel.StringType), cel.Variable(variableExternalID, cel.StringType),
	)
	if err != nil {
		return nil, fmt.Errorf("set up the expression language of replies: %w", err)
	}
	event, err := condition.Extend(
		cel.Variable(variableConnector, cel.StringType), cel.Variable(variableTopic, cel.StringType), cel.Variable(variableID, cel.StringType),
		cel.Variable(variableReceivedAt, cel.TimestampType), cel.Variable(variableBody, cel.DynType),
	)
	if err != nil {
		return nil, fmt.Errorf("set up the expression language of events: %w", err)
	}
	reading, err := language.Extend(cel.Variable(variableBody, cel.DynType), cel.Variable(variableTopic, cel.StringType))
	if err != nil {
		return nil, fmt.Errorf("set up the expression language of bodies: %w", err)
	}
	return &Compiler{
		condition: scope{condition, seesOrder}, mapping: scope{mapping, seesOrder}, reply: scope{reply, seesReply}, event: scope{event, seesEvent},
		reading: scope{reading, seesBody},
	}, nil
}

// Condition compiles a condition over "order". The error is a *CompileError.
func (c *Compiler) Condition(source string) (*Condition, error) {
	ast, err := compile(c.condition, source)
	if err != nil {
		return nil, err
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, &CompileError{Issues: []Issue{{Line: 1, Column: 1, Message: fmt.Sprintf(
			"found a %s, expected true or false, such as order.financial_status == \"paid\"", typeName(ast.OutputType()))}}}
	}
	program, err := plan(c.condition, ast)
	if err != nil {
		return nil, err
	}
	return &Condition{program: program, ofCancelled: selects(ast, fieldCancelled)}, nil
}

// Mapping compiles a mapping over "order" and "externalId". Its value must be a
// map with text keys, as far as that can be known before it runs. The error is a
// *CompileError.
func (c *Compiler) Mapping(source string) (*Mapping, error) {
	ast, err := compile(c.mapping, source)
	if err != nil {
		return nil, err
	}
	if issues := checkOutput(ast); len(issues) > 0 {
		return nil, &CompileError{Issues: issues}
	}
	program, err := plan(c.mapping, ast)
	if err != nil {
		return nil, err
	}
	return &Mapping{program: program}, nil
}

// Condition is a compiled condition. It is safe for concurrent use.
type Condition struct {
	program     program
	ofCancelled bool
}

// OfCancelled says whether the condition asks if or when an order was cancelled: then it
// alone says whether cancelled orders are taken. A nil one does not.
func (c *Condition) OfCancelled() bool { return c != nil && c.ofCancelled }

// Eval says whether the condition holds for an order. The error is an
// *EvalError.
func (c *Condition) Eval(order *orderv1.Order) (bool, error) {
	return c.program.holds(map[string]any{variableOrder: order})
}

// Mapping is a compiled mapping. It is safe for concurrent use.
type Mapping struct {
	program program
}

// Eval returns the mapping's value for an order as a JSON object with sorted
// keys. The error is an *EvalError.
func (m *Mapping) Eval(order *orderv1.Order, externalID string) ([]byte, error) {
	value, err := m.program.eval(map[string]any{variableOrder: order, variableExternalID: externalID})
	if err != nil {
		return nil, err
	}
	return render(value)
}

func compile(env scope, source string) (*cel.Ast, error) {
	ast, issues := env.Compile(source)
	if issues != nil && issues.Err() != nil {
		return nil, compileError(issues, env.sees)
	}
	return ast, nil
}

func plan(env scope, ast *cel.Ast) (program, error) {
	planned, err := env.Program(ast,
		cel.EvalOptions(cel.OptOptimize),
		cel.CostLimit(costLimit),
		cel.CustomDecoratorV2(bounded),
		cel.InterruptCheckFrequency(interruptEvery),
	)
	if err != nil {
		return program{}, &CompileError{Issues: []Issue{{Line: 1, Column: 1, Message: err.Error()}}}
	}
	return program{planned: planned, info: ast.NativeRep().SourceInfo()}, nil
}

// withTimeout is apart from eval so that no caller needs a context: an
// evaluation does no I/O and ends by its cost.
func withTimeout() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), evalTimeout, errTimeout)
}

var errTimeout = errors.New("took longer than " + evalTimeout.String())
