package bigcommerce

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/peppasync/peppasync/test/sim/outbox"
	"github.com/peppasync/peppasync/test/sim/retail"
)

// record is an order as the store holds it; the store's lock guards it. Its lines are replaced and never written into.
type record struct {
	retail.Record

	status   int
	lines    []orderLine
	refunded int64 // cents
	archived bool
}

type orderLine struct {
	id       int64
	article  retail.Article
	quantity int
	options  []retail.Option
}

// The statuses of orders that the simulator itself uses.
const (
	StatusIncomplete          = 0
	StatusRefunded            = 4
	StatusCancelled           = 5
	StatusAwaitingPayment     = 7
	StatusCompleted           = 10
	StatusAwaitingFulfillment = 11
	StatusPartiallyRefunded   = 14
)

// statusNames are all statuses, by id.
var statusNames = []string{
	"Incomplete", "Pending", "Shipped", "Partially Shipped", "Refunded", "Cancelled", "Declined", "Awaiting Payment",
	"Awaiting Pickup", "Awaiting Shipment", "Completed", "Awaiting Fulfillment", "Manual Verification Required", "Disputed",
	"Partially Refunded",
}

// Order is an order in the shape of version 2 of the API. Amounts are texts with four decimals, moments are in RFC 2822, and
// what was bought is to be read elsewhere.
type Order struct {
	ID                    int64   `json:"id"`
	CustomerID            int64   `json:"customer_id"`
	DateCreated           string  `json:"date_created"`
	DateModified          string  `json:"date_modified"`
	DateShipped           string  `json:"date_shipped"`
	StatusID              int     `json:"status_id"`
	Status                string  `json:"status"`
	SubtotalExTax         string  `json:"subtotal_ex_tax"`
	SubtotalIncTax        string  `json:"subtotal_inc_tax"`
	SubtotalTax           string  `json:"subtotal_tax"`
	BaseShippingCost      string  `json:"base_shipping_cost"`
	ShippingCostExTax     string  `json:"shipping_cost_ex_tax"`
	ShippingCostIncTax    string  `json:"shipping_cost_inc_tax"`
	TotalExTax            string  `json:"total_ex_tax"`
	TotalIncTax           string  `json:"total_inc_tax"`
	TotalTax              string  `json:"total_tax"`
	ItemsTotal            int     `json:"items_total"`
	ItemsShipped          int     `json:"items_shipped"`
	PaymentMethod         string  `json:"payment_method"`
	PaymentProviderID     *string `json:"payment_provider_id"`
	PaymentStatus         string  `json:"payment_status"`
	RefundedAmount        string  `json:"refunded_amount"`
	OrderIsDigital        bool    `json:"order_is_digital"`
	StoreCreditAmount     string  `json:"store_credit_amount"`
	GiftCertificateAmount string  `json:"gift_certificate_amount"`
	IPAddress             string  `json:"ip_address"`
	CurrencyID            int     `json:"currency_id"`
	CurrencyCode          string  `json:"currency_code"`
	CurrencyExchangeRate  string  `json:"currency_exchange_rate"`
	DefaultCurrencyID     int     `json:"default_currency_id"`
	DefaultCurrencyCode   string  `json:"default_currency_code"`
	StaffNotes            string  `json:"staff_notes"`
	CustomerMessage       string  `json:"customer_message"`
	DiscountAmount        string  `json:"discount_amount"`
	CouponDiscount        string  `json:"coupon_discount"`
	ShippingAddressCount  int     `json:"shipping_address_count"`
	IsDeleted             bool    `json:"is_deleted"`
	EbayOrderID           string  `json:"ebay_order_id"`
	CartID                string  `json:"cart_id"`
	BillingAddress        Address `json:"billing_address"`
	IsEmailOptIn          bool    `json:"is_email_opt_in"`
	OrderSource           string  `json:"order_source"`
	ChannelID             int     `json:"channel_id"`
	ExternalSource        *string `json:"external_source"`
	Products              Link    `json:"products"`
	ShippingAddresses     Link    `json:"shipping_addresses"`
	Coupons               Link    `json:"coupons"`
	// Consignments is a Link, or []Consignment where the request includes them.
	Consignments       any     `json:"consignments"`
	ExternalID         *string `json:"external_id"`
	ExternalMerchantID *string `json:"external_merchant_id"`
	TaxProviderID      string  `json:"tax_provider_id"`
	CustomStatus       string  `json:"custom_status"`
	CustomerLocale     string  `json:"customer_locale"`
}

// Link says where the rest of an order is read.
type Link struct {
	URL      string `json:"url"`
	Resource string `json:"resource"`
}

// Address is where goods or bills go.
type Address struct {
	FirstName   string `json:"first_name"`
	LastName    string `json:"last_name"`
	Company     string `json:"company"`
	Street1     string `json:"street_1"`
	Street2     string `json:"street_2"`
	City        string `json:"city"`
	State       string `json:"state"`
	Zip         string `json:"zip"`
	Country     string `json:"country"`
	CountryISO2 string `json:"country_iso2"`
	Phone       string `json:"phone"`
	Email       string `json:"email"`
	FormFields  []any  `json:"form_fields"`
}

// ShippingAddress is an address with what is shipped to it.
type ShippingAddress struct {
	Address
	ID             int64  `json:"id"`
	OrderID        int64  `json:"order_id"`
	ItemsTotal     int    `json:"items_total"`
	ItemsShipped   int    `json:"items_shipped"`
	ShippingMethod string `json:"shipping_method"`
	CostIncTax     string `json:"cost_inc_tax"`
}

// Consignment is how the goods of an order are sent. What the simulator sells is shipped.
type Consignment struct {
	Pickups   []any      `json:"pickups"`
	Shipping  []Shipment `json:"shipping"`
	Downloads []any      `json:"downloads"`
	Email     struct {
		GiftCertificates []any `json:"gift_certificates"`
	} `json:"email"`
}

// Shipment is what goes to one address.
type Shipment struct {
	ShippingAddress
	CostExTax string `json:"cost_ex_tax"`
	// LineItems is a Link, or []Product where the request includes them.
	LineItems any `json:"line_items"`
}

// Product is one line of an order.
type Product struct {
	ID                   int64           `json:"id"`
	OrderID              int64           `json:"order_id"`
	ProductID            int64           `json:"product_id"`
	VariantID            int64           `json:"variant_id"`
	OrderAddressID       int64           `json:"order_address_id"`
	Name                 string          `json:"name"`
	NameCustomer         string          `json:"name_customer"`
	NameMerchant         string          `json:"name_merchant"`
	SKU                  string          `json:"sku"`
	UPC                  string          `json:"upc"`
	Type                 string          `json:"type"`
	BasePrice            string          `json:"base_price"`
	PriceExTax           string          `json:"price_ex_tax"`
	PriceIncTax          string          `json:"price_inc_tax"`
	PriceTax             string          `json:"price_tax"`
	BaseTotal            string          `json:"base_total"`
	TotalExTax           string          `json:"total_ex_tax"`
	TotalIncTax          string          `json:"total_inc_tax"`
	TotalTax             string          `json:"total_tax"`
	Weight               string          `json:"weight"`
	Quantity             int             `json:"quantity"`
	IsRefunded           bool            `json:"is_refunded"`
	QuantityRefunded     int             `json:"quantity_refunded"`
	RefundAmount         string          `json:"refund_amount"`
	QuantityShipped      int             `json:"quantity_shipped"`
	ParentOrderProductID *int64          `json:"parent_order_product_id"`
	IsBundledProduct     bool            `json:"is_bundled_product"`
	ExternalID           *string         `json:"external_id"`
	AppliedDiscounts     []any           `json:"applied_discounts"`
	ProductOptions       []ProductOption `json:"product_options"`
	ConfigurableFields   []any           `json:"configurable_fields"`
}

// ProductOption is what a buyer chose on a line.
type ProductOption struct {
	ID             int64  `json:"id"`
	OptionID       int64  `json:"option_id"`
	OrderProductID int64  `json:"order_product_id"`
	DisplayName    string `json:"display_name"`
	DisplayValue   string `json:"display_value"`
	Value          string `json:"value"`
	Type           string `json:"type"`
	Name           string `json:"name"`
	DisplayStyle   string `json:"display_style"`
}

func (r *record) cents() int64 {
	var sum int64
	for _, l := range r.lines {
		sum += l.article.Cents * int64(l.quantity)
	}
	return sum
}

func (r *record) items() int {
	sum := 0
	for _, l := range r.lines {
		sum += l.quantity
	}
	return sum
}

const noMoney = "0.0000"

func money(cents int64) string { return retail.Decimal(cents, 4) }

// document is the order as it is now; it needs the lock.
func (s *Store) document(r *record) Order {
	total := money(r.cents())
	link := func(what string) Link {
		resource := fmt.Sprintf("/orders/%d/%s", r.ID, what)
		return Link{URL: "https://api.bigcommerce.com/stores/" + s.cfg.Hash + "/v2" + resource, Resource: resource}
	}
	return Order{
		ID: r.ID, CustomerID: 1000 + r.ID, DateCreated: moment(r.Created), DateModified: moment(r.Modified),
		StatusID: r.status, Status: statusNames[r.status], SubtotalExTax: total, SubtotalIncTax: total, SubtotalTax: noMoney,
		BaseShippingCost: noMoney, ShippingCostExTax: noMoney, ShippingCostIncTax: noMoney,
		TotalExTax: total, TotalIncTax: total, TotalTax: noMoney, ItemsTotal: r.items(), PaymentMethod: "Credit Card",
		PaymentStatus: r.paymentStatus(), RefundedAmount: money(r.refunded), StoreCreditAmount: noMoney, GiftCertificateAmount: noMoney,
		IPAddress: "192.0.2.17", CurrencyID: 1, CurrencyCode: s.cfg.Currency, CurrencyExchangeRate: "1.0000000000",
		DefaultCurrencyID: 1, DefaultCurrencyCode: s.cfg.Currency, CustomerMessage: r.Spec.Note, DiscountAmount: noMoney,
		CouponDiscount: noMoney, ShippingAddressCount: 1, IsDeleted: r.archived, EbayOrderID: "0",
		CartID: outbox.Identifier(s.cfg.Hash, "cart", r.ID), BillingAddress: address(r.ID), OrderSource: "www", ChannelID: 1,
		Products: link("products"), ShippingAddresses: link("shippingaddresses"), Coupons: link("coupons"), Consignments: link("consignments"),
		TaxProviderID: "BasicTaxProvider", CustomStatus: statusNames[r.status], CustomerLocale: "en",
	}
}

func (r *record) paymentStatus() string {
	switch {
	case r.refunded > 0 && r.refunded >= r.cents():
		return "refunded"
	case r.refunded > 0:
		return "partially refunded"
	case r.status == StatusIncomplete || r.status == StatusAwaitingPayment:
		return ""
	default:
		return "captured"
	}
}

// products are the lines of the order as it is now; it needs the lock.
func (r *record) products() []Product {
	all := make([]Product, 0, len(r.lines))
	for _, l := range r.lines {
		price, total := money(l.article.Cents), money(l.article.Cents*int64(l.quantity))
		p := Product{
			ID: l.id, OrderID: r.ID, ProductID: l.article.ID, VariantID: l.article.ID + 500, OrderAddressID: r.ID,
			Name: l.article.Name, NameCustomer: l.article.Name, NameMerchant: l.article.Name, SKU: l.article.SKU, Type: "physical",
			BasePrice: price, PriceExTax: price, PriceIncTax: price, PriceTax: noMoney,
			BaseTotal: total, TotalExTax: total, TotalIncTax: total, TotalTax: noMoney, Weight: "1.0000", Quantity: l.quantity,
			RefundAmount: noMoney, AppliedDiscounts: []any{}, ProductOptions: []ProductOption{}, ConfigurableFields: []any{},
		}
		for i, option := range l.options {
			p.ProductOptions = append(p.ProductOptions, ProductOption{
				ID: l.id*10 + int64(i), OptionID: 90, OrderProductID: l.id, DisplayName: option.Name, DisplayValue: option.Value,
				Value: option.Value, Type: "Text field", Name: option.Name, DisplayStyle: "",
			})
		}
		all = append(all, p)
	}
	return all
}

func (r *record) shippingAddresses() []ShippingAddress {
	return []ShippingAddress{{
		Address: address(r.ID), ID: r.ID, OrderID: r.ID, ItemsTotal: r.items(), ShippingMethod: "Flat Rate", CostIncTax: noMoney,
	}}
}

// consignments are those of the order as it is now; it needs the lock.
func (r *record) consignments(lines any) []Consignment {
	c := Consignment{Pickups: []any{}, Downloads: []any{}, Shipping: []Shipment{}}
	c.Email.GiftCertificates = []any{}
	for _, a := range r.shippingAddresses() {
		c.Shipping = append(c.Shipping, Shipment{ShippingAddress: a, CostExTax: noMoney, LineItems: lines})
	}
	return []Consignment{c}
}

// included is document with what the parameter include asks for.
func (s *Store) included(r *record, query url.Values) Order {
	d := s.document(r)
	switch include := strings.Split(query.Get("include"), ","); {
	case slices.Contains(include, "consignments.line_items"):
		d.Consignments = r.consignments(r.products())
	case slices.Contains(include, "consignments"):
		d.Consignments = r.consignments(d.Products)
	}
	return d
}

func moment(at time.Time) string { return at.UTC().Format(time.RFC1123Z) }

func address(id int64) Address {
	return Address{
		FirstName: "Jane", LastName: fmt.Sprintf("Buyer %d", id), Street1: fmt.Sprintf("%d Main Street", id), City: "Austin",
		State: "Texas", Zip: "78751", Country: "United States", CountryISO2: "US", Phone: "5125550100",
		Email: fmt.Sprintf("buyer%d@example.com", id), FormFields: []any{},
	}
}
