package submission_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/submission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// order is a submission in order, changed by edit.
func order(edit func(*orderv1.Order)) *ingestv1.Submission {
	o := &orderv1.Order{
		Id: "A-1", Source: "shop", Currency: "EUR", Total: "-0.50", FinancialStatus: "paid", UpdatedAt: &timestamppb.Timestamp{Seconds: 1},
		ShippingAddress: &orderv1.Address{CountryCode: "DE"}, Lines: []*orderv1.Line{{Quantity: 2, UnitPrice: "3"}},
	}
	edit(o)
	return &ingestv1.Submission{Connector: "shop", Topic: "orders/create", Content: &ingestv1.Submission_Order{Order: o}}
}

func TestCheck(t *testing.T) {
	body := func(b string) *ingestv1.Submission {
		return &ingestv1.Submission{Topic: "t", Content: &ingestv1.Submission_Body{Body: []byte(b)}}
	}
	for name, test := range map[string]struct {
		submission *ingestv1.Submission
		want       []string
	}{
		"an order that is in order": {order(func(*orderv1.Order) {}), nil},
		"the barest order":          {order(func(o *orderv1.Order) { proto.Reset(o); o.Id = "1" }), nil},
		"a body":                    {body("{}"), nil},
		"nothing":                   {nil, []string{"topic", "order"}},
		"an empty body":             {body(""), []string{"body"}},
		"too long": {&ingestv1.Submission{Topic: strings.Repeat("t", 256), EventId: strings.Repeat("e", 129), Content: &ingestv1.Submission_Body{Body: []byte("x")}},
			[]string{"topic", "event_id"}},
		"an order without an id":       {order(func(o *orderv1.Order) { o.Id = "" }), []string{"order.id"}},
		"an order with a long id":      {order(func(o *orderv1.Order) { o.Id = strings.Repeat("1", 129) }), []string{"order.id"}},
		"an order of somebody else":    {order(func(o *orderv1.Order) { o.Source = "another" }), []string{"order.source"}},
		"a time that is none":          {order(func(o *orderv1.Order) { o.UpdatedAt.Nanos = -1 }), []string{"order.updated_at"}},
		"a currency that is none":      {order(func(o *orderv1.Order) { o.Currency = "usd" }), []string{"order.currency"}},
		"money with a comma":           {order(func(o *orderv1.Order) { o.Total, o.TotalTax = "1,50", "1e3" }), []string{"order.total", "order.total_tax"}},
		"money without digits":         {order(func(o *orderv1.Order) { o.Total, o.Subtotal, o.Outstanding = ".5", "5.", "--1" }), []string{"order.total", "order.subtotal", "order.outstanding"}},
		"a status that nobody knows":   {order(func(o *orderv1.Order) { o.FinancialStatus, o.FulfillmentStatus = "Paid", "done" }), []string{"order.financial_status", "order.fulfillment_status"}},
		"a country by its name":        {order(func(o *orderv1.Order) { o.ShippingAddress.CountryCode = "Germany" }), []string{"order.shipping_address.country_code"}},
		"a line that takes things off": {order(func(o *orderv1.Order) { o.Lines[0].Quantity = -1; o.Lines[0].UnitPrice = "x" }), []string{"order.lines[0].quantity", "order.lines[0].unit_price"}},
		"a price of shipping":          {order(func(o *orderv1.Order) { o.ShippingLines = []*orderv1.ShippingLine{{Price: "free"}} }), []string{"order.shipping_lines[0].price"}},
		"as many parts as there may be": {order(func(o *orderv1.Order) {
			o.Tags, o.Lines[0].Properties = make([]string, 19_998), map[string]string{"engraving": "x"}
		}), nil},
		"a part too many": {order(func(o *orderv1.Order) {
			o.Tags, o.Lines[0].Properties = make([]string, 19_999), map[string]string{"engraving": "x"}
		}), []string{"order"}},
		"lines without end": {order(func(o *orderv1.Order) { o.Lines = append(o.Lines, make([]*orderv1.Line, 20_000)...) }), []string{"order"}},
	} {
		t.Run(name, func(t *testing.T) {
			var fields []string
			for _, v := range submission.Check(test.submission) {
				fields = append(fields, v.GetField())
				if v.GetDescription() == "" {
					t.Errorf("%s has no description", v.GetField())
				}
			}
			if diff := cmp.Diff(test.want, fields); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// One mistake that is made many times, and a value without end, fill no answer.
func TestWhatIsToldIsBounded(t *testing.T) {
	found := submission.Check(order(func(o *orderv1.Order) {
		for range 1000 {
			o.Lines = append(o.Lines, &orderv1.Line{UnitPrice: strings.Repeat("ä", 10_000)})
		}
	}))
	if len(found) != 16 {
		t.Errorf("%d violations, want 16", len(found))
	}
	if text := found[0].GetDescription(); len(text) > 200 || !strings.Contains(text, "ä") {
		t.Errorf("description %q", text)
	}
}

func FuzzCheck(f *testing.F) {
	valid, err := proto.Marshal(order(func(*orderv1.Order) {}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(valid)
	f.Add([]byte("\x22\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &ingestv1.Submission{}
		if proto.Unmarshal(data, s) != nil {
			return
		}
		found := submission.Check(s)
		if len(found) == 0 && s.GetOrder() != nil && (s.GetOrder().GetId() == "" || len(s.GetOrder().GetId()) > submission.MaxID) {
			t.Fatal("an order got through that the logic-gate cannot name")
		}
	})
}
