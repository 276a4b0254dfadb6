package listing_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors/listing"
)

func TestSizeIsNoLessThanWhatAnOrderTakes(t *testing.T) {
	orders := []*orderv1.Order{{Id: "1", Note: "x"}, {Id: "2", Lines: []*orderv1.Line{{Sku: "MUG-1", Quantity: 3}}}}
	value, err := listing.OrderPage{Orders: orders}.Value()
	if err != nil {
		t.Fatal(err)
	}
	sum, whole := listing.Size(orders[0])+listing.Size(orders[1]), proto.Size(value.GetFields()["orders"].GetListValue())
	if sum < whole {
		t.Errorf("two orders take %d, and the list of both %d", sum, whole)
	}
	if listing.Size(&orderv1.Order{Id: "\xff"}) <= listing.MaxValueBytes {
		t.Error("an order that cannot be a value fits into one")
	}
}
