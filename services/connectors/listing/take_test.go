package listing_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors/listing"
)

func TestWhatIsTakenOfAPage(t *testing.T) {
	entry := func(id string, second, size int) listing.Entry {
		order := &orderv1.Order{Id: id, Note: strings.Repeat("x", size)}
		return listing.Entry{ID: id, ChangedAt: at.Add(time.Duration(second) * time.Second), Order: order}
	}
	odd := listing.Entry{ID: "9", ChangedAt: at.Add(time.Minute)}
	const most = listing.MaxValueBytes
	type want struct {
		Orders, Partial string
		Count, Last     int
		Cut, Nameless   bool
	}
	for name, test := range map[string]struct {
		entries []listing.Entry
		whole   bool
		want    want
	}{
		"nothing":                                   {nil, false, want{}},
		"all":                                       {[]listing.Entry{entry("1", 1, 0), entry("2", 2, 0)}, false, want{Orders: "1 2", Count: 2, Last: 2}},
		"what cannot be read, in part":              {[]listing.Entry{entry("1", 1, 0), odd}, false, want{Orders: "1", Partial: "9", Count: 2, Last: 60}},
		"what nobody has ordered, not at all":       {[]listing.Entry{entry("1", 1, 0), {ID: "2", ChangedAt: at.Add(2 * time.Second), None: true}}, false, want{Orders: "1", Count: 2, Last: 2}},
		"what fits":                                 {[]listing.Entry{entry("1", 1, most/2), entry("2", 2, most/2), entry("3", 3, 0)}, false, want{Orders: "1", Count: 1, Last: 1, Cut: true}},
		"what fits, the others in part":             {[]listing.Entry{entry("1", 1, most/2), entry("2", 2, most/2), entry("3", 3, 0)}, true, want{Orders: "1 3", Partial: "2", Count: 3, Last: 3}},
		"in part what is larger than an answer":     {[]listing.Entry{entry("1", 1, most), entry("2", 2, 0)}, false, want{Orders: "2", Partial: "1", Count: 2, Last: 2}},
		"an order that says no time of its change":  {[]listing.Entry{{ID: "1", Order: &orderv1.Order{Id: "1", UpdatedAt: timestamppb.New(at.Add(7 * time.Second))}}}, false, want{Orders: "1", Count: 1, Last: 7}},
		"the newest change, wherever it stands":     {[]listing.Entry{entry("1", 5, 0), entry("2", 2, 0)}, false, want{Orders: "1 2", Count: 2, Last: 5}},
		"something without a name, which is no one": {[]listing.Entry{{}}, false, want{Count: 1, Nameless: true, Partial: ""}},
	} {
		t.Run(name, func(t *testing.T) {
			taken := listing.Take(test.entries, test.whole)
			got := want{Count: taken.Count, Cut: taken.Cut, Nameless: taken.Nameless}
			if !taken.Last.IsZero() {
				got.Last = int(taken.Last.Sub(at) / time.Second)
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
