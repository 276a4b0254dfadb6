package expr

import (
	"errors"
	"fmt"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

type program struct {
	planned cel.Program
	info    *celast.SourceInfo
}

func (p program) eval(variables map[string]any) (ref.Val, error) {
	ctx, cancel := withTimeout()
	defer cancel()
	value, _, err := p.planned.ContextEval(ctx, variables)
	if err != nil {
		return nil, p.evalError(err)
	}
	return value, nil
}

// holds evaluates to true or false.
func (p program) holds(variables map[string]any) (bool, error) {
	value, err := p.eval(variables)
	if err != nil {
		return false, err
	}
	held, ok := value.Value().(bool)
	if !ok {
		return false, &EvalError{Message: fmt.Sprintf("found a %s, expected true or false", value.Type().TypeName())}
	}
	return held, nil
}

func (p program) evalError(err error) *EvalError {
	if errors.Is(err, errTimeout) {
		return &EvalError{Message: errTimeout.Error(), Exhausted: true, cause: err}
	}
	if _, ok := errors.AsType[interpreter.EvalCancelledError](err); ok {
		return &EvalError{
			Message:   fmt.Sprintf("needs more than the %d steps that an expression may use: work on fewer values", costLimit),
			Exhausted: true, cause: err,
		}
	}
	result := &EvalError{Message: err.Error(), cause: err}
	if located, ok := errors.AsType[*types.Err](err); ok && located.NodeID() != 0 {
		start := p.info.GetStartLocation(located.NodeID())
		if start.Line() > 0 {
			result.Line, result.Column = start.Line(), start.Column()+1
		}
	}
	return result
}
