package woocommerce

import (
	"math/big"
	"regexp"
	"strings"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// The statuses of an order that WooCommerce knows by itself; plugins add others.
const (
	statusPending    = "pending"
	statusProcessing = "processing"
	statusOnHold     = "on-hold"
	statusCompleted  = "completed"
	statusCancelled  = "cancelled"
	statusRefunded   = "refunded"
	statusFailed     = "failed"
	statusTrash      = "trash"
	// statusDraft is of a basket at the checkout, and statusAutoDraft of an order that
	// somebody has begun to type.
	statusDraft     = "checkout-draft"
	statusAutoDraft = "auto-draft"
)

// standing writes where the order stands. A shop has one status for both money and
// goods:
//
//   - pending, on-hold and failed have not been paid, and may be: pending. A failed
//     payment is tried again under the same order.
//   - processing is paid, and completed is paid and fulfilled. An order that is paid on
//     delivery is processing too: its payment method is in the attributes.
//   - refunded is refunded, and fulfilled if it was completed before.
//   - cancelled and trash are cancelled. No field says since when, so it is the time of
//     the newest change. What was paid stays so until it is refunded; else it is voided.
//   - a status of a plugin, such as shipped, is paid once the shop has a time of payment,
//     and fulfilled once it has one of completion. Its name is in the attributes.
//
// A refund of a part makes paid partially_refunded. Which units it was for is not in
// the order: its lines stay whole.
func standing(order *orderv1.Order, b *orderBody) {
	paid, fulfilled := !b.DatePaid.IsZero(), !b.DateCompleted.IsZero()
	switch b.Status {
	case statusPending, statusOnHold, statusFailed:
		paid, fulfilled = false, false
	case statusProcessing:
		paid, fulfilled = true, false
	case statusCompleted:
		paid, fulfilled = true, true
	case statusCancelled, statusTrash:
		order.CancelledAt = order.GetUpdatedAt()
	}
	switch {
	case b.Status == statusRefunded:
		order.FinancialStatus = "refunded"
	case paid && len(b.Refunds) > 0:
		order.FinancialStatus = "partially_refunded"
	case paid:
		order.FinancialStatus = "paid"
	case order.GetCancelledAt() != nil:
		order.FinancialStatus = "voided"
	default:
		order.FinancialStatus = "pending"
	}
	if fulfilled {
		order.FulfillmentStatus = "fulfilled"
	}
	order.Outstanding = "0"
	if order.GetFinancialStatus() == "pending" {
		order.Outstanding = order.GetTotal()
	}
}

// money is an amount as shops write it. Its length bounds what is calculated.
var money = regexp.MustCompile(`^-?\d{1,18}(\.\d{1,8})?$`)

// subtotal is the exact sum of the lines after discounts, with as many decimals as the
// line that has most; empty where a line has no amount.
func subtotal(lines []lineBody) string {
	sum, decimals := new(big.Rat), 0
	for _, line := range lines {
		if !money.MatchString(string(line.Total)) {
			return ""
		}
		amount, _ := new(big.Rat).SetString(string(line.Total))
		sum.Add(sum, amount)
		if _, fraction, found := strings.Cut(string(line.Total), "."); found {
			decimals = max(decimals, len(fraction))
		}
	}
	return sum.FloatString(decimals)
}
