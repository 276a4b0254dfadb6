package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// TestWhatASourceRefusesIsShown where people look, since when, why and what to do, until it
// is closed; and nobody can let it go.
func TestWhatASourceRefusesIsShown(t *testing.T) {
	s := newStation(t)
	refused := &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{
			Id: connectors.RefusalID("listOrders"), Key: connectors.KeyOfSources, Connector: "shopify", Operation: "listOrders", Requester: "ingest",
		},
		Cause:  &dispatchv1.Cause{Code: "no-right", Detail: "Access denied\nfor orders"},
		HeldAt: timestamppb.New(time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)), Attempts: 1, Advice: "give the credentials the scope read_orders",
	}
	subject := bus.HoldSubject("shopify", connectors.KeyOfSources, refused.GetDelivery().GetId())
	s.publish(subject, refused)
	single := &dispatchv1.Hold{Delivery: &dispatchv1.Delivery{
		Id: "x", Key: connectors.KeyOfSources, Connector: "shopify", Operation: "listOrders", Requester: "ingest",
	}}
	s.publish(bus.HoldSubject("shopify", connectors.KeyOfSources, "x"), single) // of an earlier build
	const line = "shopify: listOrders is refused since 2026-11-27T08:00:00Z: no-right: Access denied for orders; give the credentials the scope read_orders\n"
	if out := s.do("sources"); strings.Count(out, line) != 1 || strings.Count(out, "is refused") != 1 {
		t.Errorf("sources:\n%s", out)
	}
	var lines []sourceLine
	if err := json.Unmarshal([]byte(s.do("sources", "-o", "json")), &lines); err != nil || len(lines) != 1 || len(lines[0].Refused) != 1 ||
		lines[0].Refused[0].Cause != "no-right" || lines[0].Refused[0].Advice == "" {
		t.Errorf("sources as JSON: %v, %+v", err, lines)
	}
	if out := s.do("apply", "-f", demo); !strings.Contains(out, line) {
		t.Errorf("apply:\n%s", out)
	}
	out := s.do("holds")
	for _, want := range []string{"-      shopify    listOrders  no-right: Access denied for orders", "2026-11-27T08:00:00Z", "shopify, listOrders: give the credentials the scope read_orders"} {
		if !strings.Contains(out, want) {
			t.Errorf("holds lack %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "listOrders"); n != 2 {
		t.Errorf("holds have %d lines of it:\n%s", n, out)
	}
	if _, err := s.try("release", refused.GetDelivery().GetId(), "--reason", "x"); err == nil || !strings.Contains(err.Error(), "by itself when the source answers") {
		t.Errorf("release: %v", err)
	}
	refused.Release = &eventv1.Release{By: "ingest", Reason: "the source answers again"}
	s.publish(subject, refused)
	for _, command := range []string{"holds", "sources"} {
		if out := s.do(command); strings.Contains(out, "no-right") {
			t.Errorf("%s when it is over:\n%s", command, out)
		}
	}
}

func TestALineNamesAFewOrders(t *testing.T) {
	r := refusedLine{Operation: "readOrder", Cause: "odd", Orders: []string{"1", "2", "3", "4", "5", "6", "7"}}
	if got, want := r.text("shop"), "shop: readOrder is refused since 0001-01-01T00:00:00Z: odd (of the orders 1, 2, 3, 4, 5 and 2 more)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
