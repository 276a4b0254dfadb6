package bychange_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
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

func TestWhatIsTakenOfAPage(t *testing.T) {
	entry := func(id string, second, size int) bychange.Entry {
		order := &orderv1.Order{Id: id, Note: strings.Repeat("x", size)}
		return bychange.Entry{ID: id, ChangedAt: noon.Add(time.Duration(second) * time.Second), Order: order}
	}
	odd := bychange.Entry{ID: "9", ChangedAt: noon.Add(time.Minute)}
	const most = listing.MaxValueBytes
	type want struct {
		Orders, Partial string
		Count, Last     int
		Cut, Nameless   bool
	}
	for name, test := range map[string]struct {
		entries []bychange.Entry
		whole   bool
		want    want
	}{
		"nothing":                                   {nil, false, want{}},
		"all":                                       {[]bychange.Entry{entry("1", 1, 0), entry("2", 2, 0)}, false, want{Orders: "1 2", Count: 2, Last: 2}},
		"what cannot be read, in part":              {[]bychange.Entry{entry("1", 1, 0), odd}, false, want{Orders: "1", Partial: "9", Count: 2, Last: 60}},
		"what nobody has ordered, not at all":       {[]bychange.Entry{entry("1", 1, 0), {ID: "2", ChangedAt: noon.Add(2 * time.Second), None: true}}, false, want{Orders: "1", Count: 2, Last: 2}},
		"what fits":                                 {[]bychange.Entry{entry("1", 1, most/2), entry("2", 2, most/2), entry("3", 3, 0)}, false, want{Orders: "1", Count: 1, Last: 1, Cut: true}},
		"what fits, the others in part":             {[]bychange.Entry{entry("1", 1, most/2), entry("2", 2, most/2), entry("3", 3, 0)}, true, want{Orders: "1 3", Partial: "2", Count: 3, Last: 3}},
		"in part what is larger than an answer":     {[]bychange.Entry{entry("1", 1, most), entry("2", 2, 0)}, false, want{Orders: "2", Partial: "1", Count: 2, Last: 2}},
		"the newest change, wherever it stands":     {[]bychange.Entry{entry("1", 5, 0), entry("2", 2, 0)}, false, want{Orders: "1 2", Count: 2, Last: 5}},
		"something without a name, which is no one": {[]bychange.Entry{{}}, false, want{Count: 1, Nameless: true, Partial: ""}},
	} {
		t.Run(name, func(t *testing.T) {
			taken := bychange.Take(test.entries, test.whole)
			got := want{Count: taken.Count, Cut: taken.Cut, Nameless: taken.Nameless}
			if !taken.Last.IsZero() {
				got.Last = int(taken.Last.Sub(noon) / time.Second)
			}
			var orders, partial []string
			for _, order := range taken.Page.Orders {
				orders = append(orders, order.GetId())
			}
			for _, order := range taken.Page.Partial {
				partial = append(partial, order.ID)
			}
			got.Orders, got.Partial = strings.Join(orders, " "), strings.Join(partial, " ")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
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
