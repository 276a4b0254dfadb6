package logicgate

import (
	"testing"

	"github.com/peppasync/peppasync/services/internal/bus"
)

func TestWhenEventsHaveToGoEarly(t *testing.T) {
	for name, c := range map[string]struct {
		stored, store int64
		stream        bus.StreamRoom
		full          bool
		keep          int64
		tooMuch       bool
	}{
		"there is room":                       {400, 1000, bus.StreamRoom{Bytes: 200, Most: 333}, false, 0, false},
		"the stream is at its bound":          {400, 1000, bus.StreamRoom{Bytes: 300, Most: 333}, false, 166, true},
		"half of the store is taken":          {600, 1000, bus.StreamRoom{Bytes: 20, Most: 333}, false, 0, true},
		"nothing to remove":                   {600, 1000, bus.StreamRoom{Most: 333}, false, 0, false},
		"the store is not known":              {600, 0, bus.StreamRoom{Bytes: 600}, false, 0, false},
		"the store is not known, but is full": {600, 0, bus.StreamRoom{Bytes: 600}, true, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			keep, tooMuch := excess(bus.Room{Stored: c.stored, Store: c.store}, c.stream, c.full)
			if keep != c.keep || tooMuch != c.tooMuch {
				t.Errorf("keep %d, too much %v; want %d, %v", keep, tooMuch, c.keep, c.tooMuch)
			}
		})
	}
}
