package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

// Buffers go from one request to the next: whatever is on its way at the same time, in
// whatever pieces, each is stored as it came.
func TestBodiesAreKeptAsTheyCame(t *testing.T) {
	d := new(disk)
	h := handler(d)
	bodies := map[string]string{}
	for _, size := range []int{2, 100, 1022, 1023, 1024, 1025, 2047, 2048, 2049, 4096, 4097, 10_000, 32 << 10, maxBody - 1, maxBody} {
		for i := range 4 {
			id := fmt.Sprintf("%d-%d", size, i)
			bodies[id] = `"` + strings.Repeat(string(rune('a'+len(bodies)%26)), size-2) + `"`
		}
	}
	var group sync.WaitGroup
	limit := make(chan struct{}, 8) // what there is memory for
	for id, body := range bodies {
		group.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			r := delivery(t.Context(), id, []byte(body))
			var pieces io.Reader = strings.NewReader(body)
			switch len(id) % 3 {
			case 0:
				pieces = iotest.HalfReader(pieces)
			case 1:
				pieces = iotest.DataErrReader(pieces)
			}
			if len(body)%2 == 0 {
				r.ContentLength = -1
			}
			r.Body = io.NopCloser(pieces)
			if status, kind := serve(h, r); status != http.StatusOK {
				t.Errorf("%s: status %d, %s", id, status, kind)
			}
		})
	}
	group.Wait()
	if left := h.config.Keeper.Memory().Left(); left != memory {
		t.Errorf("%d of %d bytes are free when all has ended", left, memory)
	}
	stored := d.stored(t)
	for _, e := range stored {
		if string(e.GetBody()) != bodies[e.GetId()] {
			t.Errorf("%s is stored as %.20q..., it came as %.20q...", e.GetId(), e.GetBody(), bodies[e.GetId()])
		}
	}
	if len(stored) != len(bodies) {
		t.Errorf("%d of %d are stored", len(stored), len(bodies))
	}
}

// late goes on to read what it gave up, as a writer does that is still at it.
type late struct{ given [][]byte }

func (l *late) Commit(_ time.Time, events ...[]byte) error {
	l.given = append(l.given, events...)
	return errors.New("no answer in time")
}

func TestAnEventThatIsStillBeingWrittenIsLeftAlone(t *testing.T) {
	l := new(late)
	h := handler(l)
	var want [][]byte
	for i := range 20 {
		body := []byte(`"` + strings.Repeat(string(rune('a'+i)), 3000) + `"`)
		if status, _ := serve(h, delivery(t.Context(), fmt.Sprint("w", i), body)); status != http.StatusServiceUnavailable {
			t.Fatalf("status %d", status)
		}
		want = append(want, bytes.Clone(l.given[i]))
	}
	for i := range want {
		if !bytes.Equal(l.given[i], want[i]) {
			t.Errorf("event %d was overwritten by a later one", i)
		}
	}
}
