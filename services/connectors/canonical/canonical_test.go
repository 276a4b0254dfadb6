package canonical_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/canonical"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func spec(webhook v1alpha1.Webhook) *v1alpha1.ConnectorSpec {
	return &v1alpha1.ConnectorSpec{System: v1alpha1.SystemHTTP, Webhook: &webhook}
}

var whole = &orderv1.Order{
	Id: "9007199254740993", Name: "#1001",
	CreatedAt:   timestamppb.New(time.Date(2026, 11, 23, 14, 30, 0, 0, time.UTC)),
	UpdatedAt:   timestamppb.New(time.Date(2026, 11, 23, 14, 30, 1, 500_000_000, time.UTC)),
	CancelledAt: timestamppb.New(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)),
	Currency:    "USD", Total: "398.00", Subtotal: "390.10", TotalTax: "7.90", Outstanding: "-0.50",
	FinancialStatus: "paid", FulfillmentStatus: "partial",
	Customer:        &orderv1.Customer{Id: "7", Email: "ann@example.com", Phone: "15551234", FirstName: "Ann", LastName: "Lee"},
	ShippingAddress: &orderv1.Address{Name: "Ann Lee", Address1: "1 Main St", City: "Ottawa", ProvinceCode: "ON", PostalCode: "K1A 0B1", CountryCode: "CA"},
	BillingAddress:  &orderv1.Address{Company: "Lee & Co <Ltd>"},
	Lines: []*orderv1.Line{
		{Id: "1", Sku: "DESK-1", Title: "Desk", Quantity: 2, UnitPrice: "199.00", VariantId: "80", RequiresShipping: true, Properties: map[string]string{"engraving": "Bo"}},
		{Id: "2", Quantity: 0},
	},
	Tags: []string{"vip", "wholesale"}, Note: "Ring twice", Attributes: map[string]string{"campaign": "bf"}, Channel: "web", Test: true,
	ShippingLines: []*orderv1.ShippingLine{{Code: "EXP", Title: "Express", Price: "9.95"}},
}

// What a program writes with the library of its language is read back to the last field,
// by either spelling of the names.
func TestTheJSONFormOfTheProtoIsRead(t *testing.T) {
	for name, options := range map[string]protojson.MarshalOptions{
		"by JSON names":   {},
		"by proto names":  {UseProtoNames: true},
		"with all fields": {EmitUnpopulated: true},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := options.Marshal(whole)
			if err != nil {
				t.Fatal(err)
			}
			got, err := canonical.New().Order(spec(v1alpha1.Webhook{}), "order", body, "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(whole, got, protocmp.Transform()); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNumbersAreReadAsTheyAreWritten(t *testing.T) {
	tests := map[string]struct{ written, want string }{
		"an id of 19 digits":                 {`9007199254740993123`, "9007199254740993123"},
		"zeros at its end":                   {`19.90`, "19.90"},
		"what a double would lose":           {`12345678901234567890`, "12345678901234567890"},
		"a double's noise":                   {`19.899999999999999`, "19.9"},
		"another double's noise":             {`0.30000000000000004`, "0.3"},
		"an exponent":                        {`1E+2`, "100"},
		"an exponent with a point":           {`1.250e1`, "12.50"},
		"a negative exponent":                {`-1995e-2`, "-19.95"},
		"a negative exponent beyond its end": {`5e-3`, "0.005"},
		"a text":                             {`"12345678901234567.89"`, "12345678901234567.89"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			body := `{"id":1,"updatedAt":"2026-11-23T09:30:00Z","total":` + test.written + `}`
			got, err := canonical.New().Order(spec(v1alpha1.Webhook{}), "order", []byte(body), "")
			if err != nil || got.GetTotal() != test.want {
				t.Errorf("%s is %q, error %v; want %q", test.written, got.GetTotal(), err, test.want)
			}
		})
	}
}

func TestWhatIsWrongIsNamedWithItsField(t *testing.T) {
	const head = `"id":"1","updated_at":"2026-11-23T09:30:00Z"`
	tests := map[string]struct{ body, says string }{
		"no id":                        {`{"updated_at":"2026-11-23T09:30:00Z"}`, "id is missing or empty"},
		"an id that is empty":          {`{"id":"","updated_at":"2026-11-23T09:30:00Z"}`, "id is missing or empty"},
		"no time":                      {`{"id":"1"}`, "updated_at is missing"},
		"a time that is none":          {`{"id":"1","updated_at":"yesterday"}`, `updated_at: found the text "yesterday", expected a time such as "2026-11-23T09:30:00-05:00"`},
		"a time in seconds":            {`{"id":"1","updated_at":1795426200}`, "updated_at: found the number 1795426200, expected a time"},
		"a time out of reach":          {`{"id":"1","updated_at":"0001-01-01T00:00:00+05:00"}`, "updated_at: found the text"},
		"a quantity with a fraction":   {`{` + head + `,"lines":[{"quantity":1.5}]}`, "lines[0].quantity: found the number 1.5, expected a whole number"},
		"a quantity that is no number": {`{` + head + `,"lines":[{},{"quantity":"two"}]}`, `lines[1].quantity: found the text "two", expected a whole number`},
		"a quantity below zero":        {`{` + head + `,"lines":[{"quantity":-1}]}`, "lines[0].quantity: found -1, expected a whole number from 0"},
		"a quantity beyond all":        {`{` + head + `,"lines":[{"quantity":1000000001}]}`, "lines[0].quantity: found 1000000001"},
		"lines that are no list":       {`{` + head + `,"lines":{"quantity":1}}`, "lines: found an object, expected a list"},
		"a line that is no object":     {`{` + head + `,"lines":[5]}`, "lines[0]: found the number 5, expected an object"},
		"a line that is null":          {`{` + head + `,"lines":[null]}`, "lines[0]: found nothing, expected an object"},
		"an amount in words":           {`{` + head + `,"total":"1,234.50"}`, `total: found the text "1,234.50", expected an amount such as "19.90"`},
		"an amount with its sign":      {`{` + head + `,"lines":[{"unitPrice":"$5"}]}`, `lines[0].unitPrice: found the text "$5", expected an amount`},
		"an absurd amount":             {`{` + head + `,"total":1e999}`, "total: found the number 1e999, expected an amount"},
		"a flag that is a text":        {`{` + head + `,"test":"yes"}`, `test: found the text "yes", expected true or false`},
		"a text that is a flag":        {`{` + head + `,"note":true}`, "note: found true, expected a text or a number"},
		"an address that is a text":    {`{` + head + `,"shippingAddress":"1 Main St"}`, `shippingAddress: found the text "1 Main St", expected an object`},
		"attributes as a list":         {`{` + head + `,"attributes":[]}`, "attributes: found a list, expected an object"},
		"a field in both spellings":    {`{` + head + `,"updatedAt":"2026-11-23T09:30:00Z"}`, "updated_at: is written twice, as updated_at and as updatedAt"},
		"many fields by other names":   {`{` + head + `,"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1}`, "lines is missing, and a, b, c, d, e, f, g, h is not known (10 in all)"},
		"lines by another name":        {`{` + head + `,"items":[{"quantity":1}]}`, "lines is missing, and items is not known"},
		"something behind it":          {`{` + head + `} {}`, "there is more after the JSON value"},
		"no object":                    {`[]`, "found a list, expected an object"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			order, err := canonical.New().Order(spec(v1alpha1.Webhook{}), "order", []byte(test.body), "")
			if order != nil || !errors.Is(err, connectors.ErrMalformed) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, error %v\nwant ErrMalformed that says %s", order, err, test.says)
			}
		})
	}
}

// A sender may be newer than this program.
func TestWhatASenderAddsIsLeftOut(t *testing.T) {
	body := `{"id":1,"updated_at":"2026-11-23T09:30:00Z","lines":[{"sku":"A","quantity":"2.0","giftWrap":true}],"loyalty":{"points":5},
		"source":"elsewhere","attributes":{"a":null,"b":1.50,"c":{"d":[true]}}}`
	got, err := canonical.New().Order(spec(v1alpha1.Webhook{}), "order", []byte(body), "")
	if err != nil {
		t.Fatal(err)
	}
	want := &orderv1.Order{
		Id: "1", UpdatedAt: timestamppb.New(time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)), Lines: []*orderv1.Line{{Sku: "A", Quantity: 2}},
		Attributes: map[string]string{"a": "", "b": "1.50", "c": `{"d":[true]}`},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

const custom = `{
  "event": "order.changed", "meta": {"at": 1795426200},
  "order": {
    "number": 9007199254740993123, "changed": "2026-11-23T09:30:00+01:00", "state": "PAID", "sum": 39.80,
    "positions": [{"article": "DESK-1", "count": 2, "each": 19.9}, {"article": "LAMP", "count": 1, "each": "0.00"}],
    "comment": null
  }
}`

const expression = `topic == "ping" ? {} : {
  "id": body.order.number,
  "updated_at": body.order.changed,
  "created_at": timestamp(body.meta.at),
  "financial_status": body.order.state.lowerAscii(),
  "total": body.order.sum,
  "subtotal": body.order.sum - 0.1 - 0.2,
  ?"note": body.order.?remark,
  "channel": body.order.comment,
  "lines": body.order.positions.map(p, {"sku": p.article, "quantity": p.count, "unit_price": p.each}),
}`

func TestAnExpressionMakesAnOrderOfABody(t *testing.T) {
	s := spec(v1alpha1.Webhook{Order: expression})
	want := &orderv1.Order{
		Id: "9007199254740993123", FinancialStatus: "paid", Total: "39.8", Subtotal: "39.5",
		UpdatedAt: timestamppb.New(time.Date(2026, 11, 23, 8, 30, 0, 0, time.UTC)), CreatedAt: timestamppb.New(time.Unix(1795426200, 0)),
		Lines: []*orderv1.Line{{Sku: "DESK-1", Quantity: 2, UnitPrice: "19.9"}, {Sku: "LAMP", Quantity: 1, UnitPrice: "0.00"}},
	}
	for name, reader := range map[string]canonical.Reader{"one that keeps what it compiles": canonical.New(), "the zero value": {}} {
		for range 2 {
			got, err := reader.Order(s, "order.changed", []byte(custom), "data")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("%s: order (-want +got):\n%s", name, diff)
			}
		}
	}
	if order, err := canonical.New().Order(s, "ping", []byte(custom), ""); !errors.Is(err, connectors.ErrNotAnOrder) {
		t.Errorf("where the value is {}: %v, error %v, want ErrNotAnOrder", order, err)
	}
}

func TestWhatAnExpressionDoesWrongIsNamed(t *testing.T) {
	tests := map[string]struct {
		expression, says string
		want             error
	}{
		"a field that is not there":     {`{"id": body.order.nr, "updated_at": body.order.changed}`, "no such key: nr", connectors.ErrMalformed},
		"a field that no order has":     {`{"id": "1", "updated_at": body.order.changed, "lnes": []}`, "lnes: there is no such field", connectors.ErrMalformed},
		"a field that no line has":      {`{"id": "1", "updated_at": body.order.changed, "lines": [{"article": "x"}]}`, "lines[0].article: there is no such field", connectors.ErrMalformed},
		"a value of another kind":       {`{"id": "1", "updated_at": body.order.changed, "lines": body.order}`, "lines: found an object, expected a list", connectors.ErrMalformed},
		"no map":                        {`body.order.number`, "expected a map", connectors.ErrMalformed},
		"null":                          {`null`, "has no value", connectors.ErrNotAnOrder},
		"a member that is null":         {`body.order.comment`, "has no value", connectors.ErrNotAnOrder},
		"absent":                        {`body.?orders`, "has no value", connectors.ErrNotAnOrder},
		"absent, of a map":              {`body.event == "x" ? optional.of({"id": "1"}) : optional.none()`, "has no value", connectors.ErrNotAnOrder},
		"more work than is allowed":     {`{"id": string([1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, a+b+c+d+e+f > 0)))))))}`, "needs more than the", connectors.ErrMalformed},
		"what was never to be admitted": {`body.`, "spec.webhook.order", connectors.ErrMalformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			order, err := canonical.New().Order(spec(v1alpha1.Webhook{Order: test.expression}), "order", []byte(custom), "")
			if order != nil || !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, error %v\nwant %v that says %s", order, err, test.want, test.says)
			}
		})
	}
}

func TestTopicsSayWhatCarriesAnOrder(t *testing.T) {
	body := []byte(`{"id":1,"updated_at":"2026-11-23T09:30:00Z"}`)
	tests := map[string]struct {
		topics []string
		topic  string
		want   error
	}{
		"none is written":          {nil, "anything", nil},
		"none is written, no name": {nil, "", connectors.ErrNotAnOrder},
		"it is one":                {[]string{"a", "b"}, "b", nil},
		"it is not one":            {[]string{"a", "b"}, "c", connectors.ErrNotAnOrder},
	}
	for name, test := range tests {
		if _, err := canonical.New().Order(spec(v1alpha1.Webhook{OrderTopics: test.topics}), test.topic, body, ""); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", name, err, test.want)
		}
	}
}

// Orders of any bytes, by any expression, are orders that can be kept, or none.
func FuzzOrder(f *testing.F) {
	written, err := protojson.Marshal(whole)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(written, false)
	f.Add([]byte(custom), true)
	f.Add([]byte(`{"id":1e30,"updatedAt":"2026-11-23T09:30:00Z","total":-0.0000e-30,"lines":[{"quantity":1e9}]}`), false)
	reader := canonical.New()
	f.Fuzz(func(t *testing.T, body []byte, declared bool) {
		s := spec(v1alpha1.Webhook{})
		if declared {
			s.Webhook.Order = expression
		}
		order, err := reader.Order(s, "order", body, "")
		switch {
		case err == nil && (order.GetId() == "" || order.GetUpdatedAt().CheckValid() != nil):
			t.Errorf("an order without id or time: %v", order)
		case err == nil:
			if _, err := protojson.Marshal(order); err != nil {
				t.Errorf("it cannot be written: %v", err)
			}
		case !errors.Is(err, connectors.ErrMalformed) && !errors.Is(err, connectors.ErrNotAnOrder):
			t.Errorf("error %v", err)
		}
	})
}
