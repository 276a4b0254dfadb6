package webhook

import (
	"bytes"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/keep"
	"github.com/peppasync/peppasync/services/ingest/internal/recent"
	"github.com/peppasync/peppasync/services/internal/notice"
)

// several tells one event for each line of a body, and nothing for an empty one. It cannot
// read what is bad.
type several struct{ connectors.Source }

func (several) Verify(d connectors.Delivery) ([]connectors.Event, error) {
	var events []connectors.Event
	for line := range bytes.Lines(d.Body) {
		body := bytes.TrimSpace(line)
		event := connectors.Event{Topic: "orders/create", ID: "event-" + string(body[:min(20, len(body))]), Body: body}
		if bytes.Contains(body, []byte("bad")) {
			event.Malformed = strings.Repeat("ä", maxWhy)
		}
		events = append(events, event)
	}
	return events, nil
}

func TestADeliveryOfSeveralEvents(t *testing.T) {
	start := func(t *testing.T) (*Handler, *disk) {
		t.Helper()
		d := new(disk)
		h := handler(d)
		h.config.Sources = map[string]connectors.Source{string(v1alpha1.SystemShopify): several{}}
		return h, d
	}
	send := func(h *Handler, body string) string {
		status, kind := serve(h, delivery(t.Context(), "", []byte(body)))
		return strings.TrimSpace(strconv.Itoa(status) + " " + kind)
	}
	t.Run("each is kept, and known when it comes again", func(t *testing.T) {
		h, d := start(t)
		if got := send(h, "1\n2\n2\n3\n"); got != "200" || len(d.stored(t)) != 3 || h.counted() != (counts{Stored: 3, Duplicates: 1}) {
			t.Errorf("answered %s, kept %d, %+v", got, len(d.stored(t)), h.counted())
		}
		if !slices.Equal(d.packs, []int{3}) {
			t.Errorf("stored %v at once, want the three that differ, together", d.packs)
		}
		if got := send(h, "3\n4\n"); got != "200" || len(d.stored(t)) != 4 {
			t.Errorf("answered %s, kept %d", got, len(d.stored(t)))
		}
	})
	t.Run("none", func(t *testing.T) {
		h, d := start(t)
		if got := send(h, ""); got != "200" || len(d.stored(t)) != 0 {
			t.Errorf("answered %s, kept %d", got, len(d.stored(t)))
		}
	})
	t.Run("one that cannot be stored now is asked for again with the others", func(t *testing.T) {
		h, d := start(t)
		d.refuse = "event-2"
		if got := send(h, "1\n2\n3\n"); got != "503 not-stored" || len(d.stored(t)) != 0 {
			t.Errorf("answered %s, kept %d", got, len(d.stored(t)))
		}
		d.refuse = ""
		if got := send(h, "1\n2\n3\n"); got != "200" || len(d.stored(t)) != 3 {
			t.Errorf("then answered %s, kept %d", got, len(d.stored(t)))
		}
	})
	t.Run("one that is no JSON, and more than are taken", func(t *testing.T) {
		h, d := start(t)
		if got := send(h, "1\nx\n"); got != "400 not-json" || len(d.stored(t)) != 0 {
			t.Errorf("answered %s, kept %d", got, len(d.stored(t)))
		}
		if got := send(h, strings.Repeat("1\n", 101)); got != "413 too-many" || len(d.stored(t)) != 0 {
			t.Errorf("answered %s, kept %d", got, len(d.stored(t)))
		}
	})
	t.Run("they are stored in their order, and where one is too large, the others", func(t *testing.T) {
		h, d := start(t)
		large := `"` + strings.Repeat("x", 30_000) + `"`
		h.config.Keeper = keep.New(keep.Config{
			Connectors: h.config.Keeper.Connectors, Committer: d, Recent: recent.New(1000, time.Hour), Memory: keep.NewMemory(memory),
			Notices: notice.New(slog.New(slog.DiscardHandler), time.Second), MaxRequests: 100, MaxEventBytes: 10_000,
		})
		half := func(i int) string { return `"` + strconv.Itoa(i) + strings.Repeat("x", 4_000) + `"` }
		if got := send(h, half(1)+"\n"+half(2)+"\n"+large+"\n"+half(3)+"\n"+half(4)+"\n"+half(5)+"\n"); got != "413 too-large" {
			t.Errorf("answered %s", got)
		}
		var order strings.Builder
		for _, e := range d.stored(t) {
			order.WriteByte(e.GetBody()[1])
		}
		if order.String() != "12345" || !slices.Equal(d.packs, []int{2, 2, 1}) {
			t.Errorf("stored %s in packs of %v, want 12345 in as few as hold them", order.String(), d.packs)
		}
		atRest(t, h)
	})
	t.Run("one behind what has no room now is not stored ahead of it", func(t *testing.T) {
		h, d := start(t)
		h.config.Keeper = keep.New(keep.Config{
			Connectors: h.config.Keeper.Connectors, Committer: d, Recent: recent.New(1000, time.Hour), Memory: keep.NewMemory(50_000),
			Notices: notice.New(slog.New(slog.DiscardHandler), time.Second), MaxRequests: 100, MaxEventBytes: 1 << 20,
		})
		large := `"` + strings.Repeat("x", 30_000) + `"` // its event needs twice that, beside the body
		if got := send(h, "1\n"+large+"\n3\n"); got != "503 overloaded" || len(d.stored(t)) != 1 {
			t.Errorf("answered %s, kept %d, want the one in front", got, len(d.stored(t)))
		}
	})
	t.Run("two of the same events the other way round do not wait for each other", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, begun, outcome := held()
			h := handler(d)
			h.config.Sources = map[string]connectors.Source{string(v1alpha1.SystemShopify): several{}}
			statuses := make(chan string, 3)
			for _, body := range []string{"1\n2\n", "2\n3\n", "3\n1\n"} {
				go func() { statuses <- send(h, body) }()
				synctest.Wait()
			}
			for range 2 {
				<-begun
				outcome <- nil
			}
			for range 3 {
				if got := <-statuses; got != "200" {
					t.Errorf("answered %s", got)
				}
			}
			if len(d.stored(t)) != 3 {
				t.Errorf("kept %d, want 3", len(d.stored(t)))
			}
		})
	})
	t.Run("one that cannot be read is kept with why", func(t *testing.T) {
		h, d := start(t)
		if got := send(h, "1\n\"bad\"\n3\n"); got != "200" || len(d.stored(t)) != 3 {
			t.Fatalf("answered %s, kept %d", got, len(d.stored(t)))
		}
		for i, e := range d.stored(t) {
			if why := e.GetMalformed(); (why != "") != (i == 1) || len(why) > maxWhy+len("…") {
				t.Errorf("event %d: %.100s (%d bytes)", i, why, len(why))
			}
		}
	})
	t.Run("memory is given back", func(t *testing.T) {
		h, _ := start(t)
		before := h.config.Keeper.Memory().Left()
		send(h, "1\n2\n3\n")
		if left := h.config.Keeper.Memory().Left(); left != before {
			t.Errorf("%d bytes of %d are left", left, before)
		}
	})
}
