package bigcommerce

import (
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// The statuses of an order, by id: their names can be changed.
const (
	statusIncomplete        = "0"
	statusShipped           = "2"
	statusPartiallyShipped  = "3"
	statusRefunded          = "4"
	statusCancelled         = "5"
	statusDeclined          = "6"
	statusAwaitingPickup    = "8"
	statusAwaitingShipment  = "9"
	statusCompleted         = "10"
	statusAwaitingFulfil    = "11"
	statusDisputed          = "13"
	statusPartiallyRefunded = "14"
)

// payments are the words that a store has for the payment, where it says any.
var payments = map[text]string{
	"authorized": "authorized", "capture pending": "authorized",
	"captured": "paid", "paid": "paid",
	"pending": "pending", "held for review": "pending",
	"partially refunded": "partially_refunded", "refunded": "refunded",
	"declined": "voided", "void": "voided", "void pending": "voided",
}

// standing writes where the order stands:
//
//   - the money by payment_status; where a store does not say, as for payments by hand,
//     by the status. Refunded and Partially Refunded are said by people too, and count.
//   - Shipped and Completed are fulfilled, Partially Shipped is partial.
//   - Cancelled, and Declined by the seller, are cancelled. No field says since when, so
//     it is the time of the newest change. What was paid stays so until it is refunded.
//   - what is in the archive (is_deleted) is not cancelled by that: people archive what
//     is over. It is in the attributes.
func standing(order *orderv1.Order, b *orderBody) {
	paid := false
	switch b.StatusID {
	case statusShipped, statusCompleted:
		paid, order.FulfillmentStatus = true, "fulfilled"
	case statusPartiallyShipped:
		paid, order.FulfillmentStatus = true, "partial"
	case statusAwaitingPickup, statusAwaitingShipment, statusAwaitingFulfil, statusDisputed:
		paid = true
	case statusCancelled, statusDeclined:
		order.CancelledAt = order.GetUpdatedAt()
	}
	switch {
	case b.StatusID == statusRefunded:
		order.FinancialStatus = "refunded"
	case b.StatusID == statusPartiallyRefunded:
		order.FinancialStatus = "partially_refunded"
	case payments[b.PaymentStatus] != "":
		order.FinancialStatus = payments[b.PaymentStatus]
	case paid:
		order.FinancialStatus = "paid"
	case order.GetCancelledAt() != nil:
		order.FinancialStatus = "voided"
	default:
		order.FinancialStatus = "pending"
	}
	order.Outstanding = "0"
	if order.GetFinancialStatus() == "pending" || order.GetFinancialStatus() == "authorized" {
		order.Outstanding = order.GetTotal()
	}
}

// What attributes have: the store's own words for what the canonical order has fewer of.
const (
	attributeStatus        = "bigcommerce_status"
	attributePayment       = "bigcommerce_payment_method"
	attributePaymentStatus = "bigcommerce_payment_status"
	attributeChannel       = "bigcommerce_channel_id"
	attributeStaffNotes    = "bigcommerce_staff_notes"
	attributeExternalID    = "bigcommerce_external_id"
	attributeArchived      = "bigcommerce_archived"
)

func attributesOf(b *orderBody) map[string]string {
	attributes := map[string]string{attributeStatus: string(b.Status)}
	for name, value := range map[string]text{
		attributePayment: b.PaymentMethod, attributePaymentStatus: b.PaymentStatus, attributeChannel: text(b.ChannelID),
		attributeStaffNotes: b.StaffNotes, attributeExternalID: b.ExternalID,
	} {
		if value != "" {
			attributes[name] = string(value)
		}
	}
	if b.IsDeleted {
		attributes[attributeArchived] = "true"
	}
	return attributes
}
