package expr

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
)

// Issue is one thing that is wrong with an expression.
type Issue struct {
	// Line and Column of the expression, from 1; the column counts code points.
	Line, Column int
	Message      string
}

// CompileError lists what is wrong with an expression, in the order of its text.
type CompileError struct {
	Issues []Issue
}

// Error returns all issues in one line.
func (e *CompileError) Error() string {
	texts := make([]string, len(e.Issues))
	for i, issue := range e.Issues {
		texts[i] = fmt.Sprintf("line %d, column %d: %s", issue.Line, issue.Column, issue.Message)
	}
	return strings.Join(texts, "; ")
}

// EvalError says why an expression has no value for an order or a reply. The same one
// gives the same error, except where Exhausted is by time.
type EvalError struct {
	// Line and Column of the expression, from 1; 0 where they are not known.
	Line, Column int
	Message      string
	// Exhausted: the expression was stopped because it used too much.
	Exhausted bool
	cause     error
}

// Error returns place and message.
func (e *EvalError) Error() string {
	if e.Line == 0 {
		return "expression: " + e.Message
	}
	return fmt.Sprintf("expression line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Unwrap returns what the expression language reported.
func (e *EvalError) Unwrap() error { return e.cause }

// One mistake early in a text makes the parser report many more after it.
const maxIssues = 5

func compileError(issues *cel.Issues, sees string) *CompileError {
	result := &CompileError{}
	for _, err := range issues.Errors() {
		issue := Issue{Line: 1, Column: 1, Message: rewrite(err.Message, sees)}
		if err.Location != nil && err.Location.Line() > 0 {
			issue.Line, issue.Column = err.Location.Line(), err.Location.Column()+1
		}
		result.Issues = append(result.Issues, issue)
	}
	if len(result.Issues) == 0 {
		result.Issues = []Issue{{Line: 1, Column: 1, Message: issues.Err().Error()}}
	}
	slices.SortStableFunc(result.Issues, func(a, b Issue) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if more := len(result.Issues) - maxIssues; more > 0 {
		result.Issues = result.Issues[:maxIssues]
		result.Issues[maxIssues-1].Message += fmt.Sprintf(" (and %d more)", more)
	}
	return result
}

// rewrite turns the library's words into the user's.
func rewrite(message, sees string) string {
	if name, ok := strings.CutPrefix(message, "undeclared reference to '"); ok {
		name, _, _ = strings.Cut(name, "'")
		return fmt.Sprintf("%q is not known here; %s", name, sees)
	}
	if name, ok := strings.CutPrefix(message, "undefined field '"); ok {
		name, _, _ = strings.Cut(name, "'")
		return fmt.Sprintf("there is no field %q here; fields are spelled as in order.proto, such as order.financial_status", name)
	}
	return message
}
