package woocommerce

import (
	"time"

	"github.com/peppasync/peppasync/services/connectors/loose"
)

// Fields as they may come.
type (
	text    = loose.Text
	integer = loose.Integer
	pairs   = loose.Pairs
)

// moment is one of the fields date_..._gmt, which are in UTC and do not say so.
type moment struct{ loose.Moment }

// UnmarshalJSON takes a time without an offset, and one with it.
func (m *moment) UnmarshalJSON(data []byte) error {
	return m.Read(data, "2006-01-02T15:04:05", time.RFC3339Nano)
}

// The types below are an order of the REST API as far as the engine reads it. Every
// field may be missing or null: plugins change what a shop sends.
type orderBody struct {
	ID            integer        `json:"id"`
	Number        text           `json:"number"`
	Status        text           `json:"status"`
	Currency      text           `json:"currency"`
	DateCreated   moment         `json:"date_created_gmt"`
	DateModified  moment         `json:"date_modified_gmt"`
	DatePaid      moment         `json:"date_paid_gmt"`
	DateCompleted moment         `json:"date_completed_gmt"`
	Total         text           `json:"total"`
	TotalTax      text           `json:"total_tax"`
	CustomerID    integer        `json:"customer_id"`
	CustomerNote  text           `json:"customer_note"`
	PaymentMethod text           `json:"payment_method"`
	CreatedVia    text           `json:"created_via"`
	Billing       addressBody    `json:"billing"`
	Shipping      addressBody    `json:"shipping"`
	LineItems     *[]lineBody    `json:"line_items"`
	ShippingLines []shippingBody `json:"shipping_lines"`
	Refunds       []refundBody   `json:"refunds"`
	MetaData      pairs          `json:"meta_data"`
	// Of an error in place of an order.
	Code    errorCode `json:"code"`
	Message text      `json:"message"`
}

type errorCode text

func (c *errorCode) UnmarshalJSON(data []byte) error { return (*text)(c).UnmarshalJSON(data) }

func (c errorCode) said(message text) string {
	if c == "" {
		return ""
	}
	return " (" + string(c) + ": " + string(message) + ")"
}

type addressBody struct {
	FirstName text `json:"first_name"`
	LastName  text `json:"last_name"`
	Company   text `json:"company"`
	Address1  text `json:"address_1"`
	Address2  text `json:"address_2"`
	City      text `json:"city"`
	State     text `json:"state"`
	Postcode  text `json:"postcode"`
	Country   text `json:"country"`
	Email     text `json:"email"`
	Phone     text `json:"phone"`
}

type lineBody struct {
	ID          integer `json:"id"`
	Name        text    `json:"name"`
	SKU         text    `json:"sku"`
	ProductID   integer `json:"product_id"`
	VariationID integer `json:"variation_id"`
	Quantity    integer `json:"quantity"`
	// Price is what a unit costs after discounts.
	Price text `json:"price"`
	// Total is what the line costs after discounts, without tax.
	Total    text  `json:"total"`
	MetaData pairs `json:"meta_data"`
}

type shippingBody struct {
	MethodID    text `json:"method_id"`
	MethodTitle text `json:"method_title"`
	Total       text `json:"total"`
}

type refundBody struct {
	ID integer `json:"id"`
}
