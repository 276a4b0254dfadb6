package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// Refusal is an operation that an external system refuses for good as a source of orders:
// one hold in the Error Hold, which ingest closes when the source answers.
type Refusal struct {
	Operation string
	// Since is when it was refused first, of all tries in a row.
	Since time.Time
	// Cause and Detail are what was said last, Advice what a person can do.
	Cause, Detail, Advice string
	// Orders are those that could not be read, where it is about single ones.
	Orders []string
}

const (
	// mostText bounds, in characters, each text of a refusal. The API server takes no
	// condition of more than 32 Ki, and would refuse all of the status with it; and what a
	// source says is written by others.
	mostText = 500
	// mostOrders and mostName bound how many orders are named, and how.
	mostOrders = 3
	mostName   = 40
)

// sourceRefused says what the external system refuses as a source.
func sourceRefused(in Input) metav1.Condition {
	const name = v1alpha1.ConditionSourceRefused
	if in.Counts == nil {
		return unknown(name, v1alpha1.ReasonUnknown, "NATS, which has what sources refuse, does not tell")
	}
	if len(in.Refusals) == 0 {
		return condition(name, false, v1alpha1.ReasonNothingRefused, "it refuses nothing that it is asked as a source of orders")
	}
	refusals := slices.SortedFunc(slices.Values(in.Refusals), func(a, b Refusal) int { return cmp.Compare(a.Operation, b.Operation) })
	texts := make([]string, len(refusals))
	for i, r := range refusals {
		texts[i] = r.text()
	}
	return condition(name, true, v1alpha1.ReasonRefused, strings.Join(texts, ". "))
}

// text is what "peppasync sources" says of it too.
func (r Refusal) text() string {
	text := fmt.Sprintf("%s is refused since %s: %s", r.Operation, r.Since.UTC().Format("2006-01-02 15:04 MST"), bounded(r.Cause, mostText))
	if detail := bounded(r.Detail, mostText); detail != "" {
		text += ": " + detail
	}
	if n := len(r.Orders); n > 0 {
		named := make([]string, min(n, mostOrders))
		for i := range named {
			named[i] = bounded(r.Orders[i], mostName)
		}
		text += " (of the orders " + strings.Join(named, ", ")
		if n > mostOrders {
			text += fmt.Sprintf(" and %d more", n-mostOrders)
		}
		text += ")"
	}
	if advice := bounded(r.Advice, mostText); advice != "" {
		text += "; " + advice
	}
	return text
}

// bounded is a text in one line of at most that many characters.
func bounded(text string, most int) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}
