package logicgate

import (
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

const (
	createTrace = "0af7651916cd43dd8448eb211c80319c"
	createSpan  = "b7ad6b7169203331"
)

// The event's span is a child of the request that brought it, the dispatch
// message goes on from there, and what a result releases keeps its own trace and
// links the result.
func TestSpans(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() { _ = provider.Shutdown(t.Context()) })
	w := newWorld(t, toBoth())
	w.tracer = provider.Tracer(Role)
	w.start(nil)
	create := w.event("orders/create", shopOrder(1, 0, nil))
	create.Traceparent = "00-" + createTrace + "-" + createSpan + "-01"
	w.capture(0, create)
	w.becomes("shopify_1", "orders.wms.1 OPEN, orders.erp.1 WAITING")
	w.answer("shopify_1_orders_wms_1", delivered, 1)
	var event, result, release tracetest.SpanStub
	w.eventually("three spans", func() bool {
		found := 0
		for _, span := range exporter.GetSpans() {
			switch span.Name {
			case "logic-gate event":
				event = span
			case "logic-gate result":
				result = span
			case "logic-gate release":
				release = span
			}
			found++
		}
		return found == 3
	})
	if got := event.Parent.TraceID().String() + event.Parent.SpanID().String(); got != createTrace+createSpan {
		t.Errorf("the event's parent is %s, want the request that brought it", got)
	}
	if got, want := w.headers("shopify_1_orders_wms_1")["traceparent"], "00-"+createTrace+"-"+event.SpanContext.SpanID().String()+"-01"; got != want {
		t.Errorf("the delivery has traceparent %s, want %s", got, want)
	}
	if release.Parent.SpanID() != event.SpanContext.SpanID() {
		t.Errorf("the release's parent is %s, want the event that asked for the delivery", release.Parent.SpanID())
	}
	if len(release.Links) != 1 || release.Links[0].SpanContext.SpanID() != result.SpanContext.SpanID() {
		t.Errorf("the release links %v, want the result", release.Links)
	}
	w.eventually("the released delivery", func() bool { return w.headers("shopify_1_orders_erp_1") != nil })
	if got, want := w.headers("shopify_1_orders_erp_1")["traceparent"], "00-"+createTrace+"-"+release.SpanContext.SpanID().String()+"-01"; got != want {
		t.Errorf("the released delivery has traceparent %s, want %s", got, want)
	}
}
