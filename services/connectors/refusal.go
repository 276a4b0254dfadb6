package connectors

import (
	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
)

// The causes of a question that expired because nobody could sign in: the external system
// does not take the account's credentials, or there are none.
const (
	CodeCredentialsRefused = "credentials-refused"
	CodeCredentialsMissing = "credentials-missing"
)

// Entitled is a System that can say which right an account's credentials need for what is
// asked under KeyOfSources, in the system's own words, such as "the scope read_orders".
type Entitled interface {
	Right(operation string) string
}

// RefusalID is the id of the hold that a source refuses an operation: one for each
// connector and operation, however often it is tried.
func RefusalID(operation string) string { return "refused-" + operation }

// UnreadOrders are the ids of the orders that a refusal of OperationReadOrder names: those
// that could not be read.
func UnreadOrders(refusal *dispatchv1.Hold) []string {
	var ids []string
	for _, order := range refusal.GetDelivery().GetArguments().GetFields()["orders"].GetListValue().GetValues() {
		if id := order.GetStructValue().GetFields()["id"].GetStringValue(); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// IsRefusal reports whether a hold says that a source refuses what is asked under
// KeyOfSources. Nobody lets it go: ingest, which keeps it, does when the source answers.
func IsRefusal(hold *dispatchv1.Hold) bool {
	d := hold.GetDelivery()
	return hold.GetRefused() == nil && d.GetKey() == KeyOfSources && AsksSource(d.GetOperation()) && d.GetId() == RefusalID(d.GetOperation())
}
