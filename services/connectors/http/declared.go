package http

import (
	"fmt"
	"sync"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/expr"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// words are a reply, and what the Connector says of such replies.
type words struct {
	*v1alpha1.HTTPReply
	expressions *expressions
	reply       connectors.Reply
	seen        expr.Reply
}

// wordsOf returns nil where there is nothing to ask: nothing is said of such replies,
// or this one is not the system's, or not whole.
func (h HTTP) wordsOf(declared *v1alpha1.HTTPReply, kind content, externalID string, r connectors.Reply) *words {
	if declared == nil || kind == page || kind == cut || kind == broken {
		return nil
	}
	w := &words{HTTPReply: declared, expressions: h.expressions, reply: r}
	w.seen = expr.Reply{Status: r.Status, Text: string(r.Body), ExternalID: externalID}
	if kind == wholeJSON {
		w.seen.Body, _ = expr.ParseJSON(r.Body)
	}
	return w
}

// asked lists what a body may say, each with the classes of a status that it outweighs.
// A generic condition for what comes with 200 also holds for many a 401, 429 or 503
// with words of the same form; there the status says more. Throttled comes before the
// rest, which may hold for any error.
var asked = []struct {
	condition func(*v1alpha1.HTTPReply) string
	code      string
	class     fault.Class
	outweighs map[fault.Class]bool
}{
	{func(r *v1alpha1.HTTPReply) string { return r.Throttled }, "throttled-in-body", fault.Throttled,
		map[fault.Class]bool{fault.OK: true, fault.Permanent: true, fault.Auth: true}},
	{func(r *v1alpha1.HTTPReply) string { return r.Unauthorized }, "unauthorized-in-body", fault.Auth,
		map[fault.Class]bool{fault.OK: true, fault.Permanent: true}},
	{func(r *v1alpha1.HTTPReply) string { return r.AlreadyThere }, "already-there", fault.AlreadyDone,
		map[fault.Class]bool{fault.OK: true, fault.Permanent: true}},
	{func(r *v1alpha1.HTTPReply) string { return r.Refused }, "refused-in-body", fault.Permanent,
		map[fault.Class]bool{fault.OK: true}},
}

// otherwise returns what the body says in the place of the status, and false where it
// says nothing else.
func (w *words) otherwise(verdict fault.Verdict, effect connectors.Effect) (connectors.Answer, bool) {
	if w == nil || (w.reply.Status >= 300 && w.reply.Status < 400) || w.reply.Status >= 500 {
		return connectors.Answer{}, false
	}
	for _, one := range asked {
		source := one.condition(w.HTTPReply)
		if source == "" || !one.outweighs[verdict.Class] || effect == connectors.EffectNone && one.class == fault.AlreadyDone {
			continue
		}
		if held, _ := w.holds(source); !held {
			continue
		}
		if verdict.Class == fault.OK {
			verdict.Cause.Code, verdict.Cause.Detail = one.code, reply.Excerpt(w.reply.Header, w.reply.Body)
		}
		verdict.Class, verdict.Outage = one.class, false
		verdict.Wait, verdict.WaitSaid = reply.WaitOf(w.reply, one.class)
		verdict.Cause = w.cause(causeOf(verdict.Cause, w.reply))
		answer := connectors.Answer{Verdict: verdict}
		if one.class == fault.AlreadyDone {
			answer.Reference = w.reference(reply.LastOfLocation(w.reply.Header))
		}
		return answer, true
	}
	return connectors.Answer{}, false
}

// notAccepted returns the answer of a reply of success of which accepted is not true,
// and false where it is.
func (w *words) notAccepted() (connectors.Answer, bool) {
	held, err := w.holds(w.Accepted)
	if held {
		return connectors.Answer{}, false
	}
	why := "reply.accepted is false: "
	if err != nil {
		why = fmt.Sprintf("reply.accepted: %v: ", err)
	}
	cause := fault.Cause{Code: "reply-not-accepted", Status: w.reply.Status}
	cause.Detail = reply.Shorten(why + reply.Excerpt(w.reply.Header, w.reply.Body))
	return connectors.Answer{Verdict: fault.Verdict{Class: fault.Unknown, Cause: w.cause(cause)}}, true
}

func (w *words) holds(source string) (bool, error) {
	condition, err := w.expressions.condition(source)
	if err != nil {
		return false, err // admission refuses such a Connector
	}
	return condition.Eval(w.seen)
}

// value returns "" where the expression is not written, or has no value here.
func (w *words) value(source string) string {
	if source == "" {
		return ""
	}
	text, err := w.expressions.text(source)
	if err != nil {
		return ""
	}
	value, err := text.Eval(w.seen)
	if err != nil {
		return ""
	}
	return value
}

// cause puts the Connector's code and message in the place of the others.
func (w *words) cause(cause fault.Cause) fault.Cause {
	if w == nil {
		return cause
	}
	cause.Code = reply.Slug(w.value(w.Code), cause.Code)
	if message := reply.Shorten(w.value(w.Message)); message != "" {
		cause.Detail = message
	}
	return cause
}

func (w *words) reference(otherwise string) string {
	if w != nil {
		if name := reply.Shorten(w.value(w.Reference)); name != "" {
			return name
		}
	}
	return otherwise
}

// most is how many expressions are kept; more than that are of Connectors as they were
// before they were edited.
const most = 1024

// expressions keeps what is compiled, by its text: compiling takes 70 µs and evaluating
// 3 µs. A nil one keeps nothing.
type expressions struct {
	mu         sync.Mutex
	compiler   *expr.Compiler
	conditions map[string]*expr.ReplyCondition
	texts      map[string]*expr.ReplyText
}

func (e *expressions) condition(source string) (*expr.ReplyCondition, error) {
	return kept(e, source, func(e *expressions) map[string]*expr.ReplyCondition { return e.conditions }, (*expr.Compiler).ReplyCondition)
}

func (e *expressions) text(source string) (*expr.ReplyText, error) {
	return kept(e, source, func(e *expressions) map[string]*expr.ReplyText { return e.texts }, (*expr.Compiler).ReplyText)
}

// kept returns what was compiled before, or compiles it.
func kept[T any](e *expressions, source string, place func(*expressions) map[string]T, compile func(*expr.Compiler, string) (T, error)) (T, error) {
	if e == nil {
		e = new(expressions)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if compiled, ok := place(e)[source]; ok {
		return compiled, nil
	}
	var none T
	if err := e.start(); err != nil {
		return none, err
	}
	compiled, err := compile(e.compiler, source)
	if err != nil {
		return none, err
	}
	place(e)[source] = compiled
	return compiled, nil
}

// start makes room, and the compiler where there is none yet. The lock is held.
func (e *expressions) start() error {
	if e.compiler == nil {
		compiler, err := expr.NewCompiler()
		if err != nil {
			return err
		}
		e.compiler = compiler
	}
	if e.conditions == nil || len(e.conditions)+len(e.texts) >= most {
		e.conditions, e.texts = make(map[string]*expr.ReplyCondition), make(map[string]*expr.ReplyText)
	}
	return nil
}
