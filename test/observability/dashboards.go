// Package observability has what deploy/observability shows people, the dashboards, as a
// table, and judges from outside what is in that folder: by Kubernetes' schemas, by the
// collector's and Prometheus' own code, and by the metrics and traces of a running product.
package observability

import (
	"encoding/json"
	"fmt"
)

// Dashboard is one page of Grafana.
type Dashboard struct {
	// Name is its file and its address.
	Name, Title, Description string
	Panels                   []Panel
	// Order has a box for the name of one order.
	Order bool
}

// Panel is one figure, with what a person should know about it.
type Panel struct {
	Title, Meaning string
	// Kind is stat, timeseries, table or traces.
	Kind string
	// Unit as Grafana names it; empty for a plain number.
	Unit string
	// Width of 24, and height in rows of 30 pixels.
	Width, Height int
	Queries       []Query
}

// Query is one of PromQL, or of TraceQL in a panel of traces.
type Query struct {
	Expr, Legend string
	// Exemplars shows traces beside the figures.
	Exemplars bool
}

const (
	prometheus = "prometheus"
	tempo      = "tempo"
)

// Dashboards are all there are.
func Dashboards() []Dashboard { return []Dashboard{operations(), engineering(), order()} }

func operations() Dashboard {
	return Dashboard{
		Name: "operations", Title: "Operations",
		Description: "For who answers for the orders: what came in, what arrived, what waits and until when, and what needs a person.",
		Panels: []Panel{
			stat("Events in, last hour", "What shops sent and what is on disk. An order leads to several: created, paid, changed.",
				`sum(increase(peppasync_ingest_events_total{namespace="$namespace",outcome="stored"}[1h]))`),
			stat("Delivered, last hour", "Calls that a system took.",
				`sum(increase(peppasync_deliveries_total{namespace="$namespace",outcome="delivered"}[1h]))`),
			stat("Held, last 24 hours", "Each needs a person: \"peppasync holds\" says what and why.",
				`sum(increase(peppasync_deliveries_total{namespace="$namespace",outcome="held"}[24h]))`+
					` + sum(increase(peppasync_gate_held_total{namespace="$namespace"}[24h]))`),
			stat("Waiting now", "Deliveries in all queues.", `sum(peppasync_queue_waiting{namespace="$namespace"})`),
			lines("Waiting, by connector", "A queue that falls is a spike that is worked off.", "", 12,
				Query{Expr: `sum by (connector) (peppasync_queue_waiting{namespace="$namespace"})`, Legend: "{{connector}}"}),
			lines("When the last of it arrives", "From now. No line where nobody can tell: paused, down, or without credentials.", "s", 12,
				Query{Expr: `max by (connector) (peppasync_eta_seconds{namespace="$namespace"})`, Legend: "{{connector}}"}),
			lines("Pace, beside what the limits allow", "Calls a minute while others wait: at the limit in a spike, and never over it.", "", 12,
				Query{Expr: `sum by (connector) (peppasync_pace_per_minute{namespace="$namespace"})`, Legend: "{{connector}}"},
				Query{Expr: `max by (connector) (peppasync_allowed_per_minute{namespace="$namespace"})`, Legend: "{{connector}} may"}),
			lines("Largest window, as a part of the limit",
				"The most calls that can have arrived in any window since the start. Above 100% a limit was broken.", "percentunit", 12,
				Query{
					Expr: `max by (connector, limit) (peppasync_limit_largest_window_count{namespace="$namespace"})` +
						` / max by (connector, limit) (peppasync_limit_calls{namespace="$namespace"})`,
					Legend: "{{connector}} {{limit}}",
				}),
			lines("Delivered and held, an hour", "Held orders step aside; the others go on.", "", 12,
				Query{
					Expr:   `sum by (connector, outcome) (increase(peppasync_deliveries_total{namespace="$namespace",outcome=~"delivered|held"}[1h]))`,
					Legend: "{{connector}} {{outcome}}",
				}),
			lines("Stock out of step", "SKUs that a shop shows wrongly, and that are not corrected yet. Short peaks are the work.", "", 12,
				Query{Expr: `sum by (pool, connector) (peppasync_stock_out_of_step{namespace="$namespace"})`, Legend: "{{pool}} at {{connector}}"}),
			table("States of the connectors",
				"running is well; paused, maintenance, throttled and down wait by themselves; waiting-for-credentials needs a person.",
				`max by (connector, state) (peppasync_connector_state{namespace="$namespace"}) == 1`),
			table("Orders without a webhook, last 24 hours", "They were found by asking the shop, and delivered.",
				`sum by (connector) (increase(peppasync_source_orders_missing_total{namespace="$namespace"}[24h]))`),
			table("On hold now", "Orders that wait for a person, by the operator's count: \"peppasync holds\" lists them by their causes. Empty is well.",
				`max by (connector) (peppasync_connector_held{namespace="$namespace"}) > 0`),
			table("Refused as a source",
				"Shops that do not tell their orders, or let nobody look after their webhooks: SourceRefused of the Connector says what to do.",
				`max by (connector) (peppasync_source_refused{namespace="$namespace"}) > 0`),
		},
	}
}

func order() Dashboard {
	return Dashboard{
		Name: "order", Title: "One order", Order: true,
		Description: "One order's way, from the webhook to each system's reply. Write its name as the shop shows it, such as #1001.",
		Panels: []Panel{{
			Title: "Its traces", Kind: "traces", Width: 24, Height: 12,
			Meaning: "Each event of the order is one trace; open one to see its spans over ingest, logic-gate and throttle-dispatcher. " +
				"Where a delivery waited for another, the trace links to what set it free.",
			Queries: []Query{{Expr: `{ span.peppasync.order_name = "$order" || span.peppasync.order = "$order" }`}},
		}},
	}
}

func engineering() Dashboard {
	return Dashboard{
		Name: "engineering", Title: "Engineering",
		Description: "For who runs it: is each part well, and where does time go.",
		Panels: []Panel{
			lines("Webhook to answer", "Shopify gives up after 5 s. Points are traces of single webhooks.", "s", 12,
				Query{Expr: quantile("0.5"), Legend: "half within"}, Query{Expr: quantile("0.99"), Legend: "99% within", Exemplars: true}),
			lines("Webhooks a second, by answer", "postponed is 503: the sender comes again, if it does. refused is 4xx: it does not.", "reqps", 12,
				Query{Expr: `sum by (outcome) (rate(peppasync_ingest_webhook_seconds_count{namespace="$namespace"}[5m]))`, Legend: "{{outcome}}"}),
			lines("Events in a write", "One write is one fsync, of all events that came together. It grows with the load.", "", 8,
				Query{
					Expr: `sum(rate(peppasync_ingest_events_total{namespace="$namespace",outcome="stored"}[5m]))` +
						` / sum(rate(peppasync_ingest_packs_total{namespace="$namespace"}[5m]))`,
					Legend: "events",
				}),
			lines("Store of NATS", "At nine tenths, with what follows from what waits, webhooks get 503.", "percentunit", 8,
				Query{Expr: `max(peppasync_store_bytes{namespace="$namespace"}) / max(peppasync_store_limit_bytes{namespace="$namespace"})`, Legend: "full"}),
			lines("Waiting to be understood", "Packs of events and results that the logic-gates have not settled.", "", 8,
				Query{Expr: `max by (stream) (peppasync_gate_waiting{namespace="$namespace"})`, Legend: "{{stream}}"}),
			lines("What events were, a second", "stale, same and repeated changed nothing.", "", 12,
				Query{Expr: `sum by (outcome) (rate(peppasync_gate_events_total{namespace="$namespace"}[5m]))`, Legend: "{{outcome}}"}),
			lines("What became of deliveries, a minute", "The decisions of the dispatcher.", "", 12,
				Query{
					Expr:   `60 * sum by (connector, outcome) (rate(peppasync_deliveries_total{namespace="$namespace"}[5m]))`,
					Legend: "{{connector}} {{outcome}}",
				}),
			lines("Share of the declared pace", "Below 1 after throttled replies, where others use the account, and in ramps.", "percentunit", 8,
				Query{Expr: `min by (connector) (peppasync_pace_share{namespace="$namespace"})`, Legend: "{{connector}}"}),
			lines("Calls of others", "In the account's windows, by the other system's own figures.", "", 8,
				Query{Expr: `max by (connector, limit) (peppasync_limit_used_by_others{namespace="$namespace"})`, Legend: "{{connector}} {{limit}}"}),
			lines("Reply times", "The mean of the latest, and the age of the oldest call under way.", "s", 8,
				Query{Expr: `max by (connector) (peppasync_call_latency_seconds{namespace="$namespace"})`, Legend: "{{connector}}"},
				Query{Expr: `max by (connector) (peppasync_certificate_behind_seconds{namespace="$namespace"})`, Legend: "{{connector}} oldest"}),
			lines("Connectors of each dispatcher", "They are spread evenly. Together as many as there are.", "", 8,
				Query{Expr: `count by (pod) (max by (pod, connector) (peppasync_connector_state{namespace="$namespace"}))`, Legend: "{{pod}}"}),
			lines("Leases lost, an hour", "A dispatcher was not heard for seconds, and others took over.", "", 8,
				Query{Expr: `sum by (pod) (increase(peppasync_leases_lost_total{namespace="$namespace"}[1h]))`, Legend: "{{pod}}"}),
			lines("Last comparison with a source", "How long ago, by the replica that knows best. Every five minutes by default.", "s", 8,
				Query{Expr: `min by (connector) (peppasync_source_compared_ago_seconds{namespace="$namespace"})`, Legend: "{{connector}}"}),
			lines("Memory", "Resident, of each pod.", "bytes", 8,
				Query{Expr: `max by (role, pod) (process_resident_memory_bytes{namespace="$namespace"})`, Legend: "{{pod}}"}),
			lines("Processor", "Seconds a second.", "", 8,
				Query{Expr: `sum by (role, pod) (rate(process_cpu_seconds_total{namespace="$namespace"}[5m]))`, Legend: "{{pod}}"}),
			lines("Pods that answer", "Of each role, to Prometheus.", "", 8,
				Query{Expr: `sum by (role) (up{job="peppasync",namespace="$namespace"})`, Legend: "{{role}}"}),
		},
	}
}

func quantile(q string) string {
	return fmt.Sprintf(`histogram_quantile(%s, sum by (le) (rate(peppasync_ingest_webhook_seconds_bucket{namespace="$namespace"}[5m])))`, q)
}

func stat(title, meaning, expr string) Panel {
	return Panel{Title: title, Meaning: meaning, Kind: "stat", Width: 6, Height: 4, Queries: []Query{{Expr: expr}}}
}

func lines(title, meaning, unit string, width int, queries ...Query) Panel {
	return Panel{Title: title, Meaning: meaning, Kind: "timeseries", Unit: unit, Width: width, Height: 8, Queries: queries}
}

func table(title, meaning, expr string) Panel {
	return Panel{Title: title, Meaning: meaning, Kind: "table", Width: 12, Height: 8, Queries: []Query{{Expr: expr}}}
}

// JSON returns the page as Grafana reads it, from left to right and downwards.
func (d Dashboard) JSON() ([]byte, error) {
	type object = map[string]any
	var panels []object
	x, y, tallest := 0, 0, 0
	for i, p := range d.Panels {
		if x+p.Width > 24 {
			x, y, tallest = 0, y+tallest, 0
		}
		panels = append(panels, p.object(i+1, x, y))
		x, tallest = x+p.Width, max(tallest, p.Height)
	}
	variables := []object{{
		"name": "namespace", "label": "Installation", "type": "query", "refresh": 2, "sort": 1,
		"datasource": source(prometheus), "query": "label_values(peppasync_ingest_packs_total, namespace)",
	}}
	if d.Order {
		variables = []object{{"name": "order", "label": "Order", "type": "textbox", "query": "#1001"}}
	}
	data, err := json.MarshalIndent(object{
		"uid": "peppasync-" + d.Name, "title": d.Title, "description": d.Description, "tags": []string{"peppasync"},
		"schemaVersion": 41, "editable": false, "timezone": "browser", "refresh": "30s",
		"time": object{"from": "now-6h", "to": "now"}, "templating": object{"list": variables}, "panels": panels,
		"links": []object{{"type": "dashboards", "tags": []string{"peppasync"}, "title": "Peppasync", "keepTime": true}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", d.Name, err)
	}
	return append(data, '\n'), nil
}

func source(name string) map[string]any { return map[string]any{"type": name, "uid": name} }

func (p Panel) object(id, x, y int) map[string]any {
	type object = map[string]any
	kind, from := p.Kind, prometheus
	if kind == "traces" {
		kind, from = "table", tempo
	}
	var targets []object
	for i, q := range p.Queries {
		target := object{"refId": string(rune('A' + i)), "datasource": source(from)}
		switch {
		case from == tempo:
			target["queryType"], target["query"], target["limit"], target["tableType"] = "traceql", q.Expr, 50, "traces"
		case p.Kind == "timeseries":
			target["expr"], target["legendFormat"], target["exemplar"], target["range"] = q.Expr, q.Legend, q.Exemplars, true
		default:
			target["expr"], target["instant"] = q.Expr, true
		}
		if p.Kind == "table" {
			target["format"] = "table"
		}
		targets = append(targets, target)
	}
	defaults := object{"unit": p.Unit, "min": 0}
	if p.Kind == "stat" {
		defaults["decimals"] = 0
	}
	return object{
		"id": id, "type": kind, "title": p.Title, "description": p.Meaning, "datasource": source(from),
		"gridPos":     object{"x": x, "y": y, "w": p.Width, "h": p.Height},
		"fieldConfig": object{"defaults": defaults, "overrides": []object{}}, "targets": targets,
	}
}
