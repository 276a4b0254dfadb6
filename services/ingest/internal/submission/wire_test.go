package submission_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/submission"
	limits "github.com/peppasync/peppasync/services/internal/order"
)

func request(t testing.TB, o *orderv1.Order) []byte {
	t.Helper()
	data, err := proto.Marshal(&ingestv1.SubmitRequest{Submission: &ingestv1.Submission{
		Connector: "feed", Topic: "orders/create", EventId: "e1", Content: &ingestv1.Submission_Order{Order: o},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// An order of too many parts, of whatever kind they are, is refused as it would be if it
// had been read, with the same words, in a fraction of the memory.
func TestAMessageOfTooManyPartsIsRefusedUnread(t *testing.T) {
	const most = limits.MaxParts
	lines := func(n int) []*orderv1.Line {
		all := make([]*orderv1.Line, n)
		for i := range all {
			all[i] = &orderv1.Line{}
		}
		return all
	}
	properties := make(map[string]string)
	for i := range most {
		properties[strings.Repeat("x", i%200)+string(rune('a'+i%26))+string(rune(0x100+i))] = ""
	}
	for name, test := range map[string]struct {
		order *orderv1.Order
		full  bool
	}{
		"as many as there may be": {&orderv1.Order{Id: "1", Lines: lines(most - 1), Tags: []string{"a"}}, false},
		"lines":                   {&orderv1.Order{Id: "1", Lines: lines(most + 1)}, true},
		"tags":                    {&orderv1.Order{Id: "1", Tags: make([]string, most+1)}, true},
		"shipping lines":          {&orderv1.Order{Id: "1", Tags: make([]string, most), ShippingLines: []*orderv1.ShippingLine{{}}}, true},
		"attributes":              {&orderv1.Order{Id: "1", Lines: lines(most), Attributes: map[string]string{"a": "b"}}, true},
		"properties of a line":    {&orderv1.Order{Id: "1", Lines: []*orderv1.Line{{Properties: properties}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			data := request(t, test.order)
			got, full := submission.ReadFull(data)
			if full != test.full {
				t.Fatalf("full is %v, want %v", full, test.full)
			}
			if !full {
				return
			}
			if got.GetConnector() != "feed" || got.GetTopic() != "orders/create" || got.GetEventId() != "e1" {
				t.Errorf("read %q, %q, %q", got.GetConnector(), got.GetTopic(), got.GetEventId())
			}
			var whole ingestv1.SubmitRequest
			if err := proto.Unmarshal(data, &whole); err != nil {
				t.Fatal(err)
			}
			want := submission.Check(whole.GetSubmission())
			if got := submission.Check(got); len(want) != 1 || !slices.EqualFunc(got, want, func(a, b *ingestv1.Violation) bool { return proto.Equal(a, b) }) {
				t.Errorf("refused with %v, want %v", got, want)
			}
		})
	}
}

// Whatever the bytes are: what is read without its parts is refused, and what has too many
// of them is never read.
func FuzzReadFull(f *testing.F) {
	f.Add(request(f, &orderv1.Order{Id: "1", Tags: []string{"a"}, Lines: []*orderv1.Line{{Properties: map[string]string{"a": "b"}}}}))
	f.Add(request(f, &orderv1.Order{Id: "1", Tags: make([]string, limits.MaxParts+1)}))
	f.Add([]byte("\x0a\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, full := submission.ReadFull(data)
		if full {
			if len(submission.Check(got)) == 0 {
				t.Fatal("an order that was not read is taken")
			}
			return
		}
		var whole ingestv1.SubmitRequest
		if proto.Unmarshal(data, &whole) == nil && limits.CheckParts(whole.GetSubmission().GetOrder()) != nil {
			t.Fatal("an order of too many parts is read")
		}
	})
}
