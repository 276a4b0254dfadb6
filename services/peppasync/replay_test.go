package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
)

// replayed is when the events of these tests came in.
var replayed = time.Now().Add(-2 * time.Minute).Truncate(time.Second)

// shopEvent is the webhook of an order that was changed so many seconds after it was
// made.
func shopEvent(topic, id string, seconds int, note string) *eventv1.Event {
	at := func(d time.Duration) string { return replayed.Add(d).UTC().Format(time.RFC3339) }
	body := fmt.Sprintf(`{"id": %s, "name": "#%s", "created_at": %q, "updated_at": %q, "currency": "USD", "financial_status": "paid", "note": %q, "line_items": []}`,
		id, id, at(-time.Hour), at(-time.Hour+time.Duration(seconds)*time.Second), note)
	return &eventv1.Event{
		Connector: "shopify", Topic: topic, Id: fmt.Sprint(topic, id, seconds), Body: []byte(body),
		ReceivedAt: timestamppb.New(replayed.Add(time.Duration(seconds) * time.Second)),
	}
}

func (s *station) capture(shard int, events ...*eventv1.Event) {
	s.t.Helper()
	s.publish(bus.IngestSubject(shard), &eventv1.Pack{Events: events})
}

// captured returns what the streams of events hold.
func (s *station) captured() (first, again []*eventv1.Event) {
	s.t.Helper()
	shards, err := s.bus.Shards(s.t.Context(), bus.PrefixIngest)
	if err != nil {
		s.t.Fatal(err)
	}
	for shard := range shards {
		for record, err := range s.bus.Read(s.t.Context(), bus.IngestStream(shard), bus.IngestSubject(shard), 1) {
			pack := &eventv1.Pack{}
			if err != nil {
				s.t.Fatal(err)
			}
			if proto.Unmarshal(record.Data, pack) != nil {
				continue // what no ingest writes
			}
			for _, e := range pack.GetEvents() {
				if e.GetReplayedAt() == nil {
					first = append(first, e)
				} else {
					again = append(again, e)
				}
			}
		}
	}
	return first, again
}

// written returns how much was written to the streams behind that of the events.
func (s *station) written() string {
	s.t.Helper()
	var text strings.Builder
	for _, stream := range []string{bus.OrderStream(0), bus.OrderStream(1), bus.OrderStream(2), bus.OrderStream(3), bus.StreamDispatch, bus.StreamErrorHold} {
		extent, err := s.bus.Extent(s.t.Context(), stream)
		if err != nil {
			s.t.Fatal(err)
		}
		fmt.Fprint(&text, stream, " ", extent.Last, " ")
	}
	return text.String()
}

func (s *station) eventually(what string, condition func() bool) {
	s.t.Helper()
	late, tick := time.After(30*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-late:
			s.t.Fatalf("not %s within 30 s", what)
		}
	}
}

// settled waits until the logic-gate has acknowledged what is captured.
func (s *station) settled() {
	s.t.Helper()
	shards, err := s.bus.Shards(s.t.Context(), bus.PrefixIngest)
	if err != nil {
		s.t.Fatal(err)
	}
	for shard := range shards {
		stream := bus.IngestStream(shard)
		extent, err := s.bus.Extent(s.t.Context(), stream)
		if err != nil {
			s.t.Fatal(err)
		}
		s.eventually("settled", func() bool {
			backlog, err := s.bus.Backlog(s.t.Context(), stream, bus.Consumer("logic-gate"))
			return err == nil && backlog.Acknowledged >= extent.Last
		})
	}
}

func (s *station) state(id string) *orderv1.State {
	s.t.Helper()
	state := &orderv1.State{}
	if err := readState(s.t.Context(), s.bus, 4, order.Key("shopify", id), state); err != nil {
		s.t.Fatal(err)
	}
	return state
}

// asked says whether a call of the order to the warehouse was asked for.
func (s *station) asked(id string) bool {
	_, err := s.bus.Last(s.t.Context(), bus.StreamDispatch, "dispatch.v1.wms.*."+order.Key("shopify", id)+".*")
	return err == nil
}

// withoutFlow is the demo's folder where nothing is done with orders.
func withoutFlow(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(demo)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "flow.yaml")); err != nil {
		t.Fatal(err)
	}
	return folder
}

// Where nothing was mended, a replay changes nothing: no order, no call, no hold. What
// it has put in is not put in again by the next, so that the streams do not double.
func TestAReplayWithoutChangesHasNoEffect(t *testing.T) {
	s := newStation(t)
	s.do("apply", "-f", demo, "--ingest-shards", "2")
	s.run("logic-gate")
	unreadable := &eventv1.Event{Connector: "shopify", Topic: "orders/paid", Id: "bad", Body: []byte(`{"id": `), ReceivedAt: timestamppb.New(replayed)}
	s.capture(0, shopEvent("orders/create", "1", 0, "first"), shopEvent("orders/create", "2", 0, "first"), unreadable)
	s.settled()
	s.capture(1, shopEvent("orders/updated", "1", 5, "newest"), shopEvent("orders/create", "3", 0, "first"))
	s.settled()
	// It came late, and is of the same second as the newest.
	s.capture(0, shopEvent("orders/updated", "1", 3, "older"), shopEvent("orders/edited", "1", 5, "newest of all"))
	s.settled()
	before := s.written()
	if out := s.do("replay", "--connector", "shopify", "--since", "2h"); !strings.Contains(out, "7 events (") || !strings.Contains(out, "Nothing was done; add --yes to do it.") ||
		!strings.Contains(out, "orders/updated  2 ") {
		t.Errorf("without --yes it says\n%s", out)
	}
	if _, again := s.captured(); len(again) != 0 || s.written() != before {
		t.Fatalf("without --yes %d events were put in again", len(again))
	}
	for round := 1; round <= 2; round++ {
		out := s.do("replay", "--connector", "shopify", "--since", "2h", "--yes", "--by", "kim")
		if !strings.Contains(out, "7 events were put in again, and the logic-gate has settled them.") {
			t.Errorf("round %d says\n%s", round, out)
		}
		if after := s.written(); after != before {
			t.Errorf("round %d changed what is stored: %s, before it %s", round, after, before)
		}
		first, again := s.captured()
		if len(first) != 7 || len(again) != 7*round {
			t.Errorf("after round %d there are %d events and %d replayed ones", round, len(first), len(again))
		}
		known := map[string]*eventv1.Event{}
		for _, e := range first {
			known[e.GetId()] = e
		}
		for _, e := range again {
			if !e.GetBulk() {
				t.Errorf("live orders do not overtake it: %v", e)
			}
			if e.GetReplayedBy() != "kim" || time.Since(e.GetReplayedAt().AsTime()) > time.Minute {
				t.Errorf("it is not said who put it in again, and when: %v", e)
			}
			plain := proto.CloneOf(e)
			plain.ReplayedAt, plain.ReplayedBy, plain.Bulk = nil, "", false
			if !proto.Equal(plain, known[e.GetId()]) {
				t.Errorf("%v was put in again as %v", known[e.GetId()], e)
			}
		}
	}
	if state := s.state("1"); state.GetOrder().GetNote() != "newest of all" {
		t.Errorf("order 1 has note %q", state.GetOrder().GetNote())
	}
}

// What a flow that was added takes is done for the orders that came before it, once;
// with old versions of an order beside the newest, which stays.
func TestAReplayAfterAFlowWasAddedHasItsEffect(t *testing.T) {
	s := newStation(t)
	s.do("apply", "-f", withoutFlow(t))
	s.run("logic-gate")
	s.capture(0, shopEvent("orders/create", "1", 0, "old"), shopEvent("orders/create", "2", 0, ""), shopEvent("orders/create", "3", 0, ""))
	s.settled()
	s.capture(0, shopEvent("orders/updated", "1", 9, "new"))
	s.settled()
	if n := len(s.state("1").GetDeliveries()); n != 0 || s.asked("1") {
		t.Fatalf("%d deliveries without a flow", n)
	}
	s.do("apply", "-f", demo)
	filter := `topic == "orders/create" && body.id != 3`
	// Until the logic-gate has heard of the flow it may take another replay.
	s.eventually("asked for", func() bool {
		s.do("replay", "--connector", "shopify", "--since", "2h", "--filter", filter, "--yes")
		return s.asked("1") && s.asked("2")
	})
	if state := s.state("1"); state.GetRevision() != 2 || state.GetOrder().GetNote() != "new" || len(state.GetDeliveries()) != 2 {
		t.Errorf("order 1: revision %d, note %q, deliveries %v; want the newest version, and its two steps", state.GetRevision(), state.GetOrder().GetNote(), state.GetDeliveries())
	}
	if s.asked("3") {
		t.Error("what the filter leaves out was put in again")
	}
	before := s.written()
	s.do("replay", "--connector", "shopify", "--since", "2h", "--filter", filter, "--yes")
	if after := s.written(); after != before {
		t.Errorf("the same replay once more changed what is stored: %s, before it %s", after, before)
	}
}

// An order whose state is lost is there again, as its newest version, and asks for the
// same calls by the same names, which the dispatcher knows.
func TestAReplayBringsBackALostOrder(t *testing.T) {
	s := newStation(t)
	s.run("logic-gate")
	s.capture(0, shopEvent("orders/create", "1", 0, "old"), shopEvent("orders/updated", "1", 9, "new"), shopEvent("orders/create", "2", 0, ""))
	s.settled()
	before, key := s.state("1"), order.Key("shopify", "1")
	if err := s.bus.Remove(t.Context(), bus.OrderStream(bus.OrderShard(key, 4)), bus.OrderStateSubject(key)); err != nil {
		t.Fatal(err)
	}
	if s.known("1") {
		t.Fatal("it is not lost")
	}
	s.do("replay", "--connector", "shopify", "--since", "2h", "--filter", "body.id == 1", "--yes")
	after := s.state("1")
	if after.GetOrder().GetNote() != "new" || after.GetRevision() != before.GetRevision() || len(after.GetDeliveries()) != len(before.GetDeliveries()) {
		t.Fatalf("it is %v, and was %v", after, before)
	}
	for i, d := range after.GetDeliveries() {
		if order.DispatchIDOf(key, d) != order.DispatchIDOf(key, before.GetDeliveries()[i]) {
			t.Errorf("delivery %d is %s, and was %s", i, d.GetId(), before.GetDeliveries()[i].GetId())
		}
	}
}

func TestWhatAReplayCounts(t *testing.T) {
	s := newStation(t)
	early := shopEvent("orders/create", "1", 0, "")
	early.ReceivedAt = timestamppb.New(replayed.Add(-26 * time.Hour))
	desk := &eventv1.Event{Connector: "desk", Topic: "orders", Id: "o1", ReceivedAt: timestamppb.New(replayed), Order: &orderv1.Order{Id: "7"}}
	s.capture(0, early, shopEvent("orders/create", "2", 0, "gift"), desk, shopEvent("orders/paid", "2", 7, ""))
	if _, err := s.bus.Publish(t.Context(), bus.Message{Subject: bus.IngestSubject(0), Data: []byte{0xff}}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"a span":                   {[]string{"--since", "90m"}, "2 events ("},
		"days":                     {[]string{"--since", "2d"}, "3 events ("},
		"until a time":             {[]string{"--since", "2d", "--until", replayed.Format(time.RFC3339)}, "1 events ("},
		"half open":                {[]string{"--since", replayed.Format(time.RFC3339), "--until", replayed.Add(7 * time.Second).Format(time.RFC3339)}, "1 events ("},
		"a filter":                 {[]string{"--since", "90m", "--filter", `body.note == "gift"`}, "1 more of shopify are left out by --filter"},
		"a filter that takes none": {[]string{"--since", "90m", "--filter", "false"}, "No events of shopify came in between"},
		"another connector":        {[]string{"--since", "90m", "--connector", "shop"}, "There are some of desk (1), shopify (2)."},
		"an order":                 {[]string{"--since", "90m", "--connector", "desk", "--filter", `order.id == "7"`}, "1 events ("},
		"dry all the same":         {[]string{"--since", "90m", "--yes", "--dry-run"}, "Nothing was done; add --yes"},
	} {
		if out := s.do(append([]string{"replay", "--connector", "shopify"}, c.arguments...)...); !strings.Contains(out, c.want) {
			t.Errorf("%s: it says\n%swant %q in it", name, out, c.want)
		}
	}
	var report struct {
		Events, Replayed int
		DryRun           bool
		Topics           []struct {
			Topic  string
			Events int
			Oldest time.Time
		}
	}
	out := s.do("replay", "--connector", "shopify", "--since", "2d", "-o", "json")
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Events != 3 || !report.DryRun || report.Replayed != 0 || len(report.Topics) != 2 ||
		report.Topics[0].Topic != "orders/create" || report.Topics[0].Events != 2 || !report.Topics[0].Oldest.Equal(replayed.Add(-26*time.Hour)) {
		t.Errorf("%v, as JSON it says\n%s", err, out)
	}
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"no connector":             {[]string{"--since", "1h", "--connector", ""}, "--connector is empty"},
		"no time":                  {[]string{"--since", "yesterday"}, `--since is "yesterday", it must be a span before now (90m, 36h, 3d), or a time`},
		"a time before the other":  {[]string{"--since", "1h", "--until", "2h"}, "is not before --until"},
		"no expression":            {[]string{"--since", "1h", "--filter", "topics"}, `--filter: line 1, column 1: "topics" is not known here; an expression about an event sees connector, topic`},
		"a filter that cannot say": {[]string{"--since", "2d", "--filter", `body.total > 5`, "--yes"}, "--filter cannot be decided for 3 of the events, such as orders/create"},
		"by nobody":                {[]string{"--since", "1h", "--by", " "}, "--by is empty"},
		"another format":           {[]string{"--since", "1h", "-o", "xml"}, "--output is"},
	} {
		if out, err := s.try(append([]string{"replay", "--connector", "shopify"}, c.arguments...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q\n%s", name, err, c.want, out)
		}
	}
	if _, again := s.captured(); len(again) != 0 {
		t.Errorf("%d events were put in again", len(again))
	}
}

// asReplay is a replay of the last hour that does not wait for long.
func (s *station) asReplay() (*replay, *cobra.Command) {
	s.t.Helper()
	r := &replay{connector: "shopify", yes: true, pace: defaultPace()}
	r.by, r.pace.patience = "kim", 300*time.Millisecond
	if err := r.complete("1h", "", "", time.Now()); err != nil {
		s.t.Fatal(err)
	}
	c := newReplay()
	c.SetContext(s.t.Context())
	c.SetErr(io.Discard)
	return r, c
}

// The next pack goes when the one before is settled: where nobody settles, one is what
// live events can come to wait behind. Run again it goes on.
func TestAReplayWaitsForTheLogicGate(t *testing.T) {
	s := newStation(t)
	const events = 100
	for i := range events {
		s.capture(0, shopEvent("orders/create", fmt.Sprint(i), 0, ""))
	}
	r, c := s.asReplay()
	report, err := r.run(c, s.bus)
	if err == nil || !strings.Contains(err.Error(), "0 of 100 are replayed; run it again to go on") || !strings.Contains(err.Error(), "is it running?") {
		t.Errorf("without a logic-gate: %v", err)
	}
	if _, again := s.captured(); report == nil || report.Replayed != 0 || len(again) != r.pace.events {
		t.Fatalf("without a logic-gate %d events were put in again, want %d", len(again), r.pace.events)
	}
	s.run("logic-gate")
	s.settled()
	r, c = s.asReplay()
	r.pace.patience = 30 * time.Second
	if report, err = r.run(c, s.bus); err != nil || report.Replayed != events {
		t.Errorf("%d are replayed: %v", report.Replayed, err)
	}
	s.settled()
	for i := range events {
		if !s.asked(fmt.Sprint(i)) || s.state(fmt.Sprint(i)).GetRevision() != 1 {
			t.Errorf("order %d is %v", i, s.state(fmt.Sprint(i)))
		}
	}
}

// Packs are bounded in bytes, whatever the events are like, and what was asked to stop
// stops.
func TestPacksOfAReplayAreBounded(t *testing.T) {
	s := newStation(t)
	s.run("logic-gate")
	large := strings.Repeat("x", 100<<10)
	for i := range 7 {
		s.capture(0, shopEvent("orders/create", fmt.Sprint(i), 0, large))
	}
	huge := shopEvent("orders/create", "9", 0, strings.Repeat("x", 1<<20-5<<10))
	s.capture(0, huge)
	s.settled()
	extent, err := s.bus.Extent(t.Context(), bus.IngestStream(0))
	if err != nil {
		t.Fatal(err)
	}
	r, c := s.asReplay()
	r.pace.patience = 30 * time.Second
	if report, err := r.run(c, s.bus); err != nil || report.Replayed != 8 {
		t.Fatalf("%+v: %v", report, err)
	}
	packs := 0
	for record, err := range s.bus.Read(t.Context(), bus.IngestStream(0), bus.IngestSubject(0), extent.Last+1) {
		pack := &eventv1.Pack{}
		if err == nil {
			err = proto.Unmarshal(record.Data, pack)
		}
		if err != nil || len(record.Data) > 512<<10 && len(pack.GetEvents()) != 1 {
			t.Errorf("a pack of %d events has %d bytes (%v)", len(pack.GetEvents()), len(record.Data), err)
		}
		packs++
	}
	if packs != 5 {
		t.Errorf("%d packs, want two large events in each and the huge one alone", packs)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	c.SetContext(ctx)
	if _, err := r.run(c, s.bus); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped, it ends with %v", err)
	}
}

// full stands for a store that is three quarters full.
type full struct{ records }

func (full) IngestRoom(context.Context, int) (bus.Room, error) {
	return bus.Room{Stored: 80, Store: 100}, nil
}

func TestAReplayLeavesRoomForLiveEvents(t *testing.T) {
	s := newStation(t)
	s.capture(0, shopEvent("orders/create", "1", 0, ""))
	r, c := s.asReplay()
	if report, err := r.run(c, full{s.bus}); !errors.Is(err, errNoRoom) || report.Replayed != 0 {
		t.Errorf("in a store that fills up: %v", err)
	}
	if _, again := s.captured(); len(again) != 0 {
		t.Errorf("%d events were put in again", len(again))
	}
}

// Nobody can read the events of a Connector that was removed: each would be held.
func TestAReplayOfARemovedConnectorIsRefused(t *testing.T) {
	s := newStation(t)
	s.run("logic-gate")
	gone := shopEvent("orders/create", "1", 0, "")
	gone.Connector = "gone"
	s.capture(0, gone)
	s.settled()
	before := s.written()
	out, err := s.try("replay", "--connector", "gone", "--since", "2h", "--yes")
	if err == nil || !strings.Contains(err.Error(), `Connector "gone" is not in the catalog any more`) || !strings.Contains(out, "0 of 1 events were put in again.") {
		t.Errorf("%v, and it says\n%s", err, out)
	}
	if _, again := s.captured(); len(again) != 0 || s.written() != before {
		t.Errorf("%d events were put in again", len(again))
	}
}

// Who waits is told how far it is, from two seconds on.
func TestTheProgressOfAReplay(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out, 200)
	p.at(10)
	if out.Len() != 0 {
		t.Errorf("at once it says %q", out.String())
	}
	p.began = p.began.Add(-30 * time.Second)
	p.at(50)
	p.at(51)
	p.end()
	if got := out.String(); got != "50 of 200 (25%), about 1m30s left\n" {
		t.Errorf("after 30 s it says %q", got)
	}
	out.Reset()
	p.terminal, p.wrote = true, time.Time{}
	p.at(100)
	p.end()
	if got := out.String(); got != "\r100 of 200 (50%), about 30s left\x1b[K\r\x1b[K" {
		t.Errorf("on a terminal it says %q", got)
	}
}

// The lines of the README do what it says.
func TestReplayAsTheREADMESays(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newStation(t)
	s.run("logic-gate")
	s.capture(0, shopEvent("orders/create", "1", 0, ""), shopEvent("orders/paid", "1", 1, ""))
	s.settled()
	var says []string
	for line := range strings.Lines(string(page)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "    #")
		arguments, ok := strings.CutPrefix(line, "bin/peppasync replay ")
		if !ok {
			continue
		}
		arguments, ok = strings.CutSuffix(arguments, " --nats nats://127.0.0.1:4222")
		if !ok {
			t.Fatalf("no --nats: %s", line)
		}
		words := []string{"replay"}
		if head, filter, quoted := strings.Cut(arguments, "--filter '"); quoted {
			filter, tail, _ := strings.Cut(filter, "'")
			words = append(append(words, strings.Fields(head)...), append([]string{"--filter", filter}, strings.Fields(tail)...)...)
		} else {
			words = append(words, strings.Fields(arguments)...)
		}
		says = append(says, s.do(words...))
	}
	if len(says) != 3 || !strings.Contains(says[0], "2 events (") || !strings.Contains(says[1], "2 events were put in again") || !strings.Contains(says[2], "1 more of shopify are left out") {
		t.Errorf("they say %q", says)
	}
}
