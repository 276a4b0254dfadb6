package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// The two headers of W3C Trace Context (https://www.w3.org/TR/trace-context/),
// as every message and every request carries them.
const (
	HeaderTraceparent = "traceparent"
	HeaderTracestate  = "tracestate"
)

// Inject returns the trace headers of ctx: traceparent, and tracestate where
// there is one. It returns nil where ctx carries no trace.
func Inject(ctx context.Context) map[string]string {
	var carrier propagation.MapCarrier
	lazy := lazyCarrier{&carrier}
	propagation.TraceContext{}.Inject(ctx, lazy)
	return carrier
}

// lazyCarrier makes its map at the first header: most messages of an untraced
// process have none.
type lazyCarrier struct{ carrier *propagation.MapCarrier }

func (l lazyCarrier) Get(key string) string { return l.carrier.Get(key) }

func (l lazyCarrier) Set(key, value string) {
	if *l.carrier == nil {
		*l.carrier = make(propagation.MapCarrier, 2)
	}
	l.carrier.Set(key, value)
}

func (l lazyCarrier) Keys() []string { return l.carrier.Keys() }

// Extract returns ctx with the remote span that the two header values name.
// Values that are no W3C trace context leave ctx as it is.
func Extract(ctx context.Context, traceparent, tracestate string) context.Context {
	if traceparent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{
		HeaderTraceparent: traceparent,
		HeaderTracestate:  tracestate,
	})
}
