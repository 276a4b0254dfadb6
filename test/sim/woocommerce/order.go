package woocommerce

import (
	"fmt"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/test/sim/retail"
)

// record is an order as the shop holds it; the shop's lock guards it. Its lines and refunds are replaced and never written
// into, so that a copy of the record stays as it is.
type record struct {
	retail.Record

	status          string
	lines           []orderLine
	metaID          int64
	paid, completed time.Time
	refunds         []Refund
}

type orderLine struct {
	id, metaID int64
	article    retail.Article
	quantity   int
	options    []retail.Option
}

// Order is a shop order in the REST shape, which webhook bodies have too.
type Order struct {
	ID                 int64            `json:"id"`
	ParentID           int64            `json:"parent_id"`
	Status             string           `json:"status"`
	Currency           string           `json:"currency"`
	Version            string           `json:"version"`
	PricesIncludeTax   bool             `json:"prices_include_tax"`
	DateCreated        *string          `json:"date_created"`
	DateModified       *string          `json:"date_modified"`
	DiscountTotal      string           `json:"discount_total"`
	DiscountTax        string           `json:"discount_tax"`
	ShippingTotal      string           `json:"shipping_total"`
	ShippingTax        string           `json:"shipping_tax"`
	CartTax            string           `json:"cart_tax"`
	Total              string           `json:"total"`
	TotalTax           string           `json:"total_tax"`
	CustomerID         int64            `json:"customer_id"`
	OrderKey           string           `json:"order_key"`
	Billing            Address          `json:"billing"`
	Shipping           Address          `json:"shipping"`
	PaymentMethod      string           `json:"payment_method"`
	PaymentMethodTitle string           `json:"payment_method_title"`
	TransactionID      string           `json:"transaction_id"`
	CustomerIPAddress  string           `json:"customer_ip_address"`
	CustomerUserAgent  string           `json:"customer_user_agent"`
	CreatedVia         string           `json:"created_via"`
	CustomerNote       string           `json:"customer_note"`
	DateCompleted      *string          `json:"date_completed"`
	DatePaid           *string          `json:"date_paid"`
	CartHash           string           `json:"cart_hash"`
	Number             string           `json:"number"`
	MetaData           []Meta           `json:"meta_data"`
	LineItems          []LineItem       `json:"line_items"`
	TaxLines           []any            `json:"tax_lines"`
	ShippingLines      []ShippingLine   `json:"shipping_lines"`
	FeeLines           []any            `json:"fee_lines"`
	CouponLines        []any            `json:"coupon_lines"`
	Refunds            []Refund         `json:"refunds"`
	PaymentURL         string           `json:"payment_url"`
	IsEditable         bool             `json:"is_editable"`
	NeedsPayment       bool             `json:"needs_payment"`
	NeedsProcessing    bool             `json:"needs_processing"`
	DateCreatedGMT     *string          `json:"date_created_gmt"`
	DateModifiedGMT    *string          `json:"date_modified_gmt"`
	DateCompletedGMT   *string          `json:"date_completed_gmt"`
	DatePaidGMT        *string          `json:"date_paid_gmt"`
	CurrencySymbol     string           `json:"currency_symbol"`
	Links              map[string][]any `json:"_links"`
}

// Address is where goods or bills go. Billing has an email address, Shipping has none.
type Address struct {
	FirstName string  `json:"first_name"`
	LastName  string  `json:"last_name"`
	Company   string  `json:"company"`
	Address1  string  `json:"address_1"`
	Address2  string  `json:"address_2"`
	City      string  `json:"city"`
	State     string  `json:"state"`
	Postcode  string  `json:"postcode"`
	Country   string  `json:"country"`
	Email     *string `json:"email,omitempty"`
	Phone     string  `json:"phone"`
}

// Meta is an entry that a plug-in or a buyer put on an order or on a line. Entries of lines have the display forms.
type Meta struct {
	ID           int64   `json:"id"`
	Key          string  `json:"key"`
	Value        string  `json:"value"`
	DisplayKey   *string `json:"display_key,omitempty"`
	DisplayValue *string `json:"display_value,omitempty"`
}

// LineItem is one line of an order. Price is a number where all other amounts are texts, as at the real one.
type LineItem struct {
	ID          int64   `json:"id"`
	Name        string  `json:"name"`
	ProductID   int64   `json:"product_id"`
	VariationID int64   `json:"variation_id"`
	Quantity    int     `json:"quantity"`
	TaxClass    string  `json:"tax_class"`
	Subtotal    string  `json:"subtotal"`
	SubtotalTax string  `json:"subtotal_tax"`
	Total       string  `json:"total"`
	TotalTax    string  `json:"total_tax"`
	Taxes       []any   `json:"taxes"`
	MetaData    []Meta  `json:"meta_data"`
	SKU         string  `json:"sku"`
	Price       float64 `json:"price"`
	Image       any     `json:"image"`
	ParentName  *string `json:"parent_name"`
}

// ShippingLine is a way of shipping and its price.
type ShippingLine struct {
	ID          int64  `json:"id"`
	MethodTitle string `json:"method_title"`
	MethodID    string `json:"method_id"`
	InstanceID  string `json:"instance_id"`
	Total       string `json:"total"`
	TotalTax    string `json:"total_tax"`
	Taxes       []any  `json:"taxes"`
	MetaData    []Meta `json:"meta_data"`
}

// Refund is money that went back; its total is negative.
type Refund struct {
	ID     int64  `json:"id"`
	Reason string `json:"reason"`
	Total  string `json:"total"`
}

// The statuses of orders that the simulator itself uses.
const (
	StatusPending    = "pending"
	StatusProcessing = "processing"
	StatusCompleted  = "completed"
	StatusCancelled  = "cancelled"
	StatusRefunded   = "refunded"
	StatusTrash      = "trash"
)

// statuses are those that a WooCommerce without plug-ins knows.
var statuses = []string{
	StatusPending, StatusProcessing, "on-hold", StatusCompleted, StatusCancelled, StatusRefunded, "failed", StatusTrash, "checkout-draft",
}

func (r *record) cents() int64 {
	var sum int64
	for _, l := range r.lines {
		sum += l.article.Cents * int64(l.quantity)
	}
	return sum
}

// document is the order as it is now; it needs the lock.
func (s *Shop) document(r *record) Order {
	id := strconv.FormatInt(r.ID, 10)
	total := retail.Decimal(r.cents(), 2)
	email := fmt.Sprintf("buyer%d@example.com", r.ID)
	billing, shipping := address(r.ID), address(r.ID)
	billing.Email, billing.Phone = &email, "(555) 555-5555"
	o := Order{
		ID: r.ID, Status: r.status, Currency: s.cfg.Currency, Version: "11.2.0",
		DiscountTotal: "0.00", DiscountTax: "0.00", ShippingTotal: "0.00", ShippingTax: "0.00", CartTax: "0.00", Total: total, TotalTax: "0.00",
		OrderKey: "wc_order_" + secretText("order key "+id, 13), Billing: billing, Shipping: shipping,
		PaymentMethod: "stripe", PaymentMethodTitle: "Credit card", CustomerIPAddress: "192.0.2.17", CustomerUserAgent: "Mozilla/5.0",
		CreatedVia: "checkout", CustomerNote: r.Spec.Note, CartHash: secretText("cart "+id, 32), Number: id,
		MetaData:  []Meta{{ID: r.metaID, Key: "_download_permissions_granted", Value: "yes"}},
		LineItems: make([]LineItem, 0, len(r.lines)), TaxLines: []any{}, FeeLines: []any{}, CouponLines: []any{},
		ShippingLines: []ShippingLine{{
			ID: r.ID*100 + 99, MethodTitle: "Flat rate", MethodID: "flat_rate", InstanceID: "1",
			Total: "0.00", TotalTax: "0.00", Taxes: []any{}, MetaData: []Meta{},
		}},
		Refunds:    append([]Refund{}, r.refunds...),
		PaymentURL: s.cfg.URL + "checkout/order-pay/" + id + "/?pay_for_order=true", IsEditable: r.status == StatusPending,
		NeedsPayment: r.status == StatusPending, NeedsProcessing: r.status == StatusProcessing, CurrencySymbol: "€",
		Links: s.links("orders", r.ID),
	}
	if !r.paid.IsZero() {
		o.TransactionID = "ch_" + secretText("payment "+id, 24)
	}
	for _, l := range r.lines {
		o.LineItems = append(o.LineItems, l.document())
	}
	o.DateCreated, o.DateCreatedGMT = s.dates(r.Created)
	o.DateModified, o.DateModifiedGMT = s.dates(r.Modified)
	o.DatePaid, o.DatePaidGMT = s.dates(r.paid)
	o.DateCompleted, o.DateCompletedGMT = s.dates(r.completed)
	return o
}

func (l orderLine) document() LineItem {
	total := retail.Decimal(l.article.Cents*int64(l.quantity), 2)
	item := LineItem{
		ID: l.id, Name: l.article.Name, ProductID: l.article.ID, Quantity: l.quantity, Subtotal: total, SubtotalTax: "0.00",
		Total: total, TotalTax: "0.00", Taxes: []any{}, MetaData: []Meta{}, SKU: l.article.SKU, Price: float64(l.article.Cents) / 100,
		Image: map[string]string{"id": "", "src": ""},
	}
	for i, option := range l.options {
		item.MetaData = append(item.MetaData, Meta{
			ID: l.metaID + int64(i), Key: option.Name, Value: option.Value, DisplayKey: &option.Name, DisplayValue: &option.Value,
		})
	}
	return item
}

// dates writes a moment in the shop's time and in GMT. Both are without a zone, as at the real one.
func (s *Shop) dates(at time.Time) (local, gmt *string) {
	if at.IsZero() {
		return nil, nil
	}
	const layout = "2006-01-02T15:04:05"
	localText, gmtText := at.In(s.zone).Format(layout), at.UTC().Format(layout)
	return &localText, &gmtText
}

func (s *Shop) links(collection string, id int64) map[string][]any {
	base := s.cfg.URL + "wp-json/wc/v3/" + collection
	return map[string][]any{
		"self":       {map[string]string{"href": fmt.Sprintf("%s/%d", base, id)}},
		"collection": {map[string]string{"href": base}},
	}
}

func address(id int64) Address {
	return Address{
		FirstName: "João", LastName: fmt.Sprintf("Buyer %d", id), Address1: fmt.Sprintf("%d Main Street", id), City: "Lisboa",
		Postcode: "1000-001", Country: "PT",
	}
}
