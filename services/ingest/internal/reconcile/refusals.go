package reconcile

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
)

// MaxUnread is how many orders a hold says are not read. Where there are more, a
// comparison goes no further.
const MaxUnread = 100

// Refusal is what a source said when it refused an operation.
type Refusal struct {
	Connector, Operation string
	Cause                *dispatchv1.Cause
	Advice               string
	// Order is what could not be read, by OperationReadOrder.
	Order *listing.Partial
}

// Open reports whether a hold waits for its source: nil is none.
func Open(hold *dispatchv1.Hold) bool { return hold != nil && hold.GetRelease() == nil }

// Refused returns the hold of an operation after another refusal, and whether it is to be
// written. One that is open stays the one that it is, since when it is, whatever cause is
// newest: by that moment people are told of it once. Asked says who asks, by role.
func Refused(hold *dispatchv1.Hold, r Refusal, asked string, now time.Time) (next *dispatchv1.Hold, changed bool) {
	if !Open(hold) {
		hold = nil
	}
	next = &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{
			Id: connectors.RefusalID(r.Operation), Connector: r.Connector, Key: connectors.KeyOfSources, Operation: r.Operation, Requester: asked,
			CreatedAt: timestamppb.New(now),
		},
		Cause: r.Cause, Advice: r.Advice, HeldAt: timestamppb.New(now), Attempts: 1,
	}
	if hold != nil {
		next.HeldAt, next.Delivery.CreatedAt = hold.GetHeldAt(), hold.GetDelivery().GetCreatedAt()
	}
	unread := Unread(hold)
	if r.Order != nil {
		// At its place: another order of them would be another hold to write.
		if i := slices.IndexFunc(unread, func(o listing.Partial) bool { return o.ID == r.Order.ID }); i >= 0 {
			unread[i] = *r.Order
		} else {
			unread = append(unread, *r.Order)
		}
	}
	setUnread(next, unread)
	same := hold.GetCause().GetFingerprint() == r.Cause.GetFingerprint() && hold.GetCause().GetCode() == r.Cause.GetCode()
	if hold != nil && same && slices.Equal(versions(Unread(hold)), versions(unread)) {
		return hold, false
	}
	return next, true
}

// Answered returns the hold of an operation after the source has answered, and whether it
// is to be written: it is closed by asked, for that reason. A hold of orders that could not
// be read is closed when each of them was.
func Answered(hold *dispatchv1.Hold, asked, reason string, now time.Time, orders ...string) (next *dispatchv1.Hold, changed bool) {
	if !Open(hold) {
		return hold, false
	}
	next = proto.CloneOf(hold)
	before := Unread(hold)
	if left := without(before, orders...); len(orders) > 0 && len(left) > 0 {
		setUnread(next, left)
		return next, len(left) < len(before)
	}
	d := hold.GetDelivery()
	next.Release = &eventv1.Release{
		Key: d.GetKey(), DeliveryId: d.GetId(), Connector: d.GetConnector(), By: asked, Reason: reason, AskedAt: timestamppb.New(now),
	}
	return next, true
}

// Unread are the orders that a hold says could not be read, in the versions that were
// listed.
func Unread(hold *dispatchv1.Hold) []listing.Partial {
	if !Open(hold) {
		return nil
	}
	var orders []listing.Partial
	for _, v := range hold.GetDelivery().GetArguments().GetFields()["orders"].GetListValue().GetValues() {
		fields := v.GetStructValue().GetFields()
		at, err := time.Parse(time.RFC3339Nano, fields["updatedAt"].GetStringValue())
		if id := fields["id"].GetStringValue(); id != "" && err == nil {
			orders = append(orders, listing.Partial{ID: id, UpdatedAt: at})
		}
	}
	return orders
}

func setUnread(hold *dispatchv1.Hold, orders []listing.Partial) {
	hold.Delivery.Content = nil
	if len(orders) == 0 {
		return
	}
	values := make([]*structpb.Value, len(orders))
	for i, o := range orders {
		values[i] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"id": structpb.NewStringValue(strings.ToValidUTF8(o.ID, "?")), "updatedAt": structpb.NewStringValue(o.UpdatedAt.UTC().Format(time.RFC3339Nano)),
		}})
	}
	hold.Delivery.Content = &dispatchv1.Delivery_Arguments{Arguments: &structpb.Struct{Fields: map[string]*structpb.Value{
		"orders": structpb.NewListValue(&structpb.ListValue{Values: values}),
	}}}
}

func without(orders []listing.Partial, ids ...string) []listing.Partial {
	return slices.DeleteFunc(slices.Clone(orders), func(o listing.Partial) bool { return slices.Contains(ids, o.ID) })
}

// versions makes times of another zone or precision of proto comparable.
func versions(orders []listing.Partial) []string {
	all := make([]string, len(orders))
	for i, o := range orders {
		all[i] = o.ID + "\x00" + o.UpdatedAt.UTC().Format(time.RFC3339Nano)
	}
	return all
}

// Advice says what a person can do about a refusal. Right is what the credentials need for
// the operation, in the source's words, and secret where they are; both may be empty.
func Advice(operation string, cause *dispatchv1.Cause, right, secret string) string {
	if right == "" {
		right = "the right to read orders"
		if operation == connectors.OperationListWebhooks || operation == connectors.OperationPutWebhook {
			right = "the right to manage webhooks"
		}
	}
	credentials := "the credentials"
	if secret != "" {
		credentials = "the credentials in the secret " + secret
	}
	switch cause.GetCode() {
	case connectors.CodeNoRight:
		return "give " + credentials + " " + right + never
	case connectors.CodeCredentialsRefused:
		return "renew " + credentials + ": the source takes none of its calls"
	case connectors.CodeCredentialsMissing:
		return "put in " + credentials
	case connectors.CodeOrderTooLarge:
		return "make the order smaller at the source, or do by hand what flows would do with it" + never
	}
	switch cause.GetStatus() {
	case http.StatusForbidden:
		return "give " + credentials + " " + right + never
	case http.StatusUnauthorized:
		return "renew " + credentials
	case http.StatusNotFound, http.StatusGone, http.StatusMovedPermanently, http.StatusPermanentRedirect:
		return "look whether spec.endpoint is still the account's" + never
	}
	return "look at what the source says" + never
}

// never is how to have a source asked no more.
const never = ", or write reconcile: {every: 0s} to have it asked no more"
