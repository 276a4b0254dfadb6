package throttledispatcher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
)

// gauges are the metrics of the role, as services/docs/metrics.md describes them.
// They are read from what workers show, when somebody collects.
type gauges struct {
	state, waiting, inFlight                    metric.Int64ObservableGauge
	limit, largest, largestSent, last, others   metric.Int64ObservableGauge
	pace, allowed, latency, eta, drains, behind metric.Float64ObservableGauge
	share, laneETA                              metric.Float64ObservableGauge
	calls, deliveries, lost, refused            metric.Int64ObservableCounter
}

// measure registers the metrics until the returned function is called.
func (d *Dispatcher) measure() (stop func(), err error) {
	meter := d.config.Telemetry.Meter(Role)
	var errs []error
	whole := func(name, unit, description string) metric.Int64ObservableGauge {
		g, err := meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return g
	}
	part := func(name, unit, description string) metric.Float64ObservableGauge {
		g, err := meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return g
	}
	total := func(name, unit, description string) metric.Int64ObservableCounter {
		c, err := meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return c
	}
	g := &gauges{
		state:       whole("peppasync_connector_state", "1", "1 for the state that the connector is in."),
		waiting:     whole("peppasync_queue_waiting", "{delivery}", "Deliveries that wait in a lane."),
		inFlight:    whole("peppasync_calls_in_flight", "{call}", "Calls under way."),
		limit:       whole("peppasync_limit_calls", "{call}", "What the limit allows."),
		largest:     whole("peppasync_limit_largest_window_count", "{call}", "The most calls that can have arrived in any closed window."),
		largestSent: whole("peppasync_limit_largest_window_sent", "{call}", "The most send times in any closed window."),
		last:        whole("peppasync_limit_last_window_count", "{call}", "Calls that can have arrived in the last window."),
		others:      whole("peppasync_limit_used_by_others", "{call}", "Calls of a window that others made, by the external system's own figures."),
		pace:        part("peppasync_pace_per_minute", "{call}/min", "Calls a minute while others waited."),
		allowed:     part("peppasync_allowed_per_minute", "{call}/min", "Calls a minute that the limits allow at the latest reply times."),
		share:       part("peppasync_pace_share", "1", "What part of the declared pace may be used."),
		latency:     part("peppasync_call_latency_seconds", "s", "The mean of the latest reply times."),
		eta:         part("peppasync_eta_seconds", "s", "Until all that waits will have arrived; absent where nobody can tell."),
		laneETA:     part("peppasync_lane_eta_seconds", "s", "Until the last that waits in the lane will have arrived; absent where nobody can tell."),
		drains:      part("peppasync_drains_in_seconds", "s", "How long what waits takes once it may be sent."),
		behind:      part("peppasync_certificate_behind_seconds", "s", "How far the certificate is behind: the age of the oldest call under way."),
		calls:       total("peppasync_calls_total", "{call}", "Calls that were written and have ended."),
		lost:        total("peppasync_leases_lost_total", "{lease}", "Connectors that another replica took over since this one was not heard."),
		refused:     total("peppasync_messages_refused_total", "{message}", "Messages of DISPATCH that are no deliveries that may be made, by outcome."),
		deliveries:  total("peppasync_deliveries_total", "{delivery}", "Deliveries that have ended, by outcome."),
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("throttle-dispatcher: metrics: %w", err)
	}
	registration, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, busPatience)
		defer cancel()
		for _, name := range slices.Sorted(maps.Keys(d.connectors())) {
			d.observe(ctx, g, o, name)
		}
		o.ObserveInt64(g.lost, d.lost.Load())
		return nil
	}, g.state, g.waiting, g.inFlight, g.limit, g.largest, g.largestSent, g.last, g.others,
		g.pace, g.allowed, g.share, g.latency, g.eta, g.laneETA, g.drains, g.behind, g.calls, g.deliveries, g.lost, g.refused)
	if err != nil {
		return nil, fmt.Errorf("throttle-dispatcher: metrics: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil // it can only be unregistered before
}

// observe reports one connector.
func (d *Dispatcher) observe(ctx context.Context, g *gauges, o metric.Observer, name string) {
	slot := d.board.slot(name)
	shown := slot.shown.Load()
	c, lanes := d.describe(ctx, name)
	of := func(more ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributes(append(more, attribute.String("connector", name))...)
	}
	if c.GetState() == dispatcherv1.State_STATE_ELSEWHERE {
		return // that replica reports it
	}
	o.ObserveInt64(g.state, 1, of(attribute.String("state", stateText(c.GetState()))))
	if shown == nil || c.GetState() == dispatcherv1.State_STATE_STARTING {
		return
	}
	for _, l := range c.GetLanes() {
		lane := of(attribute.String("lane", l.GetName()))
		o.ObserveInt64(g.waiting, l.GetWaiting(), lane)
		switch at, ok := lanes[l.GetName()]; {
		case ok:
			o.ObserveFloat64(g.laneETA, max(0, time.Until(at).Seconds()), lane)
		case l.GetWaiting() == 0:
			o.ObserveFloat64(g.laneETA, 0, lane)
		}
	}
	for _, l := range c.GetLimits() {
		limit := of(attribute.String("limit", l.GetName()))
		o.ObserveInt64(g.limit, l.GetCalls(), limit)
		o.ObserveInt64(g.largest, l.GetLargestWindowCount(), limit)
		o.ObserveInt64(g.last, l.GetLastWindowCount(), limit)
		if l.GetPer() != nil {
			o.ObserveInt64(g.largestSent, l.GetLargestWindowSent(), limit)
		}
		if l.GetPer() != nil || l.GetRefill() != nil {
			o.ObserveInt64(g.others, l.GetUsedByOthers(), limit)
		}
	}
	o.ObserveInt64(g.inFlight, c.GetInFlight(), of())
	o.ObserveFloat64(g.pace, c.GetPacePerMinute(), of())
	o.ObserveFloat64(g.allowed, c.GetAllowedPerMinute(), of())
	o.ObserveFloat64(g.share, c.GetPaceShare(), of())
	o.ObserveFloat64(g.latency, c.GetLatency().AsDuration().Seconds(), of())
	o.ObserveFloat64(g.behind, max(0, c.GetAsOf().AsTime().Sub(c.GetCountedThrough().AsTime()).Seconds()), of())
	o.ObserveFloat64(g.drains, c.GetDrainsIn().AsDuration().Seconds(), of())
	switch {
	case c.GetEta() != nil:
		o.ObserveFloat64(g.eta, max(0, time.Until(c.GetEta().AsTime()).Seconds()), of())
	case c.GetWaiting() == 0:
		o.ObserveFloat64(g.eta, 0, of())
	}
	o.ObserveInt64(g.refused, slot.refused.held.Load(), of(attribute.String("outcome", "held")))
	o.ObserveInt64(g.refused, slot.refused.removed.Load(), of(attribute.String("outcome", "removed")))
	o.ObserveInt64(g.calls, shown.totals.calls, of())
	for outcome, n := range shown.totals.deliveries {
		// From 0 on: the first hold of a process is an increase only where there was a 0.
		if n > 0 || outcome != int(dispatchv1.Outcome_OUTCOME_UNSPECIFIED) {
			o.ObserveInt64(g.deliveries, n, of(attribute.String("outcome", outcomeText(outcome))))
		}
	}
}

// stateText is a state as metrics and tables spell it, such as
// "waiting-for-credentials".
func stateText(s dispatcherv1.State) string { return lower(s.String(), "STATE_") }

func outcomeText(outcome int) string {
	return lower(dispatchv1.Outcome(outcome).String(), "OUTCOME_") //nolint:gosec // an index of a tally
}

func lower(name, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", "-")
}
