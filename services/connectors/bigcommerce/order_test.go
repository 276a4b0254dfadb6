package bigcommerce_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/conformance"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/fault"
)

func readReply(t *testing.T, body string) connectors.Answer {
	t.Helper()
	return system().Check(t, readCall, connectors.Reply{Status: 200, Body: []byte(body), Written: true, At: conformance.At})
}

func orderOf(t *testing.T, body string) *orderv1.Order {
	t.Helper()
	answer := readReply(t, body)
	if answer.Class != fault.OK {
		t.Fatalf("%s %+v", answer.Class, answer.Cause)
	}
	order, err := listing.ParseOrder(answer.Value)
	if err != nil {
		t.Fatal(err)
	}
	return order
}

func TestOrder(t *testing.T) {
	want := &orderv1.Order{
		Id: "118", Name: "#118",
		CreatedAt: timestamppb.New(time.Date(2026, 11, 23, 14, 30, 0, 0, time.UTC)),
		UpdatedAt: timestamppb.New(time.Date(2026, 11, 23, 14, 30, 1, 0, time.UTC)),
		Currency:  "USD", Total: "409.30", Subtotal: "398.00", TotalTax: "1.35", Outstanding: "0", FinancialStatus: "paid",
		Customer: &orderv1.Customer{Id: "11", Email: "ann@example.com", Phone: "15551234", FirstName: "Ann", LastName: "Lee"},
		ShippingAddress: &orderv1.Address{
			Name: "Bo Lee", Company: "Lee & Co", Address1: "2 Main St", Address2: "Floor 3", City: "Austin", ProvinceCode: "Texas", PostalCode: "78751", CountryCode: "US",
		},
		BillingAddress: &orderv1.Address{
			Name: "Ann Lee", Address1: "1 Main St", City: "Austin", ProvinceCode: "Texas", PostalCode: "78751", CountryCode: "US", Phone: "15551234",
		},
		Lines: []*orderv1.Line{
			{
				Id: "20", Sku: "DESK-1", Title: "Desk", Quantity: 2, UnitPrice: "199.00", VariantId: "577", RequiresShipping: true,
				Properties: map[string]string{"Engraving": `For "Bo"`, "Wood": "oak", "legs": "4", "wrapping_name": "Gift", "wrapping_message": "Hi"},
			},
			{Id: "21", Title: "Plan", Quantity: 1, UnitPrice: "0.00", VariantId: "78"},
		},
		Note: "Ring twice", Channel: "www",
		Attributes: map[string]string{
			"bigcommerce_status": "Awaiting Fulfillment", "bigcommerce_payment_method": "Credit Card",
			"bigcommerce_payment_status": "captured", "bigcommerce_channel_id": "1",
		},
		ShippingLines: []*orderv1.ShippingLine{{Code: "Flat Rate", Title: "Flat Rate", Price: "9.95"}},
	}
	if diff := cmp.Diff(want, orderOf(t, string(orderJSON)), protocmp.Transform()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	// consignment_structure=object, which newer stores may answer by themselves.
	object := strings.Replace(strings.TrimSpace(string(orderJSON)), `"consignments": [{`, `"consignments": {`, 1)
	object = strings.TrimSuffix(object, "}]\n}") + "}\n}"
	if diff := cmp.Diff(want, orderOf(t, object), protocmp.Transform()); diff != "" {
		t.Errorf("order with an object of consignments (-want +got):\n%s", diff)
	}
}

func TestWhereAnOrderStands(t *testing.T) {
	type want struct {
		Financial, Fulfillment, Outstanding string
		Cancelled                           bool
	}
	tests := map[string]struct {
		status  int
		payment string
		want    want
	}{
		"begun, and not paid":                {1, "", want{"pending", "", "12.50", false}},
		"to be paid by bank":                 {7, "", want{"pending", "", "12.50", false}},
		"paid by card":                       {11, "captured", want{"paid", "", "0", false}},
		"money reserved":                     {11, "authorized", want{"authorized", "", "12.50", false}},
		"paid by hand":                       {11, "", want{"paid", "", "0", false}},
		"to be looked at":                    {12, "held for review", want{"pending", "", "12.50", false}},
		"a part shipped":                     {3, "captured", want{"paid", "partial", "0", false}},
		"shipped":                            {2, "captured", want{"paid", "fulfilled", "0", false}},
		"completed":                          {10, "", want{"paid", "fulfilled", "0", false}},
		"refunded, said by a person":         {4, "captured", want{"refunded", "", "0", false}},
		"a part refunded":                    {14, "partially refunded", want{"partially_refunded", "", "0", false}},
		"cancelled before it was paid":       {5, "", want{"voided", "", "0", true}},
		"cancelled, the money still there":   {5, "captured", want{"paid", "", "0", true}},
		"declined by the seller":             {6, "declined", want{"voided", "", "0", true}},
		"disputed":                           {13, "", want{"paid", "", "0", false}},
		"a status that nobody knows, unpaid": {99, "", want{"pending", "", "12.50", false}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			order := orderOf(t, fmt.Sprintf(`{"id":1,"status_id":%d,"status":"x","payment_status":%q,"total_inc_tax":"12.5000","date_modified":"Mon, 23 Nov 2026 14:30:00 +0000"}`, test.status, test.payment))
			got := want{order.GetFinancialStatus(), order.GetFulfillmentStatus(), order.GetOutstanding(), order.GetCancelledAt() != nil}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	archived := orderOf(t, `{"id":1,"status_id":10,"is_deleted":true,"date_modified":"Mon, 23 Nov 2026 14:30:00 +0000"}`)
	if archived.GetCancelledAt() != nil || archived.GetAttributes()["bigcommerce_archived"] != "true" {
		t.Errorf("what is in the archive: %v", archived)
	}
}

func TestAnOrderWithFewerLinesThanWereBoughtIsRefused(t *testing.T) {
	body := func(lines, total int) string {
		items := make([]string, lines)
		for i := range items {
			items[i] = fmt.Sprintf(`{"id":%d,"quantity":1}`, i+1)
		}
		return fmt.Sprintf(`{"id":1,"status_id":11,"items_total":%d,"date_modified":"Mon, 23 Nov 2026 14:30:00 +0000","consignments":[{"shipping":[{"line_items":[%s]}]}]}`,
			total, strings.Join(items, ","))
	}
	for name, test := range map[string]struct {
		lines, total int
		want         fault.Class
	}{
		"no lines":                                     {0, 1, fault.Permanent},
		"a page of lines, of more":                     {50, 51, fault.Permanent},
		"the largest page of lines, of more":           {250, 300, fault.Permanent},
		"a page of lines that is all":                  {50, 50, fault.OK},
		"nothing was bought":                           {0, 0, fault.OK},
		"less than a page, which the store counts so":  {3, 4, fault.OK},
		"more than a page, where all of them came too": {51, 51, fault.OK},
	} {
		if answer := readReply(t, body(test.lines, test.total)); answer.Class != test.want {
			t.Errorf("%s: %s %+v, want %s", name, answer.Class, answer.Cause, test.want)
		}
	}
	for _, line := range []string{`{"id":1,"quantity":-1}`, `{"id":1,"quantity":2.5}`, `{"id":1,"quantity":1,"quantity_refunded":-1}`} {
		odd := strings.Replace(body(1, 1), `{"id":1,"quantity":1}`, line, 1)
		if answer := readReply(t, odd); answer.Class != fault.Permanent {
			t.Errorf("%s: %s, want permanent", line, answer.Class)
		}
	}
}
