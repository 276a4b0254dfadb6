package shopify

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Order is a shop order in the REST shape that webhook bodies have.
type Order struct {
	ID                   int64          `json:"id"`
	AdminGraphQLID       string         `json:"admin_graphql_api_id"`
	AppID                int64          `json:"app_id"`
	Name                 string         `json:"name"`
	OrderNumber          int64          `json:"order_number"`
	Number               int64          `json:"number"`
	ConfirmationNumber   string         `json:"confirmation_number"`
	Token                string         `json:"token"`
	CheckoutID           int64          `json:"checkout_id"`
	SourceName           string         `json:"source_name"`
	Test                 bool           `json:"test"`
	Confirmed            bool           `json:"confirmed"`
	Tags                 string         `json:"tags"`
	Note                 *string        `json:"note"`
	NoteAttributes       []Property     `json:"note_attributes"`
	CreatedAt            string         `json:"created_at"`
	UpdatedAt            string         `json:"updated_at"`
	ProcessedAt          string         `json:"processed_at"`
	CancelledAt          *string        `json:"cancelled_at"`
	ClosedAt             *string        `json:"closed_at"`
	CancelReason         *string        `json:"cancel_reason"`
	Currency             string         `json:"currency"`
	PresentmentCurrency  string         `json:"presentment_currency"`
	TotalPrice           string         `json:"total_price"`
	SubtotalPrice        string         `json:"subtotal_price"`
	TotalTax             string         `json:"total_tax"`
	TotalDiscounts       string         `json:"total_discounts"`
	CurrentTotalPrice    string         `json:"current_total_price"`
	TotalOutstanding     string         `json:"total_outstanding"`
	TotalPriceSet        MoneySet       `json:"total_price_set"`
	TaxesIncluded        bool           `json:"taxes_included"`
	FinancialStatus      string         `json:"financial_status"`
	FulfillmentStatus    *string        `json:"fulfillment_status"`
	PaymentGatewayNames  []string       `json:"payment_gateway_names"`
	Email                string         `json:"email"`
	Phone                *string        `json:"phone"`
	Customer             Customer       `json:"customer"`
	ShippingAddress      Address        `json:"shipping_address"`
	BillingAddress       Address        `json:"billing_address"`
	LineItems            []LineItem     `json:"line_items"`
	ShippingLines        []ShippingLine `json:"shipping_lines"`
	DiscountApplications []any          `json:"discount_applications"`
	TaxLines             []any          `json:"tax_lines"`
	Fulfillments         []any          `json:"fulfillments"`
	Refunds              []any          `json:"refunds"`
	LocationID           *int64         `json:"location_id"`
	OrderStatusURL       string         `json:"order_status_url"`
	updated              time.Time      // the last updated_at, so that the next is later
	versions             []version      // all that it had
}

// version is an updated_at and when it came about.
type version struct{ at, updated time.Time }

// Property is a name and a value on a line or an order.
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// MoneySet is an amount in the shop's currency and in the customer's.
type MoneySet struct {
	ShopMoney        Money `json:"shop_money"`
	PresentmentMoney Money `json:"presentment_money"`
}

// Money is an amount as a decimal text.
type Money struct {
	Amount       string `json:"amount"`
	CurrencyCode string `json:"currency_code"`
}

// Customer is who bought.
type Customer struct {
	ID        int64  `json:"id"`
	Email     string `json:"email"`
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
}

// Address is where goods or bills go.
type Address struct {
	FirstName    string  `json:"first_name"`
	LastName     string  `json:"last_name"`
	Company      *string `json:"company"`
	Address1     string  `json:"address1"`
	Address2     *string `json:"address2"`
	City         string  `json:"city"`
	Province     string  `json:"province"`
	ProvinceCode string  `json:"province_code"`
	Zip          string  `json:"zip"`
	Country      string  `json:"country"`
	CountryCode  string  `json:"country_code"`
	Phone        *string `json:"phone"`
}

// LineItem is one line of an order.
type LineItem struct {
	ID                  int64      `json:"id"`
	AdminGraphQLID      string     `json:"admin_graphql_api_id"`
	VariantID           int64      `json:"variant_id"`
	ProductID           int64      `json:"product_id"`
	ProductExists       bool       `json:"product_exists"`
	SKU                 string     `json:"sku"`
	Name                string     `json:"name"`
	Title               string     `json:"title"`
	VariantTitle        *string    `json:"variant_title"`
	Vendor              string     `json:"vendor"`
	Quantity            int        `json:"quantity"`
	CurrentQuantity     int        `json:"current_quantity"`
	FulfillableQuantity int        `json:"fulfillable_quantity"`
	Price               string     `json:"price"`
	PriceSet            MoneySet   `json:"price_set"`
	Grams               int        `json:"grams"`
	RequiresShipping    bool       `json:"requires_shipping"`
	Taxable             bool       `json:"taxable"`
	GiftCard            bool       `json:"gift_card"`
	FulfillmentService  string     `json:"fulfillment_service"`
	FulfillmentStatus   *string    `json:"fulfillment_status"`
	Properties          []Property `json:"properties"`
	TaxLines            []any      `json:"tax_lines"`
	DiscountAllocations []any      `json:"discount_allocations"`
}

// ShippingLine is a way of shipping and its price.
type ShippingLine struct {
	Code  string `json:"code"`
	Title string `json:"title"`
	Price string `json:"price"`
}

// OrderSpec says what to sell in one order.
type OrderSpec struct {
	Lines []LineSpec `json:"lines"`
	// Unpaid leaves financial_status at "pending"; by default an order is paid.
	Unpaid bool `json:"unpaid,omitempty"`
	// Note is the buyer's note.
	Note string `json:"note,omitempty"`
}

// LineSpec is one line to sell. A Configuration becomes the line property "_configuration".
type LineSpec struct {
	SKU           string     `json:"sku"`
	Quantity      int        `json:"quantity"`
	Configuration string     `json:"configuration,omitempty"`
	Properties    []Property `json:"properties,omitempty"`
}

// ConfigurationProperty is the name of the line property that carries a build-to-order configuration. The underscore
// hides it from buyers.
const ConfigurationProperty = "_configuration"

// build makes the order with the given number; it needs the lock, and the lines must be of known items.
func (s *Shop) build(number int64, spec OrderSpec, now time.Time) *Order {
	id := s.cfg.OrderIDBase + number
	o := &Order{
		ID: id, AdminGraphQLID: gid("Order", id), AppID: 580111, Name: "#" + strconv.FormatInt(number, 10), OrderNumber: number,
		Number: number - s.cfg.FirstOrderNumber + 1, ConfirmationNumber: fmt.Sprintf("C%09d", number),
		Token: fmt.Sprintf("%032x", id), CheckoutID: id + 1_000_000, SourceName: "web", Confirmed: true,
		NoteAttributes: []Property{}, Currency: s.cfg.Currency, PresentmentCurrency: s.cfg.Currency,
		TotalTax: "0.00", TotalDiscounts: "0.00", TotalOutstanding: "0.00", FinancialStatus: "paid",
		PaymentGatewayNames: []string{"shopify_payments"}, Email: fmt.Sprintf("buyer%d@example.com", number),
		Customer: Customer{
			ID: 7_000_000 + number, Email: fmt.Sprintf("buyer%d@example.com", number), FirstName: "Ada", LastName: fmt.Sprintf("Buyer %d", number),
		},
		ShippingAddress: address(number), BillingAddress: address(number),
		ShippingLines:        []ShippingLine{{Code: "Standard", Title: "Standard", Price: "0.00"}},
		DiscountApplications: []any{}, TaxLines: []any{}, Fulfillments: []any{}, Refunds: []any{},
		OrderStatusURL: "https://" + s.cfg.Domain + "/orders/" + fmt.Sprintf("%032x", id),
	}
	if spec.Note != "" {
		o.Note = &spec.Note
	}
	var cents int64
	for i, l := range spec.Lines {
		it := s.bySKU[l.SKU]
		cents += it.cents * int64(l.Quantity)
		o.LineItems = append(o.LineItems, s.lineItem(id*100+int64(i)+1, it, l))
	}
	total := decimal(cents)
	o.TotalPrice, o.SubtotalPrice, o.CurrentTotalPrice = total, total, total
	o.TotalPriceSet = s.money(total)
	if spec.Unpaid {
		o.FinancialStatus, o.TotalOutstanding = "pending", total
	}
	o.touch(now)
	o.CreatedAt, o.ProcessedAt = o.UpdatedAt, o.UpdatedAt
	return o
}

func (s *Shop) lineItem(id int64, it *item, l LineSpec) LineItem {
	properties := append([]Property{}, l.Properties...)
	if l.Configuration != "" {
		properties = append(properties, Property{Name: ConfigurationProperty, Value: l.Configuration})
	}
	return LineItem{
		ID: id, AdminGraphQLID: gid("LineItem", id), VariantID: it.variantID, ProductID: it.variantID + 1_000_000, ProductExists: true,
		SKU: it.sku, Name: it.sku, Title: it.sku, Vendor: "Demo", Quantity: l.Quantity, CurrentQuantity: l.Quantity,
		FulfillableQuantity: l.Quantity, Price: decimal(it.cents), PriceSet: s.money(decimal(it.cents)), Grams: 500, RequiresShipping: true,
		Taxable: true, FulfillmentService: "manual", Properties: properties, TaxLines: []any{}, DiscountAllocations: []any{},
	}
}

func (s *Shop) money(amount string) MoneySet {
	m := Money{Amount: amount, CurrencyCode: s.cfg.Currency}
	return MoneySet{ShopMoney: m, PresentmentMoney: m}
}

func address(number int64) Address {
	return Address{
		FirstName: "Ada", LastName: fmt.Sprintf("Buyer %d", number), Address1: fmt.Sprintf("%d Main Street", number), City: "Springfield",
		Province: "Illinois", ProvinceCode: "IL", Zip: "62701", Country: "United States", CountryCode: "US",
	}
}

// touch moves updated_at forward: to now, or a second past the last one, since the field has whole seconds and a later
// version of an order does not look as old as an earlier one unless that is wanted.
func (o *Order) touch(now time.Time) {
	at := now
	now = now.Truncate(time.Second)
	if !now.After(o.updated) {
		now = o.updated.Add(time.Second)
	}
	o.updated = now
	// A copy, since copies of the order share the list.
	o.versions = append(slices.Clip(o.versions), version{at, now})
	o.UpdatedAt = now.Format(time.RFC3339)
}

// touchAgain is a change in the second of the last one.
func (o *Order) touchAgain(now time.Time) {
	o.versions = append(slices.Clip(o.versions), version{now, o.updated})
}

func gid(kind string, id int64) string { return fmt.Sprintf("gid://shopify/%s/%d", kind, id) }

func decimal(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
