package shopify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/loose"
)

// whole are the topics whose body is always an order; on the others of orders/
// it may be something smaller, such as the edit itself on orders/edited.
var whole = map[string]bool{
	"orders/create": true, "orders/updated": true, "orders/paid": true, "orders/cancelled": true,
	"orders/fulfilled": true, "orders/partially_fulfilled": true,
}

// OrderTopics are those of whole orders.
func (Shopify) OrderTopics() []string { return slices.Sorted(maps.Keys(whole)) }

// DocumentedTopics are those that WebhookSubscriptionTopic has of orders.
func (Shopify) DocumentedTopics() []string {
	return slices.Sorted(slices.Values(append(Shopify{}.OrderTopics(), "orders/delete", "orders/edited", "orders/link_requested",
		"orders/risk_assessment_changed", "orders/shopify_protect_eligibility_changed")))
}

// Cancels knows the topic that a shop sends when an order is cancelled.
func (Shopify) Cancels(topic string) bool { return topic == "orders/cancelled" }

// Order reads the REST Order shape. Quantities and amounts are those after edits
// and removals (current_quantity, current_total_price) where the shop sends them.
func (Shopify) Order(_ *v1alpha1.ConnectorSpec, topic string, body []byte) (*orderv1.Order, error) {
	if !strings.HasPrefix(topic, "orders/") {
		return nil, fmt.Errorf("%w: topic %q", connectors.ErrNotAnOrder, topic)
	}
	var b orderBody
	if err := loose.Object(body, &b); err != nil {
		return nil, fmt.Errorf("%w: the body of %s: %w", connectors.ErrMalformed, topic, err)
	}
	if b.LineItems == nil && !whole[topic] {
		return nil, fmt.Errorf("%w: the body of %s has no line_items", connectors.ErrNotAnOrder, topic)
	}
	if b.ID == "" {
		return nil, fmt.Errorf("%w: the body of %s has no id", connectors.ErrMalformed, topic)
	}
	updated := b.UpdatedAt
	if updated.IsZero() && topic == "orders/create" {
		updated = b.CreatedAt
	}
	if updated.IsZero() {
		return nil, fmt.Errorf("%w: order %s on %s has no updated_at, by which the newest version is told: have the subscription send it",
			connectors.ErrMalformed, b.ID, topic)
	}
	b.UpdatedAt = updated
	o, err := orderOf(&b)
	if err != nil {
		return nil, fmt.Errorf("%w: order %s on %s: %w", connectors.ErrMalformed, b.ID, topic, err)
	}
	return o, nil
}

// orderOf is the canonical order of a body.
func orderOf(b *orderBody) (*orderv1.Order, error) {
	lines, err := linesOf(b)
	if err != nil {
		return nil, err
	}
	return &orderv1.Order{
		Id:                string(b.ID),
		Name:              string(b.Name),
		CreatedAt:         b.CreatedAt.Timestamp(),
		UpdatedAt:         b.UpdatedAt.Timestamp(),
		CancelledAt:       b.CancelledAt.Timestamp(),
		Currency:          string(b.Currency),
		Total:             first(b.CurrentTotalPrice, b.TotalPrice),
		Subtotal:          first(b.CurrentSubtotalPrice, b.SubtotalPrice),
		TotalTax:          first(b.CurrentTotalTax, b.TotalTax),
		Outstanding:       string(b.TotalOutstanding),
		FinancialStatus:   string(b.FinancialStatus),
		FulfillmentStatus: string(b.FulfillmentStatus),
		Customer:          customerOf(b),
		ShippingAddress:   addressOf(b.ShippingAddress),
		BillingAddress:    addressOf(b.BillingAddress),
		Lines:             lines,
		Tags:              b.Tags,
		Note:              string(b.Note),
		Attributes:        b.NoteAttributes,
		Channel:           string(b.SourceName),
		Test:              bool(b.Test),
		ShippingLines:     shippingOf(b.ShippingLines),
	}, nil
}

func linesOf(b *orderBody) ([]*orderv1.Line, error) {
	if b.LineItems == nil {
		return nil, nil
	}
	lines := make([]*orderv1.Line, len(*b.LineItems))
	for i, item := range *b.LineItems {
		// Null or missing in older API versions; 0 is a removed line.
		quantity, err := cmp.Or(item.CurrentQuantity, item.Quantity).Units()
		if err != nil {
			return nil, fmt.Errorf("line_items[%d]: quantity: %w", i, err)
		}
		lines[i] = &orderv1.Line{
			Id:               string(item.ID),
			Sku:              string(item.SKU),
			Title:            first(item.Title, item.Name),
			Quantity:         quantity,
			UnitPrice:        string(item.Price),
			VariantId:        string(item.VariantID),
			Properties:       item.Properties,
			RequiresShipping: bool(item.RequiresShipping),
		}
	}
	return lines, nil
}

// customerOf is nil where the body says nothing about a person at all.
func customerOf(b *orderBody) *orderv1.Customer {
	c := b.Customer
	if c == nil {
		if b.Email == "" && b.Phone == "" {
			return nil
		}
		c = &customerBody{}
	}
	return &orderv1.Customer{
		Id:        string(c.ID),
		Email:     first(b.Email, c.Email),
		Phone:     first(b.Phone, c.Phone),
		FirstName: string(c.FirstName),
		LastName:  string(c.LastName),
	}
}

func addressOf(a *addressBody) *orderv1.Address {
	if a == nil {
		return nil
	}
	return &orderv1.Address{
		Name:         cmp.Or(string(a.Name), strings.TrimSpace(string(a.FirstName+" "+a.LastName))),
		Company:      string(a.Company),
		Address1:     string(a.Address1),
		Address2:     string(a.Address2),
		City:         string(a.City),
		ProvinceCode: string(a.ProvinceCode),
		PostalCode:   string(a.Zip),
		CountryCode:  string(a.CountryCode),
		Phone:        string(a.Phone),
	}
}

func shippingOf(bodies []shippingBody) []*orderv1.ShippingLine {
	var lines []*orderv1.ShippingLine
	for _, b := range bodies {
		lines = append(lines, &orderv1.ShippingLine{Code: string(b.Code), Title: string(b.Title), Price: string(b.Price)})
	}
	return lines
}

func first(values ...text) string { return string(cmp.Or(values...)) }
