package woocommerce

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/loose"
)

// Cancels knows the topic of orders that are in the trash. An order that is cancelled
// comes by order.updated, like all else.
func (WooCommerce) Cancels(topic string) bool { return topic == topicDeleted }

// OrderTopics are those whose payload is an order, or names one that is in the trash.
func (WooCommerce) OrderTopics() []string {
	return []string{topicCreated, topicDeleted, topicRestored, topicUpdated}
}

// Topic is order.deleted for what is in the trash.
func (WooCommerce) Topic(order *orderv1.Order, known bool) string {
	switch {
	case order.GetAttributes()[attributeStatus] == statusTrash:
		return topicDeleted
	case known:
		return topicUpdated
	}
	return topicCreated
}

// Order reads the order of the REST API, which a webhook's body is.
func (WooCommerce) Order(_ *v1alpha1.ConnectorSpec, topic string, body []byte) (*orderv1.Order, error) {
	switch topic {
	case topicDeleted:
		if _, err := named(topic, body); err != nil {
			return nil, err
		}
		return nil, connectors.ErrThin
	case topicCreated, topicUpdated, topicRestored:
	default:
		return nil, fmt.Errorf("%w: topic %q", connectors.ErrNotAnOrder, topic)
	}
	order, err := read(body)
	if err == nil || errors.Is(err, connectors.ErrNotAnOrder) {
		return order, err
	}
	return nil, fmt.Errorf("%w: the body of %s: %w", connectors.ErrMalformed, topic, err)
}

// OrderID returns the id in the body of order.deleted.
func (WooCommerce) OrderID(_ *v1alpha1.ConnectorSpec, topic string, body []byte) (string, error) {
	return named(topic, body)
}

func named(topic string, body []byte) (string, error) {
	var b struct {
		ID loose.Integer `json:"id"`
	}
	if err := json.Unmarshal(body, &b); err != nil || b.ID == "" || b.ID == "0" {
		return "", fmt.Errorf("%w: the body of %s has no id of an order", connectors.ErrMalformed, topic)
	}
	return string(b.ID), nil
}

// read reads an order. Its error says what is wrong with it; ErrNotAnOrder for a
// basket that nobody has ordered yet.
func read(body []byte) (*orderv1.Order, error) {
	var b orderBody
	if err := loose.Object(body, &b); err != nil {
		return nil, err
	}
	updated := b.DateModified
	if updated.IsZero() {
		updated = b.DateCreated
	}
	switch {
	case b.ID == "" || b.ID == "0":
		// What a webhook sends whose user may not read orders is an error in place of one.
		return nil, fmt.Errorf("there is no id in it%s: the webhook's user must be one that may read orders", b.Code.said(b.Message))
	case b.Status == statusDraft, b.Status == statusAutoDraft:
		return nil, fmt.Errorf("%w: order %s is a draft", connectors.ErrNotAnOrder, b.ID)
	case updated.IsZero():
		return nil, fmt.Errorf("order %s has no date_modified_gmt, by which the newest version is told", b.ID)
	case b.LineItems == nil:
		return nil, fmt.Errorf("order %s has no line_items", b.ID)
	}
	lines, err := linesOf(&b)
	if err != nil {
		return nil, fmt.Errorf("order %s: %w", b.ID, err)
	}
	order := &orderv1.Order{
		Id:              string(b.ID),
		Name:            "#" + string(cmp.Or(b.Number, text(b.ID))),
		CreatedAt:       b.DateCreated.Timestamp(),
		UpdatedAt:       updated.Timestamp(),
		Currency:        string(b.Currency),
		Total:           string(b.Total),
		Subtotal:        subtotal(*b.LineItems),
		TotalTax:        string(b.TotalTax),
		Customer:        customerOf(&b),
		ShippingAddress: addressOf(&b.Shipping),
		BillingAddress:  addressOf(&b.Billing),
		Lines:           lines,
		Note:            string(b.CustomerNote),
		Attributes:      attributesOf(&b),
		Channel:         string(b.CreatedVia),
		ShippingLines:   shippingOf(b.ShippingLines),
	}
	standing(order, &b)
	return order, nil
}

func linesOf(b *orderBody) ([]*orderv1.Line, error) {
	lines := make([]*orderv1.Line, len(*b.LineItems))
	for i, item := range *b.LineItems {
		quantity, err := item.Quantity.Units()
		if err != nil {
			return nil, fmt.Errorf("line_items[%d]: quantity: %w", i, err)
		}
		lines[i] = &orderv1.Line{
			Id:         string(item.ID),
			Sku:        string(item.SKU),
			Title:      string(item.Name),
			Quantity:   quantity,
			UnitPrice:  string(item.Price),
			VariantId:  cmp.Or(item.VariationID.UnlessZero(), item.ProductID.UnlessZero()),
			Properties: item.MetaData,
			// A shop does not say it of a line; what is sent to nobody has no way of shipping.
			RequiresShipping: len(b.ShippingLines) > 0,
		}
	}
	return lines, nil
}

// customerOf is nil where the body says nothing about a person at all.
func customerOf(b *orderBody) *orderv1.Customer {
	customer := &orderv1.Customer{
		Id:        b.CustomerID.UnlessZero(), // 0 is a guest
		Email:     string(b.Billing.Email),
		Phone:     string(b.Billing.Phone),
		FirstName: string(b.Billing.FirstName),
		LastName:  string(b.Billing.LastName),
	}
	if customer.GetId()+customer.GetEmail()+customer.GetPhone()+customer.GetFirstName()+customer.GetLastName() == "" {
		return nil
	}
	return customer
}

// addressOf is nil where all of it is empty, as shipping is of what is not sent.
func addressOf(a *addressBody) *orderv1.Address {
	if a.FirstName+a.LastName+a.Company+a.Address1+a.Address2+a.City+a.State+a.Postcode+a.Country == "" {
		return nil
	}
	return &orderv1.Address{
		Name:         strings.TrimSpace(string(a.FirstName + " " + a.LastName)),
		Company:      string(a.Company),
		Address1:     string(a.Address1),
		Address2:     string(a.Address2),
		City:         string(a.City),
		ProvinceCode: string(a.State),
		PostalCode:   string(a.Postcode),
		CountryCode:  string(a.Country),
		Phone:        string(a.Phone),
	}
}

func shippingOf(bodies []shippingBody) []*orderv1.ShippingLine {
	var lines []*orderv1.ShippingLine
	for _, b := range bodies {
		lines = append(lines, &orderv1.ShippingLine{Code: string(b.MethodID), Title: string(b.MethodTitle), Price: string(b.Total)})
	}
	return lines
}

// What attributes have beside the order's meta_data: the shop's own words for what
// the canonical order has fewer of.
const (
	attributeStatus  = "woocommerce_status"
	attributePayment = "woocommerce_payment_method"
)

func attributesOf(b *orderBody) map[string]string {
	attributes := make(map[string]string, len(b.MetaData)+2)
	maps.Copy(attributes, b.MetaData)
	attributes[attributeStatus] = string(b.Status)
	if b.PaymentMethod != "" {
		attributes[attributePayment] = string(b.PaymentMethod)
	}
	return attributes
}
