package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with the configuration: where, what was
// found, and what is expected instead.
type Problem struct { //nolint:errname // it is a row of a list before it is an error
	File string
	// Line is 0 where the problem has no place of its own.
	Line int
	// Field is a path such as spec.limits[0].rollingWindow.calls, or empty.
	Field   string
	Message string
}

// Error returns the problem in one line.
func (p Problem) Error() string {
	text := p.Message
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if where := p.place(); where != "" {
		text = where + ": " + text
	}
	return text
}

func (p Problem) place() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Problems are all problems that were found, by file and line.
type Problems []Problem //nolint:errname // as Problem

// shown is how many problems a text lists: a person mends a few and looks again,
// and a file of something else must not fill the log.
const shown = 100

// Error returns one line per problem, of the first hundred.
func (p Problems) Error() string {
	lines := make([]string, 0, min(len(p), shown+1))
	for i, problem := range p {
		if i == shown {
			lines = append(lines, fmt.Sprintf("and %d more", len(p)-shown))
			break
		}
		lines = append(lines, problem.Error())
	}
	return strings.Join(lines, "\n")
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}
