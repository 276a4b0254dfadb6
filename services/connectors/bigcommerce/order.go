package bigcommerce

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors/loose"
)

// errIncomplete: somebody came as far as paying and did not order.
var errIncomplete = errors.New("the order is Incomplete, which is none yet")

// read reads an order. Its error says what is wrong with it; errIncomplete for what
// nobody has ordered.
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
		return nil, errors.New("there is no id in it")
	case b.StatusID == statusIncomplete:
		return nil, fmt.Errorf("%w: %s", errIncomplete, b.ID)
	case updated.IsZero():
		return nil, fmt.Errorf("order %s has no date_modified, by which the newest version is told", b.ID)
	}
	order := &orderv1.Order{
		Id:             string(b.ID),
		Name:           "#" + string(b.ID),
		CreatedAt:      b.DateCreated.Timestamp(),
		UpdatedAt:      updated.Timestamp(),
		Currency:       string(cmp.Or(b.CurrencyCode, b.DefaultCurrency)),
		Total:          money(b.TotalIncTax),
		Subtotal:       money(b.SubtotalExTax),
		TotalTax:       money(b.TotalTax),
		Customer:       customerOf(&b),
		BillingAddress: addressOf(&b.Billing),
		Note:           string(b.CustomerMessage),
		Attributes:     attributesOf(&b),
		Channel:        string(b.OrderSource),
	}
	if err := consign(order, &b); err != nil {
		return nil, fmt.Errorf("order %s: %w", b.ID, err)
	}
	standing(order, &b)
	return order, nil
}

// pageOfLines, and the largest page, are how many lines a list of them has where there
// are more.
const pageOfLines, largestPageOfLines = 50, 250

// consign writes lines and addresses. The store has them by what they are sent in; an
// order has one address here, that of the first parcel.
func consign(order *orderv1.Order, b *orderBody) error {
	var items lines
	for _, c := range b.Consignments {
		for _, s := range c.Shipping {
			if order.GetShippingAddress() == nil {
				order.ShippingAddress = addressOf(&s.addressBody)
			}
			order.ShippingLines = append(order.ShippingLines, &orderv1.ShippingLine{
				Code: string(s.ShippingMethod), Title: string(s.ShippingMethod), Price: money(s.CostExTax),
			})
			items = append(items, s.LineItems...)
		}
		for _, parcel := range slices.Concat(c.Pickups, c.Downloads, c.Email.GiftCertificates) {
			items = append(items, parcel.LineItems...)
		}
	}
	units := int64(0)
	for i := range items {
		line, quantity, err := lineOf(&items[i])
		if err != nil {
			return fmt.Errorf("line %s: %w", items[i].ID, err)
		}
		units += quantity
		order.Lines = append(order.Lines, line)
	}
	total, _ := strconv.ParseInt(string(b.ItemsTotal), 10, 64)
	full := len(items) == pageOfLines || len(items) == largestPageOfLines
	if total > 0 && len(items) == 0 || full && units < total {
		// An order of fewer lines than were bought would be sent, and nobody would notice.
		return fmt.Errorf("%d units were bought, and the store tells of %d", total, units)
	}
	return nil
}

// lineOf returns the line, and how many units were bought. Those that were refunded are
// not wanted any more.
func lineOf(item *lineBody) (*orderv1.Line, int64, error) {
	quantity, err := item.Quantity.Units()
	if err != nil {
		return nil, 0, fmt.Errorf("quantity: %w", err)
	}
	refunded, err := item.QuantityRefunded.Units()
	if err != nil {
		return nil, 0, fmt.Errorf("quantity_refunded: %w", err)
	}
	return &orderv1.Line{
		Id:               string(item.ID),
		Sku:              string(item.SKU),
		Title:            string(item.Name),
		Quantity:         max(0, quantity-refunded),
		UnitPrice:        money(item.PriceExTax),
		VariantId:        cmp.Or(item.VariantID.UnlessZero(), item.ProductID.UnlessZero()),
		Properties:       propertiesOf(item),
		RequiresShipping: item.Type == "physical",
	}, quantity, nil
}

// propertiesOf are what the buyer chose.
func propertiesOf(item *lineBody) map[string]string {
	properties := item.ConfigurableFields
	for _, option := range item.ProductOptions {
		properties.Set(string(option.DisplayName), string(cmp.Or(option.DisplayValue, option.Value)))
	}
	if item.WrappingName != "" {
		properties.Set("wrapping_name", string(item.WrappingName))
	}
	if item.WrappingMessage != "" {
		properties.Set("wrapping_message", string(item.WrappingMessage))
	}
	return properties
}

// customerOf is nil where the order says nothing about a person at all.
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

// addressOf is nil where all of it is empty. A store has the name of a state and no
// code of it.
func addressOf(a *addressBody) *orderv1.Address {
	if a.FirstName+a.LastName+a.Company+a.Street1+a.Street2+a.City+a.State+a.Zip+a.CountryISO2 == "" {
		return nil
	}
	return &orderv1.Address{
		Name:         strings.TrimSpace(string(a.FirstName + " " + a.LastName)),
		Company:      string(a.Company),
		Address1:     string(a.Street1),
		Address2:     string(a.Street2),
		City:         string(a.City),
		ProvinceCode: string(a.State),
		PostalCode:   string(a.Zip),
		CountryCode:  string(a.CountryISO2),
		Phone:        string(a.Phone),
	}
}

// money drops the decimals that say nothing: a store writes four, 38.1300.
func money(amount text) string {
	whole, fraction, found := strings.Cut(string(amount), ".")
	if !found || strings.Trim(fraction, "0123456789") != "" {
		return string(amount)
	}
	const usual = 2
	for len(fraction) > usual && strings.HasSuffix(fraction, "0") {
		fraction = fraction[:len(fraction)-1]
	}
	return whole + "." + fraction
}
