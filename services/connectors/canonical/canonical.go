// Package canonical reads orders that come in the form of peppasync.order.v1.Order, or
// that the Connector's expression brings into it, for the sources whose bodies have no
// form of their own.
package canonical

import (
	"fmt"
	"slices"
	"sync"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/envelope"
	"github.com/peppasync/peppasync/services/internal/expr"
)

// Reader reads orders. It remembers nothing but the expressions that it has compiled;
// the zero value compiles them again each time. It is safe for concurrent use.
type Reader struct {
	readings *readings
}

// New returns a Reader that keeps what it compiles.
func New() Reader { return Reader{readings: new(readings)} }

// Order reads an event's body: by spec.webhook.order, and where that is not written as
// the canonical order in JSON, which is the body's member data, or the body where data
// is "". The error is ErrNotAnOrder or ErrMalformed.
func (r Reader) Order(spec *v1alpha1.ConnectorSpec, topic string, body []byte, data string) (*orderv1.Order, error) {
	if topics := spec.Webhook.OrderTopics; topic == "" || len(topics) > 0 && !slices.Contains(topics, topic) {
		return nil, fmt.Errorf("%w: topic %q is none of spec.webhook.orderTopics", connectors.ErrNotAnOrder, topic)
	}
	if spec.Webhook.Order != "" {
		return r.declared(spec.Webhook.Order, topic, body)
	}
	if data != "" {
		members, err := envelope.Read(body)
		if err != nil {
			return nil, err
		}
		if body = members[data]; body == nil {
			return nil, fmt.Errorf("%w: the body of %s has no %s", connectors.ErrMalformed, topic, data)
		}
	}
	order, err := read(body, fromSender)
	if err != nil {
		return nil, fmt.Errorf("%w: the order of %s: %w", connectors.ErrMalformed, topic, err)
	}
	return order, nil
}

// declared reads an order by the Connector's expression.
func (r Reader) declared(source, topic string, body []byte) (*orderv1.Order, error) {
	// What is no object or list cannot be read by any expression, and a body that is cut
	// off must not be read as a shorter one.
	value, err := expr.ParseJSON(body)
	if err != nil {
		return nil, fmt.Errorf("%w: the body of %s: %w", connectors.ErrMalformed, topic, err)
	}
	switch value.(type) {
	case map[string]any, []any:
	default:
		return nil, fmt.Errorf("%w: the body of %s is no JSON object or list", connectors.ErrMalformed, topic)
	}
	reading, err := r.readings.of(source)
	if err != nil {
		// Admission refuses such a Connector.
		return nil, fmt.Errorf("%w: spec.webhook.order: %w", connectors.ErrMalformed, err)
	}
	made, err := reading.Eval(topic, value)
	if err != nil {
		return nil, fmt.Errorf("%w: spec.webhook.order of a body of %s: %w", connectors.ErrMalformed, topic, err)
	}
	if made == nil {
		return nil, fmt.Errorf("%w: spec.webhook.order has no value for a body of %s", connectors.ErrNotAnOrder, topic)
	}
	order, err := read(made, fromExpression)
	if err != nil {
		return nil, fmt.Errorf("%w: spec.webhook.order of a body of %s: %w", connectors.ErrMalformed, topic, err)
	}
	return order, nil
}

// most is how many expressions are kept; more than that are of Connectors as they were
// before they were edited.
const most = 1024

// readings keeps what is compiled, by its text: compiling takes many times what
// evaluating does. A nil one keeps nothing.
type readings struct {
	mu       sync.Mutex
	compiler *expr.Compiler
	compiled map[string]*expr.Reading
}

func (r *readings) of(source string) (*expr.Reading, error) {
	if r == nil {
		r = new(readings)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if reading, ok := r.compiled[source]; ok {
		return reading, nil
	}
	if r.compiler == nil {
		compiler, err := expr.NewCompiler()
		if err != nil {
			return nil, err
		}
		r.compiler = compiler
	}
	reading, err := r.compiler.Reading(source)
	if err != nil {
		return nil, err
	}
	if r.compiled == nil || len(r.compiled) >= most {
		r.compiled = make(map[string]*expr.Reading)
	}
	r.compiled[source] = reading
	return reading, nil
}
