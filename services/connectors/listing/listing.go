// Package listing reads and writes the arguments and values of listOrders,
// readOrder, listWebhooks and putWebhook, so that every system and every requester
// spell them alike, and fills an answer with the orders of a page.
package listing

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// Orders is what listOrders is asked: a page of those that were made or changed since
// a moment, that moment included.
type Orders struct {
	Since time.Time
	// Page is empty for the first one, else Next of the page before.
	Page string
}

// OrderPage is what it answers.
type OrderPage struct {
	Orders []*orderv1.Order
	// Partial are orders of which a page cannot hold all: readOrder has them whole.
	Partial []Partial
	// Next is empty on the last page.
	Next string
	// Open: there may be more of the time that this page is of on a later one. Whoever goes
	// on from its newest order would miss that.
	Open bool
	// Through says of an open page that all which changed until then has been on it or on
	// those before; zero says nothing.
	Through time.Time
}

// Partial names an order and its version.
type Partial struct {
	ID        string
	UpdatedAt time.Time
}

// Webhook is one that the account sends.
type Webhook struct {
	// ID is the system's own.
	ID, Topic, Address string
	Active             bool
	// Stale: it was made with the secret before today's. What it sends is taken for as
	// long as that is, so it is to be put again.
	Stale bool
}

// WebhookPage is what listWebhooks answers.
type WebhookPage struct {
	Webhooks []Webhook
	Next     string
}

// Arguments returns o as the arguments of listOrders.
func (o Orders) Arguments() *structpb.Struct {
	return object(map[string]*structpb.Value{
		"since": structpb.NewStringValue(o.Since.UTC().Format(time.RFC3339Nano)),
		"page":  structpb.NewStringValue(o.Page),
	})
}

// ParseOrders reads the arguments of listOrders.
func ParseOrders(arguments *structpb.Struct) (Orders, error) {
	since, err := moment(arguments, "since")
	if err != nil {
		return Orders{}, err
	}
	return Orders{Since: since, Page: text(arguments, "page")}, nil
}

// OrderArguments returns the arguments of readOrder.
func OrderArguments(id string) *structpb.Struct {
	return object(map[string]*structpb.Value{"id": structpb.NewStringValue(id)})
}

// ParseOrderID reads the arguments of readOrder.
func ParseOrderID(arguments *structpb.Struct) (string, error) { return needed(arguments, "id") }

// MaxOrderParts is how many parts of an order are read: far more than any shop's largest
// order has, of 150 lines each.
const MaxOrderParts = 64

// OrderPart is what readOrder is asked by who takes an order in parts.
type OrderPart struct {
	ID string
	// Page is empty for the first part, else the next of the part before.
	Page string
}

// Arguments returns p as the arguments of readOrder. A system that has every order in one
// answer heeds the id alone.
func (p OrderPart) Arguments() *structpb.Struct {
	return object(map[string]*structpb.Value{"id": structpb.NewStringValue(p.ID), "page": structpb.NewStringValue(p.Page)})
}

// ParseOrderPart reads the arguments of readOrder. parts: the answer may be a part; else it
// has to be whole.
func ParseOrderPart(arguments *structpb.Struct) (asked OrderPart, parts bool, err error) {
	asked.ID, err = needed(arguments, "id")
	if arguments.GetFields()["page"] == nil || err != nil {
		return asked, false, err
	}
	asked.Page, err = ParsePage(arguments)
	return asked, true, err
}

// WebhooksArguments returns the arguments of listWebhooks.
func WebhooksArguments(page string) *structpb.Struct {
	return object(map[string]*structpb.Value{"page": structpb.NewStringValue(page)})
}

// ParsePage reads the arguments of listWebhooks. None at all are those of somebody
// else's call.
func ParsePage(arguments *structpb.Struct) (string, error) {
	if _, ok := arguments.GetFields()["page"].GetKind().(*structpb.Value_StringValue); !ok {
		return "", errors.New("page: want a text, empty for the first page")
	}
	return text(arguments, "page"), nil
}

// NotAPage is the error of a page that no page before has named as its next.
func NotAPage(text string) error {
	return fmt.Errorf("page %q: want the next of the page before", text)
}

// ParsePageNumber is ParsePage of a system that numbers its pages, from 1 on.
func ParsePageNumber(arguments *structpb.Struct) (int, error) {
	text, err := ParsePage(arguments)
	if err != nil || text == "" {
		return 1, err
	}
	page, err := strconv.Atoi(text)
	if err != nil || page < 1 {
		return 0, NotAPage(text)
	}
	return page, nil
}

// WholeNumber is the error of an id that is no whole number of at most so many digits, as
// those of many systems are: another text would be a part of a path, or change it.
func WholeNumber(id string, digits int) error {
	if id == "" || len(id) > digits || strings.Trim(id, "0123456789") != "" {
		return fmt.Errorf("id %q: want a whole number", id)
	}
	return nil
}

// Arguments returns w as the arguments of putWebhook, which makes one where ID is empty.
func (w Webhook) Arguments() *structpb.Struct {
	return object(map[string]*structpb.Value{
		"id":      structpb.NewStringValue(w.ID),
		"topic":   structpb.NewStringValue(w.Topic),
		"address": structpb.NewStringValue(w.Address),
	})
}

// ParseWebhook reads the arguments of putWebhook.
func ParseWebhook(arguments *structpb.Struct) (Webhook, error) {
	topic, err := needed(arguments, "topic")
	if err != nil {
		return Webhook{}, err
	}
	address, err := needed(arguments, "address")
	if err != nil {
		return Webhook{}, err
	}
	return Webhook{ID: text(arguments, "id"), Topic: topic, Address: address}, nil
}

// Made returns the id of the webhook that put, which asks for a new one, may have made:
// one that works, for the same and to the same address.
func (p WebhookPage) Made(put Webhook) (id string, made bool) {
	i := slices.IndexFunc(p.Webhooks, func(w Webhook) bool {
		return put.ID == "" && w.Active && w.Topic == put.Topic && w.Address == put.Address
	})
	if i < 0 {
		return "", false
	}
	return p.Webhooks[i].ID, true
}

// Value returns p as the value of listOrders.
func (p OrderPage) Value() (*structpb.Struct, error) {
	orders := make([]*structpb.Value, len(p.Orders))
	for i, o := range p.Orders {
		value, err := encode(o)
		if err != nil {
			return nil, err
		}
		orders[i] = value
	}
	fields := map[string]*structpb.Value{
		"orders": structpb.NewListValue(&structpb.ListValue{Values: orders}),
		"next":   structpb.NewStringValue(p.Next),
	}
	if p.Open {
		fields["open"] = structpb.NewBoolValue(true)
	}
	if !p.Through.IsZero() {
		fields["through"] = structpb.NewStringValue(p.Through.UTC().Format(time.RFC3339Nano))
	}
	if len(p.Partial) > 0 {
		partial := make([]*structpb.Value, len(p.Partial))
		for i, o := range p.Partial {
			partial[i] = structpb.NewStructValue(object(map[string]*structpb.Value{
				"id":        structpb.NewStringValue(o.ID),
				"updatedAt": structpb.NewStringValue(o.UpdatedAt.UTC().Format(time.RFC3339Nano)),
			}))
		}
		fields["partial"] = structpb.NewListValue(&structpb.ListValue{Values: partial})
	}
	return object(fields), nil
}

// ParseOrderPage reads the value of listOrders.
func ParseOrderPage(value *structpb.Struct) (OrderPage, error) {
	list, ok := value.GetFields()["orders"].GetKind().(*structpb.Value_ListValue)
	if !ok {
		return OrderPage{}, errors.New("orders: want a list")
	}
	page := OrderPage{Next: text(value, "next"), Open: value.GetFields()["open"].GetBoolValue()}
	if text(value, "through") != "" {
		through, err := moment(value, "through")
		if err != nil {
			return OrderPage{}, err
		}
		page.Through = through
	}
	for i, entry := range list.ListValue.GetValues() {
		o, err := decode(entry)
		if err != nil {
			return OrderPage{}, fmt.Errorf("orders[%d]: %w", i, err)
		}
		page.Orders = append(page.Orders, o)
	}
	for i, entry := range value.GetFields()["partial"].GetListValue().GetValues() {
		id, err := needed(entry.GetStructValue(), "id")
		if err != nil {
			return OrderPage{}, fmt.Errorf("partial[%d].%w", i, err)
		}
		updated, err := moment(entry.GetStructValue(), "updatedAt")
		if err != nil {
			return OrderPage{}, fmt.Errorf("partial[%d].%w", i, err)
		}
		page.Partial = append(page.Partial, Partial{ID: id, UpdatedAt: updated})
	}
	return page, nil
}

// OrderValue returns o as the value of readOrder.
func OrderValue(o *orderv1.Order) (*structpb.Struct, error) {
	value, err := encode(o)
	if err != nil {
		return nil, err
	}
	return object(map[string]*structpb.Value{"order": value}), nil
}

// OrderPartValue is OrderValue of an order with those of its lines that were asked for, and
// where the next part is; empty for the last one. A part that is not the first has another
// name: whoever does not know of parts, as another build may, would take the last one for
// an order of fewer lines.
func OrderPartValue(o *orderv1.Order, asked OrderPart, next string) (*structpb.Struct, error) {
	value, err := OrderValue(o)
	if err != nil {
		return nil, err
	}
	if asked.Page != "" {
		value.Fields["part"] = value.GetFields()["order"]
		delete(value.GetFields(), "order")
	}
	if next != "" {
		value.Fields["next"] = structpb.NewStringValue(next)
	}
	return value, nil
}

// ParseOrder reads the value of readOrder. A part is none: it would be taken for an order
// of fewer lines.
func ParseOrder(value *structpb.Struct) (*orderv1.Order, error) {
	o, next, err := ParsePart(value)
	if err == nil && (next != "" || value.GetFields()["part"] != nil) {
		return nil, fmt.Errorf("order: %s has more lines than are in the answer", o.GetId())
	}
	return o, err
}

// ParsePart reads the value of readOrder where it may be a part.
func ParsePart(value *structpb.Struct) (o *orderv1.Order, next string, err error) {
	found := value.GetFields()["part"]
	if found == nil {
		found = value.GetFields()["order"]
	}
	if o, err = decode(found); err != nil {
		return nil, "", fmt.Errorf("order: %w", err)
	}
	return o, text(value, "next"), nil
}

// Value returns p as the value of listWebhooks.
func (p WebhookPage) Value() *structpb.Struct {
	webhooks := make([]*structpb.Value, len(p.Webhooks))
	for i, w := range p.Webhooks {
		fields := w.Arguments()
		fields.Fields["active"] = structpb.NewBoolValue(w.Active)
		if w.Stale {
			fields.Fields["stale"] = structpb.NewBoolValue(true)
		}
		webhooks[i] = structpb.NewStructValue(fields)
	}
	return object(map[string]*structpb.Value{
		"webhooks": structpb.NewListValue(&structpb.ListValue{Values: webhooks}),
		"next":     structpb.NewStringValue(p.Next),
	})
}

// ParseWebhookPage reads the value of listWebhooks.
func ParseWebhookPage(value *structpb.Struct) (WebhookPage, error) {
	list, ok := value.GetFields()["webhooks"].GetKind().(*structpb.Value_ListValue)
	if !ok {
		return WebhookPage{}, errors.New("webhooks: want a list")
	}
	page := WebhookPage{Next: text(value, "next")}
	for i, entry := range list.ListValue.GetValues() {
		fields := entry.GetStructValue()
		id, err := needed(fields, "id")
		if err != nil {
			return WebhookPage{}, fmt.Errorf("webhooks[%d].%w", i, err)
		}
		page.Webhooks = append(page.Webhooks, Webhook{
			ID: id, Topic: text(fields, "topic"), Address: text(fields, "address"), Active: fields.GetFields()["active"].GetBoolValue(),
			Stale: fields.GetFields()["stale"].GetBoolValue(),
		})
	}
	return page, nil
}

// encode spells an order as the JSON form of its proto does.
func encode(o *orderv1.Order) (*structpb.Value, error) {
	data, err := protojson.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode order %s: %w", o.GetId(), err)
	}
	fields := &structpb.Struct{}
	if err := protojson.Unmarshal(data, fields); err != nil {
		return nil, fmt.Errorf("encode order %s: %w", o.GetId(), err)
	}
	return structpb.NewStructValue(fields), nil
}

// decode leaves out fields that it does not know: another build may have more.
func decode(value *structpb.Value) (*orderv1.Order, error) {
	if value.GetStructValue() == nil {
		return nil, errors.New("want an order")
	}
	data, err := protojson.Marshal(value.GetStructValue())
	if err != nil {
		return nil, err
	}
	o := &orderv1.Order{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, o); err != nil {
		return nil, err
	}
	if o.GetId() == "" {
		return nil, errors.New("want an order with an id")
	}
	return o, nil
}

func object(fields map[string]*structpb.Value) *structpb.Struct {
	return &structpb.Struct{Fields: fields}
}

func text(fields *structpb.Struct, name string) string {
	return fields.GetFields()[name].GetStringValue()
}

func needed(fields *structpb.Struct, name string) (string, error) {
	if value := text(fields, name); value != "" {
		return value, nil
	}
	return "", fmt.Errorf("%s: want a text that is not empty", name)
}

func moment(fields *structpb.Struct, name string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, text(fields, name))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: want a time such as 2026-11-23T14:30:00Z", name)
	}
	return at, nil
}
