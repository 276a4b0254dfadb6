package woocommerce_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/woocommerce"
)

func TestOrder(t *testing.T) {
	want := &orderv1.Order{
		Id: "9007199254740993", Name: "#727",
		CreatedAt: timestamppb.New(time.Date(2026, 11, 23, 14, 30, 0, 0, time.UTC)),
		UpdatedAt: timestamppb.New(time.Date(2026, 11, 23, 14, 30, 1, 0, time.UTC)),
		Currency:  "USD", Total: "409.30", Subtotal: "398.00", TotalTax: "1.35", Outstanding: "0", FinancialStatus: "paid",
		Customer: &orderv1.Customer{Id: "26", Email: "ann@example.com", Phone: "15551234", FirstName: "Ann", LastName: "Lee"},
		ShippingAddress: &orderv1.Address{
			Name: "Bo Lee", Company: "Lee & Co", Address1: "2 Main St", Address2: "Floor 3", City: "Ottawa", ProvinceCode: "ON", PostalCode: "K1A 0B1", CountryCode: "CA",
		},
		BillingAddress: &orderv1.Address{
			Name: "Ann Lee", Address1: "1 Main St", City: "Ottawa", ProvinceCode: "ON", PostalCode: "K1A 0B1", CountryCode: "CA", Phone: "15551234",
		},
		Lines: []*orderv1.Line{
			{
				Id: "315", Sku: "DESK-1", Title: "Desk", Quantity: 2, UnitPrice: "199", VariantId: "808", RequiresShipping: true,
				Properties: map[string]string{"Engraving": `For "Bo"`, "_options": `["oak",4]`},
			},
			{Id: "316", Title: "Custom work", Quantity: 1, UnitPrice: "0", VariantId: "94", RequiresShipping: true},
		},
		Note: "Ring twice", Channel: "checkout",
		Attributes: map[string]string{
			"_campaign": "bf", "gift": `{"wrap":true}`, "woocommerce_status": "processing", "woocommerce_payment_method": "stripe",
		},
		ShippingLines: []*orderv1.ShippingLine{{Code: "flat_rate", Title: "Flat rate", Price: "9.95"}},
	}
	got, err := woocommerce.WooCommerce{}.Order(nil, "order.created", orderJSON)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestWhereAnOrderStands(t *testing.T) {
	type want struct {
		Financial, Fulfillment, Outstanding string
		Cancelled                           bool
	}
	const paid, completed, refunds = `,"date_paid_gmt":"2026-11-23T13:00:00"`, `,"date_completed_gmt":"2026-11-23T14:00:00"`, `,"refunds":[{"id":5,"total":"-1.00"}]`
	tests := map[string]struct {
		status, rest string
		want         want
	}{
		"not paid yet":                            {"pending", "", want{"pending", "", "12.50", false}},
		"to be paid by bank":                      {"on-hold", "", want{"pending", "", "12.50", false}},
		"a payment that failed":                   {"failed", "", want{"pending", "", "12.50", false}},
		"paid":                                    {"processing", paid, want{"paid", "", "0", false}},
		"to be paid on delivery":                  {"processing", "", want{"paid", "", "0", false}},
		"fulfilled":                               {"completed", paid + completed, want{"paid", "fulfilled", "0", false}},
		"a part refunded":                         {"completed", paid + completed + refunds, want{"partially_refunded", "fulfilled", "0", false}},
		"refunded before it was sent":             {"refunded", paid + refunds, want{"refunded", "", "0", false}},
		"refunded after it was sent":              {"refunded", paid + completed + refunds, want{"refunded", "fulfilled", "0", false}},
		"cancelled before it was paid":            {"cancelled", "", want{"voided", "", "0", true}},
		"cancelled, the money still there":        {"cancelled", paid, want{"paid", "", "0", true}},
		"in the trash":                            {"trash", "", want{"voided", "", "0", true}},
		"a plugin's status of what is paid":       {"packing", paid, want{"paid", "", "0", false}},
		"a plugin's status of what is not":        {"quote", "", want{"pending", "", "12.50", false}},
		"a plugin's status of what is on its way": {"shipped", paid + completed, want{"paid", "fulfilled", "0", false}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			body := fmt.Sprintf(`{"id":1,"status":%q,"total":"12.50","date_modified_gmt":"2026-11-23T14:30:00","line_items":[]%s}`, test.status, test.rest)
			order, err := woocommerce.WooCommerce{}.Order(nil, "order.updated", []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			got := want{order.GetFinancialStatus(), order.GetFulfillmentStatus(), order.GetOutstanding(), order.GetCancelledAt() != nil}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if order.GetAttributes()["woocommerce_status"] != test.status {
				t.Errorf("attributes %v: want the shop's own status", order.GetAttributes())
			}
		})
	}
}

func TestOrderRefuses(t *testing.T) {
	tests := map[string]struct {
		topic, body string
		want        error
		says        string
	}{
		"a basket":                     {"order.created", `{"id":1,"status":"checkout-draft","line_items":[]}`, connectors.ErrNotAnOrder, "draft"},
		"what somebody begins to type": {"order.updated", `{"id":1,"status":"auto-draft"}`, connectors.ErrNotAnOrder, "draft"},
		"an error in place of an order": {"order.updated", `{"code":"woocommerce_rest_cannot_view","message":"Sorry, you cannot view this resource."}`,
			connectors.ErrMalformed, "may read orders"},
		"no time":             {"order.updated", `{"id":1,"line_items":[]}`, connectors.ErrMalformed, "date_modified_gmt"},
		"no lines":            {"order.updated", `{"id":1,"date_modified_gmt":"2026-11-23T14:30:00"}`, connectors.ErrMalformed, "line_items"},
		"half a unit":         {"order.updated", `{"id":1,"date_modified_gmt":"2026-11-23T14:30:00","line_items":[{"quantity":0.5}]}`, connectors.ErrMalformed, "whole number"},
		"less than nothing":   {"order.updated", `{"id":1,"date_modified_gmt":"2026-11-23T14:30:00","line_items":[{"quantity":-1}]}`, connectors.ErrMalformed, "line_items[0]"},
		"a time that is none": {"order.updated", `{"id":1,"date_modified_gmt":"noon","line_items":[]}`, connectors.ErrMalformed, "want a time"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := woocommerce.WooCommerce{}.Order(nil, test.topic, []byte(test.body))
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %v that says %q", err, test.want, test.says)
			}
		})
	}
}

func TestSubtotalIsTheExactSumOfTheLines(t *testing.T) {
	for lines, want := range map[string]string{
		`{"total":"0.10"},{"total":"0.20"}`:                         "0.30",
		`{"total":"1.005"},{"total":"2"}`:                           "3.005",
		`{"total":"1000"}`:                                          "1000",
		`{"total":"1"},{"total":""}`:                                "",
		`{"total":"1e999999999"}`:                                   "",
		`{"total":"123456789012345678.12345678"}`:                   "123456789012345678.12345678",
		`{"total":"1"},{"total":"` + strings.Repeat("9", 99) + `"}`: "",
	} {
		body := `{"id":1,"date_modified_gmt":"2026-11-23T14:30:00","line_items":[` + lines + `]}`
		order, err := woocommerce.WooCommerce{}.Order(nil, "order.updated", []byte(body))
		if err != nil || order.GetSubtotal() != want {
			t.Errorf("%s: %q, error %v, want %q", lines, order.GetSubtotal(), err, want)
		}
	}
}

func TestTheTopicThatAFoundOrderWouldHaveComeBy(t *testing.T) {
	trashed := &orderv1.Order{Attributes: map[string]string{"woocommerce_status": "trash"}}
	for name, test := range map[string]struct {
		order *orderv1.Order
		known bool
		want  string
	}{
		"a new one":     {&orderv1.Order{}, false, "order.created"},
		"a changed one": {&orderv1.Order{}, true, "order.updated"},
		"in the trash":  {trashed, true, "order.deleted"},
	} {
		if got := (woocommerce.WooCommerce{}).Topic(test.order, test.known); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}
