package catalog_test

import (
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

func loadDemo(t testing.TB) []catalog.Resource {
	t.Helper()
	resources, problems := catalog.LoadDir(filepath.Join("..", "..", "..", "deploy", "demo"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return resources
}

// The demo's files are what users copy: they load, compile, and turn an order
// into the bodies that the systems take.
func TestTheDemoCompiles(t *testing.T) {
	snapshot, problems := catalog.Compile(loadDemo(t), systems.Set())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if len(snapshot.Connectors) != 4 || len(snapshot.Flows) != 1 || len(snapshot.StockPools) != 1 || len(snapshot.Policies) != 1 {
		t.Fatalf("found %d connectors, %d flows, %d pools, %d policies", len(snapshot.Connectors), len(snapshot.Flows), len(snapshot.StockPools), len(snapshot.Policies))
	}
	order := &orderv1.Order{
		Source: "shopify", Id: "5001", Name: "#1001", FinancialStatus: "paid",
		CreatedAt:       &timestamppb.Timestamp{Seconds: 1795821000},
		ShippingAddress: &orderv1.Address{Name: "Ada Lovelace", Address1: "1 Main St", City: "Austin", ProvinceCode: "TX", PostalCode: "78701", CountryCode: "US"},
		Lines: []*orderv1.Line{
			{Sku: "DESK-1", Quantity: 2, UnitPrice: "19.90", Properties: map[string]string{"_configuration": "CFG-A1"}},
			{Sku: "VIRAL-1", Quantity: 1, UnitPrice: "5.00"},
			{Sku: "REMOVED-1", Quantity: 0, UnitPrice: "1.00"},
		},
	}
	flow := snapshot.Flows[0]
	for status, want := range map[string]bool{"paid": true, "pending": false} {
		order.FinancialStatus = status
		if taken, err := flow.When.Eval(order); err != nil || taken != want {
			t.Errorf("an order that is %s is taken: %v, %v", status, taken, err)
		}
	}
	want := []string{
		`{"externalId":"shopify-5001","lines":[{"configuration":"CFG-A1","quantity":2,"sku":"DESK-1"},{"quantity":1,"sku":"VIRAL-1"}],` +
			`"reference":"#1001","shipTo":{"address1":"1 Main St","address2":"","city":"Austin","country":"US","name":"Ada Lovelace","postalCode":"78701","province":"TX"}}`,
		`{"entity":{"id":"42"},"externalId":"shopify-5001","item":{"items":[{"item":{"refName":"DESK-1"},"quantity":2,"rate":19.9},` +
			`{"item":{"refName":"VIRAL-1"},"quantity":1,"rate":5}]},"location":{"id":"1"},"otherRefNum":"#1001","tranDate":"2026-11-27"}`,
	}
	for i, step := range flow.Steps {
		got, err := step.Mapping.Eval(order, "shopify-5001")
		if err != nil || string(got) != want[i] {
			t.Errorf("step %s: %v\ngot  %s\nwant %s", step.Name, err, got, want[i])
		}
	}
}
