package woocommerce

import "github.com/peppasync/peppasync/services/connectors"

// Right is part of connectors.Entitled. A key has the rights of its user, too.
func (WooCommerce) Right(operation string) string {
	const of = " of a user who manages the shop"
	if operation == connectors.OperationPutWebhook {
		return "the permission Read/Write" + of
	}
	return "the permission Read" + of
}
