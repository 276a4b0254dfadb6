package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// TestSourcesTellWhatWasMissing writes what two runs of ingest and a comparison leave, and
// reads it as a user does.
func TestSourcesTellWhatWasMissing(t *testing.T) {
	s := newStation(t)
	if out := s.do("sources"); !strings.Contains(out, "nothing came in yet") {
		t.Errorf("before anything:\n%s", out)
	}
	put := func(key string, m proto.Message) {
		t.Helper()
		data, err := proto.Marshal(m)
		if err == nil {
			_, err = s.bus.Put(t.Context(), bus.BucketSource, key, data, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	at := timestamppb.New(now.UTC().Truncate(time.Hour))
	put(bus.SourceKey("shopify"), &sourcev1.Source{
		Connector: "shopify", ComparedAt: timestamppb.New(now.Add(-2 * time.Minute)), Cursor: timestamppb.New(now.Add(-3 * time.Minute)),
		DueAt: timestamppb.New(now.Add(3 * time.Minute)),
		Hours: []*sourcev1.Hour{
			{At: timestamppb.New(at.AsTime().Add(-30 * time.Hour)), Compared: 5, Missing: 5},
			{At: timestamppb.New(at.AsTime().Add(-5 * time.Hour)), Compared: 12_000, Missing: 0, Mended: 1},
			{At: at, Compared: 431, Stale: 2},
		},
		Webhooks: []*sourcev1.Webhook{
			{Topic: "orders/create", Id: "1", Active: true, MendedAt: timestamppb.New(now)}, {Topic: "orders/paid", Id: "2", Active: true},
		},
		WebhooksAt: timestamppb.New(now),
	})
	put(bus.SourceKey("other"), &sourcev1.Source{Connector: "other", Problem: "listOrders is refused: no-right", Failures: 3})
	for _, run := range []string{"A", "B"} {
		put(bus.ReceivedKey(run), &sourcev1.Received{Counts: []*sourcev1.Count{
			{Connector: "shopify", Hours: []*sourcev1.Hour{{At: at, Received: 6000}}}, {Connector: "stripe", Hours: []*sourcev1.Hour{{At: at, Received: 1}}},
		}})
	}
	out := s.do("sources")
	for _, want := range []string{"12,000", "0 missing of 12,431 in the last 24 h", "2m", "2 on, 1 mended", "stripe", "other: listOrders is refused: no-right"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q:\n%s", want, out)
		}
	}
	var lines []sourceLine
	if err := json.Unmarshal([]byte(s.do("sources", "-o", "json")), &lines); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 3 || lines[1].Connector != "shopify" || lines[1].Received != 12_000 || lines[1].Compared != 12_431 || lines[1].Missing != 0 ||
		lines[1].Stale != 2 || len(lines[1].Webhooks) != 2 || lines[2].Watched || lines[2].Received != 2 || lines[1].LagSeconds == nil || *lines[1].LagSeconds < 120 {
		t.Errorf("as JSON: %+v", lines)
	}
	if out := s.do("sources", "-o", "yaml"); !strings.Contains(out, "connector: shopify\n") || !strings.Contains(out, "missing: 0\n") {
		t.Errorf("as YAML:\n%s", out)
	}
}

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
