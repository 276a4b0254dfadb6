package shopify_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/shopify"
)

func TestOrder(t *testing.T) {
	want := &orderv1.Order{
		Id:              "9007199254740993",
		Name:            "#1001",
		CreatedAt:       timestamppb.New(time.Date(2026, 11, 23, 14, 30, 0, 0, time.UTC)),
		UpdatedAt:       timestamppb.New(time.Date(2026, 11, 23, 14, 30, 1, 500_000_000, time.UTC)),
		Currency:        "USD",
		Total:           "398.00",
		Subtotal:        "398",
		Outstanding:     "0.00",
		FinancialStatus: "paid",
		Customer:        &orderv1.Customer{Id: "706405506930370084", Email: "ann@example.com", FirstName: "Ann"},
		ShippingAddress: &orderv1.Address{
			Name: "Ann Lee", Address1: "1 Main St", City: "Ottawa", ProvinceCode: "ON", PostalCode: "K1A 0B1", CountryCode: "CA", Phone: "15551234",
		},
		Lines: []*orderv1.Line{
			{
				Id: "866550311766439020", Sku: "DESK-1", Title: "Desk", Quantity: 2, UnitPrice: "199.00", VariantId: "808950810", RequiresShipping: true,
				Properties: map[string]string{
					"engraving": `For "Bo"`, "width": "120.50", "_options": `{"legs":["oak",4]}`, "gift": "true", "empty": "",
				},
			},
			{Id: "2", Title: "Custom work", Quantity: 1, UnitPrice: "0.00", Properties: map[string]string{"as": "object"}},
			{Id: "3", Sku: "GONE", Title: "Removed", UnitPrice: "10.00"},
		},
		Tags:          []string{"vip", "wholesale"},
		Note:          "Ring twice",
		Attributes:    map[string]string{"campaign": "bf"},
		Channel:       "web",
		ShippingLines: []*orderv1.ShippingLine{{Code: "EXP", Title: "Express", Price: "9.95"}},
	}
	got, err := shopify.Shopify{}.Order(nil, "orders/create", orderJSON)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestOrderRefuses(t *testing.T) {
	tests := map[string]struct {
		topic, body string
		want        error
		says        string
	}{
		"the edit itself":              {"orders/edited", `{"order_edit":{"id":1}}`, connectors.ErrNotAnOrder, "line_items"},
		"a deletion, which is an id":   {"orders/delete", `{"id":1}`, connectors.ErrNotAnOrder, "line_items"},
		"an id with a fraction":        {"orders/create", `{"id":1.5,"updated_at":"2026-11-23T09:30:00Z"}`, connectors.ErrMalformed, "whole number"},
		"no id":                        {"orders/create", `{"updated_at":"2026-11-23T09:30:00Z"}`, connectors.ErrMalformed, "no id"},
		"no version":                   {"orders/updated", `{"id":7,"created_at":"2026-11-23T09:30:00Z"}`, connectors.ErrMalformed, "order 7 on orders/updated has no updated_at"},
		"a time that is none":          {"orders/create", `{"id":7,"updated_at":"yesterday"}`, connectors.ErrMalformed, "want a time"},
		"a time before all timestamps": {"orders/create", `{"id":7,"updated_at":"0001-01-01T00:00:00+10:00"}`, connectors.ErrMalformed, "want a time"},
		"a negative quantity":          {"orders/create", `{"id":7,"updated_at":"2026-11-23T09:30:00Z","line_items":[{"quantity":-1}]}`, connectors.ErrMalformed, "line_items[0]"},
		"a quantity of nobody":         {"orders/create", `{"id":7,"updated_at":"2026-11-23T09:30:00Z","line_items":[{"quantity":1000000001}]}`, connectors.ErrMalformed, "line_items[0]"},
		"a quantity beyond all":        {"orders/create", `{"id":7,"updated_at":"2026-11-23T09:30:00Z","line_items":[{"quantity":99999999999999999999}]}`, connectors.ErrMalformed, "line_items[0]"},
		"something after the body":     {"orders/create", `{"id":7,"updated_at":"2026-11-23T09:30:00Z"} {}`, connectors.ErrMalformed, "invalid character"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := shopify.Shopify{}.Order(nil, test.topic, []byte(test.body))
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.says)
			}
		})
	}
}

func TestOrderOfACreateWithoutUpdatedAt(t *testing.T) {
	order, err := shopify.Shopify{}.Order(nil, "orders/create", []byte(`{"id":"7","created_at":"2026-11-23T09:30:00+0100"}`))
	if err != nil || !order.GetUpdatedAt().AsTime().Equal(time.Date(2026, 11, 23, 8, 30, 0, 0, time.UTC)) {
		t.Errorf("order %v, error %v", order, err)
	}
}

func TestEditedWithAWholeOrderIsOne(t *testing.T) {
	if _, err := (shopify.Shopify{}).Order(nil, "orders/edited", orderJSON); err != nil {
		t.Error(err)
	}
}
