package ingest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// A batch reaches the stream in its order, whatever else comes in at the same time and
// however many streams there are; what is no event in it goes along, and says why.
func TestABatchIsStoredInItsOrder(t *testing.T) {
	s := snapshot()
	platform := *s.Connectors["shop"]
	platform.Name, platform.Spec.System = "platform", v1alpha1.SystemCloudEvents
	platform.SetDefaults()
	s.Connectors["platform"] = &platform
	f := startWith(t, bustest.Start(t), catalog.NewStore(s), nil).ready(t)
	const senders, batches, size, bad = 6, 15, 24, 5
	var group sync.WaitGroup
	for sender := range senders {
		group.Go(func() {
			for batch := range batches {
				entries := make([]string, size)
				for i := range entries {
					entries[i] = fmt.Sprintf(`{"specversion":"1.0","id":"%d.%d.%d","source":"s","type":"order"}`, sender, batch, i)
				}
				entries[bad] = fmt.Sprintf(`{"no event":"%d.%d"}`, sender, batch)
				got, err := f.send(f.request(t, "", []byte("["+strings.Join(entries, ",")+"]"), func(r *http.Request) {
					r.URL.Path = "/v1/webhooks/platform"
					r.Header.Set("Content-Type", "application/cloudevents-batch+json")
					r.Header.Set("Authorization", "Bearer "+secret)
				}))
				if err != nil || got.status != http.StatusOK {
					t.Errorf("answer %+v, error %v", got, err)
				}
			}
		})
		group.Go(func() {
			for i := range 5 * batches {
				if got, err := f.send(f.request(t, fmt.Sprint(sender, "-", i), order(i), nil)); err != nil || got.status != http.StatusOK {
					t.Errorf("answer %+v, error %v", got, err)
				}
			}
		})
	}
	group.Wait()
	events := stored(t, f.bus)
	if want := senders * batches * (size + 5); len(events) != want {
		t.Fatalf("%d events are stored, want %d", len(events), want)
	}
	for at := 0; at < len(events); {
		e := events[at]
		if e.GetConnector() == "shop" {
			at++
			continue
		}
		batch, first := strings.CutSuffix(e.GetId(), ".0")
		if !first || at+size > len(events) {
			t.Fatalf("at %d a batch begins with %s", at, e.GetId())
		}
		for i := range size {
			e := events[at+i]
			if i == bad {
				if !strings.HasPrefix(e.GetMalformed(), "event [5] of a batch of 24: ") || !strings.HasPrefix(string(e.GetBody()), `{"no event"`) {
					t.Fatalf("in the place of the bad one: %v", e)
				}
			} else if want := fmt.Sprintf("%s.%d", batch, i); e.GetId() != want || e.GetMalformed() != "" {
				t.Fatalf("%s is stored in the place of %s", e.GetId(), want)
			}
		}
		at += size
	}
}
