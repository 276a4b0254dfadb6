package bychange_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/connectors/bychange"
	"github.com/peppasync/peppasync/services/connectors/listing"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestAPageBeginsWhereTheOneBeforeSays(t *testing.T) {
	first, err := bychange.At(listing.Orders{Since: noon.Add(300 * time.Millisecond).In(time.FixedZone("", -5*3600))})
	if diff := cmp.Diff(bychange.Cursor{Second: noon}, first); diff != "" || err != nil {
		t.Errorf("the first page, error %v (-want +got):\n%s", err, diff)
	}
	for page, want := range map[string]bychange.Cursor{
		"2026-11-23T12:00:07":     first.After(noon.Add(7900 * time.Millisecond)),
		"2026-11-23T12:00:00/0":   first.After(noon.Add(900 * time.Millisecond)),
		"2026-11-23T12:00:00/512": first.From(512),
		"2026-11-23T12:00:01":     first.From(512).Later(),
	} {
		at, err := bychange.At(listing.Orders{Since: noon, Page: page})
		if diff := cmp.Diff(want, at); diff != "" || err != nil {
			t.Errorf("page %s, error %v (-want +got):\n%s", page, err, diff)
		}
		if at.String() != page {
			t.Errorf("page %s is written %s", page, at)
		}
	}
}

func TestWhatNoPageHasNamedIsRefused(t *testing.T) {
	for _, page := range []string{"2", "2026-11-23T12:00:00/", "2026-11-23T12:00:00/-1", "2026-11-23T12:00:00/x", "2026-11-23/1", "/1"} {
		if at, err := bychange.At(listing.Orders{Since: noon, Page: page}); err == nil || !strings.Contains(err.Error(), page) {
			t.Errorf("page %q: %s, error %v", page, at, err)
		}
	}
}

func FuzzAt(f *testing.F) {
	f.Add("2026-11-23T12:00:00")
	f.Add("2026-11-23T12:00:00/512")
	f.Fuzz(func(t *testing.T, page string) {
		at, err := bychange.At(listing.Orders{Since: noon, Page: page})
		if err != nil {
			return
		}
		if again, err := bychange.At(listing.Orders{Since: noon, Page: at.String()}); err != nil || !again.Second.Equal(at.Second.Truncate(time.Second)) || again.Within != at.Within {
			t.Errorf("%q is read as %+v, and what is written of it as %+v, error %v", page, at, again, err)
		}
	})
}
