package listing

import (
	"google.golang.org/protobuf/proto"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// MaxValueBytes bounds the value of listOrders. An answer goes into one record of the
// connector's ledger, of 384 KiB, with whose it is and what it was asked.
const MaxValueBytes = 320 << 10

// Size is what an order takes of MaxValueBytes; more than all of it where the order
// cannot be a value.
func Size(o *orderv1.Order) int {
	value, err := encode(o)
	if err != nil {
		return MaxValueBytes + 1
	}
	const tag = 8 // of the order in the list, with its length
	return proto.Size(value) + tag
}
