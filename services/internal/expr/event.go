package expr

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
)

const seesEvent = "an expression about an event sees " + variableConnector + ", " + variableTopic + ", " + variableID + ", " +
	variableReceivedAt + ", " + variableBody + " (the webhook's JSON) and " + variableOrder + " (of events that came as an order)"

// EventCondition is a compiled condition over an event as it came in. It is safe for
// concurrent use.
type EventCondition struct {
	program program
}

// EventCondition compiles a condition over "connector", "topic", "id", "receivedAt",
// "body" and "order". Whether the body has a field shows only when an event is there.
// The error is a *CompileError.
func (c *Compiler) EventCondition(source string) (*EventCondition, error) {
	program, err := dynamic(c.event, source, `true or false, such as topic == "orders/paid"`,
		func(kind *cel.Type) bool { return kind.Kind() == types.BoolKind })
	if err != nil {
		return nil, err
	}
	return &EventCondition{program: program}, nil
}

// Eval says whether the condition holds for an event. The error is an *EvalError, also
// where its body has no such field.
func (c *EventCondition) Eval(e *eventv1.Event) (bool, error) {
	variables := map[string]any{
		variableConnector: e.GetConnector(), variableTopic: e.GetTopic(), variableID: e.GetId(), variableReceivedAt: e.GetReceivedAt().AsTime(),
	}
	if e.GetOrder() != nil {
		variables[variableOrder] = e.GetOrder()
	} else if body, err := ParseJSON(e.GetBody()); err == nil {
		variables[variableBody] = body
	}
	held, err := c.program.holds(variables)
	if evalError, ok := err.(*EvalError); ok { //nolint:errorlint // holds returns no other
		switch {
		case strings.HasPrefix(evalError.Message, "no such attribute(s): "+variableBody):
			evalError.Message = "it has no JSON body"
		case strings.HasPrefix(evalError.Message, "no such attribute(s): "+variableOrder):
			evalError.Message = "it did not come as an order"
		}
	}
	return held, err
}
