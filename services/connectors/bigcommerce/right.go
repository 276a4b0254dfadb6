package bigcommerce

import "github.com/peppasync/peppasync/services/connectors"

// Right is part of connectors.Entitled. It does not say whether to read or to modify is
// enough: the store does not either.
func (BigCommerce) Right(operation string) string {
	if operation == connectors.OperationListWebhooks || operation == connectors.OperationPutWebhook {
		return "the scopes Orders and Information & Settings"
	}
	return "the scope Orders"
}
