// Package connectors is the contract between the engine and one external
// system. A system is a folder of its own below this one: how its webhooks are
// signed and read, how its calls are built and what its replies mean. Nothing
// in it does I/O: it turns values into values, and the services do the rest.
package connectors

import (
	"errors"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/quota"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// Errors of a Source. Test with errors.Is.
var (
	// ErrSignature: the request is not signed by any of the known secrets.
	ErrSignature = errors.New("signature does not match")
	// ErrMalformed: the request or its body cannot be read.
	ErrMalformed = errors.New("malformed")
	// ErrNotAnOrder: the topic says nothing about an order.
	ErrNotAnOrder = errors.New("topic carries no order")
	// ErrThin: the event names an order and does not say what it is like.
	ErrThin = errors.New("event only names its order")
	// ErrSecret: the secret lacks a key that is needed. It is the operator's to
	// mend, not the sender's: ask the sender to come again.
	ErrSecret = errors.New("secret is incomplete")
)

// Secret is what a secretRef resolves to: key to value.
type Secret map[string]string

// Delivery is one request of a sender, and what is needed to check it.
type Delivery struct {
	// Spec is the connector's; its Webhook is there.
	Spec   *v1alpha1.ConnectorSpec
	Header http.Header
	// Body is whole and as it came; it is not to be changed.
	Body   []byte
	Secret Secret
	// ReceivedAt is when its headers were in, by which a timestamp is judged that is
	// signed too.
	ReceivedAt time.Time
}

// Event is one of the things that a verified delivery tells.
type Event struct {
	Topic string
	// ID is the sender's name for the event, the same on every retry.
	ID string
	// TriggeredAt is zero where the sender does not say.
	TriggeredAt time.Time
	// Body is the JSON that Order reads: the delivery's own body, or a part of it.
	Body []byte
	// Malformed says why this part of a delivery cannot be an event, and which part it is,
	// where others are to be had. It is kept all the same, and held for a person. Topic
	// may be empty then; ID may not.
	Malformed string
}

// Source is a system whose webhooks the engine reads. Implementations are safe
// for concurrent use.
type Source interface {
	// Verify checks the signature over the raw body in constant time against
	// every secret that is valid now (keys "secret" and "previousSecret"), and
	// returns what the delivery tells, in its order. ErrSignature, ErrMalformed or
	// ErrSecret otherwise. An empty secret never matches anything. No event without an
	// error is a delivery that is in order and tells nothing, such as the ping of a
	// registration; that alone may be unsigned.
	Verify(delivery Delivery) ([]Event, error)
	// Order reads an event's body into the canonical order; the caller sets Source.
	// ErrNotAnOrder for other topics, ErrMalformed for what cannot be read.
	Order(spec *v1alpha1.ConnectorSpec, topic string, body []byte) (*orderv1.Order, error)
}

// Enumerated is a Source that can name the topics which always carry an order. On others of
// which Order knows there may be one.
type Enumerated interface {
	// OrderTopics returns them, sorted.
	OrderTopics() []string
}

// Documented is a Source whose system has a closed list of topics about orders, those that
// carry none among them. The system may have got more since.
type Documented interface {
	// DocumentedTopics returns them, sorted.
	DocumentedTopics() []string
}

// Invited is a Source whose senders ask, before they send, whether they are wanted.
type Invited interface {
	// Invitation returns the headers that answer an OPTIONS request which asks that, nil
	// where it asks something else. It proves nothing about who asks.
	Invitation(header http.Header) http.Header
}

// Thin is a Source some of whose events only name an order, which is then read from
// the system (OperationReadOrder). Its Order returns ErrThin for those.
type Thin interface {
	// OrderID returns the id of the order that such an event names.
	OrderID(spec *v1alpha1.ConnectorSpec, topic string, body []byte) (string, error)
}

// Topical is a Source whose System can be asked for orders (OperationListOrders). It
// says under which topic the webhook of an order would have come that was found so,
// and of which nothing or an older version is known.
type Topical interface {
	Topic(order *orderv1.Order, known bool) string
}

// Phased is a Topical whose sender tells a step in an order's life by a webhook of its
// own, beside the one of Topic. A flow may take only those.
type Phased interface {
	Topical
	// Phases returns the topics of the steps that found has taken since known, which is
	// nil where nothing is known, in their order.
	Phases(known, found *orderv1.Order) []string
}

// Set are the external systems that this program can speak with, by the name that
// Connectors use in spec.system.
type Set struct {
	// Systems can be called, the webhooks of Sources are understood; many a system
	// is both.
	Systems map[string]System
	Sources map[string]Source
}

// Canceller is a Source that knows topics which come of cancelled orders only.
type Canceller interface {
	Cancels(topic string) bool
}

// Effect says what may be done with a call whose outcome is unknown.
type Effect int

const (
	// EffectOnce: a second call may have a second effect; never resent blindly.
	EffectOnce Effect = iota
	// EffectIdempotent: a repetition with the same key has no second effect.
	EffectIdempotent
	// EffectNone: a query.
	EffectNone
)

// Operation describes one thing that a system can be asked to do.
type Operation struct {
	Effect Effect
	// NeedsMapping: the payload comes from a flow's mapping of an order.
	NeedsMapping bool
	// CommitHorizon is how long after its last possible arrival a call may still
	// take effect, though its connection is long dead. Until then "not found"
	// proves nothing.
	CommitHorizon time.Duration
	// Overwrites: a call that takes effect late undoes a newer one of the same key,
	// as an upsert does. What follows in its key waits until it no longer can.
	Overwrites bool
}

// The operations that roles other than flows ask for, by the same name in every
// system that has them.
const (
	// OperationReadStock reads figures. Arguments: {skus: [string], location: string}.
	// Value: {items: [{sku, available}]}, and for shops also item (the system's
	// own id of the item at that location, passed back to setStock) and committed
	// (the units of its open orders, by which a sale is noticed that has not been
	// heard of yet).
	OperationReadStock = "readStock"
	// OperationSetStock writes by compare-and-set. Arguments: {location, reference,
	// items: [{sku, item, quantity, changeFrom}]}. Class Conflict where the
	// figure had changed.
	OperationSetStock = "setStock"
	// OperationSendMessage sends a text. Arguments: {to, body}.
	OperationSendMessage = "sendMessage"
	// OperationReadOrder reads one order. Arguments: {id}, or {id, page} of who takes it in
	// parts: page is "" or the next of the part before. Value: {order}, which is the
	// canonical order in the JSON form of its proto; {part} for one that is not the first, with
	// next where there are more. An order that is not there is
	// fault.Conflict with the code CodeNoSuchOrder: it is for whoever asked, not a person.
	OperationReadOrder = "readOrder"
	// OperationListOrders reads a page of the orders that were made or changed since a
	// moment, that moment included, the one that changed first in front. Arguments:
	// {since: RFC 3339, page: "" or the next of the page before}. Value: {orders: [order],
	// next}; next is "" on the last page. Orders of which a page cannot hold all its lines
	// are in partial: [{id, updatedAt}] instead, and readOrder has them. Where one list does not
	// have them all, pages are open, and through says up to when they are complete. Where the account
	// lacks the right, this and the operations below are fault.Conflict with the code
	// CodeNoRight: what else it is asked goes on. Package listing spells all of these.
	OperationListOrders = "listOrders"
	// OperationListWebhooks reads a page of the webhooks that the account sends.
	// Arguments: {page}. Value: {webhooks: [{id, topic, address, active, stale}], next}.
	OperationListWebhooks = "listWebhooks"
	// OperationPutWebhook makes a webhook, or mends and turns on the one that is named.
	// Arguments: {id: "" for a new one, topic, address}. Reference: its id. What the sender
	// has to sign or show is put in by a Sealer.
	OperationPutWebhook = "putWebhook"
)

// KeyOfSources is the key of what ingest asks sources: one question at a time, behind each
// other. NATS lets ingest publish deliveries under no other, and orders have other keys.
const KeyOfSources = "reconcile"

// AsksSource reports whether an operation only asks a source for orders and looks after
// its webhooks, which is all that may be asked under KeyOfSources.
func AsksSource(operation string) bool {
	switch operation {
	case OperationReadOrder, OperationListOrders, OperationListWebhooks, OperationPutWebhook:
		return true
	}
	return false
}

// CodeNoRight is the cause where the account's credentials are in order, and may not
// do what they are used for.
const CodeNoRight = "no-right"

// CodeNoSuchOrder is the cause of OperationReadOrder where there is no such order.
const CodeNoSuchOrder = "no-such-order"

// CodeOrderTooLarge is the cause where an order has more than is read of one.
const CodeOrderTooLarge = "order-too-large"

// Call is one claimed delivery, as it goes onto the wire; a resend gets the
// same Call.
type Call struct {
	Operation string
	// ExternalID is the natural key of the effect, such as "shopify-5001".
	ExternalID string
	// IdempotencyKey is the same on every resend of one intent (a UUID).
	IdempotencyKey string
	// Payload is the mapped body, JSON; nil for operations without mapping.
	Payload []byte
	// Arguments of the operations above.
	Arguments *structpb.Struct
}

// Request is what to write, relative to the connector's endpoint. It holds no
// credentials.
type Request struct {
	Method string
	// Path starts with a slash and may have a query.
	Path   string
	Header http.Header
	Body   []byte
	// Cost is the most that the account counts for it where it counts points; 0 for 1.
	Cost int64
}

// Reply is what came back.
type Reply struct {
	// Status is 0 where no status line came.
	Status int
	Header http.Header
	Body   []byte
	// Err is the transport's error where there is no whole reply.
	Err error
	// Written says whether a byte of the request may have left; where it did
	// not, the call has no effect for certain.
	Written bool
	// At is when the reply was in.
	At time.Time
}

// Answer is a reply understood.
type Answer struct {
	fault.Verdict
	// Reference is the system's own name for the record, where it gave one.
	Reference string
	// Value is what a query asked for.
	Value *structpb.Struct
}

// System is an external system that calls can be made to. Implementations are
// safe for concurrent use.
type System interface {
	// Operations returns what the system can be asked to do, by name.
	Operations(spec *v1alpha1.ConnectorSpec) map[string]Operation
	// Authorize returns the headers that sign a request in; ErrSecret where a
	// key is missing. Errors name keys, never values.
	Authorize(spec *v1alpha1.ConnectorSpec, secret Secret) (http.Header, error)
	// Request builds the request of a call; an error is permanent.
	Request(spec *v1alpha1.ConnectorSpec, call Call) (Request, error)
	// Read says what a reply to that call means. It never fails: what it cannot
	// read is fault.Unknown, or fault.Transient where nothing was written.
	Read(spec *v1alpha1.ConnectorSpec, call Call, reply Reply) Answer
}

// Prober is a System that has a cheap, harmless request to ask whether it is
// back after an outage.
type Prober interface {
	Probe(spec *v1alpha1.ConnectorSpec) Request
}

// Sealer is a System of whose requests some carry a secret in their body, such as the
// making of a webhook with the key that it will be signed by. What Request builds, and
// what is kept of it, holds none.
type Sealer interface {
	// Seal returns the request with the secret in it; webhook is what the Connector's
	// spec.webhook.secretRef resolves to. ErrSecret where a key is missing. Other
	// requests come back as they are.
	Seal(spec *v1alpha1.ConnectorSpec, call Call, request Request, webhook Secret) (Request, error)
}

// Unsealer is a Sealer whose replies show the secret of a webhook again, such as a list
// of webhooks with the headers that each sends along. Only who has the secret can say
// whether it is that of today.
type Unsealer interface {
	Sealer
	// Unseal returns the reply without the secrets in it, and with what Read has to know
	// of them. ErrSecret where a key is missing that is needed for that; other replies come
	// back as they are.
	Unseal(spec *v1alpha1.ConnectorSpec, call Call, reply Reply, webhook Secret) (Reply, error)
}

// Metered is a System whose replies tell in their bodies, too, what is left of the
// account's quota. The fields that package quota knows are read for every system.
type Metered interface {
	Quota(reply Reply) []quota.Figure
}

// Priced is a System whose replies tell what a call did cost in points. What is less
// than the request's Cost must be free again when the reply is written.
type Priced interface {
	Spent(reply Reply) (cost int64, ok bool)
}
