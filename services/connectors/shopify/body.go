package shopify

import "github.com/peppasync/peppasync/services/connectors/loose"

// The types below are the REST Order shape as far as the engine reads it. Every
// field may be missing or null: shops without approval for customer data get
// nulls, and subscriptions can ask for some fields only.

type orderBody struct {
	ID                   integer        `json:"id"`
	Name                 text           `json:"name"`
	CreatedAt            moment         `json:"created_at"`
	UpdatedAt            moment         `json:"updated_at"`
	CancelledAt          moment         `json:"cancelled_at"`
	Currency             text           `json:"currency"`
	TotalPrice           text           `json:"total_price"`
	SubtotalPrice        text           `json:"subtotal_price"`
	TotalTax             text           `json:"total_tax"`
	CurrentTotalPrice    text           `json:"current_total_price"`
	CurrentSubtotalPrice text           `json:"current_subtotal_price"`
	CurrentTotalTax      text           `json:"current_total_tax"`
	TotalOutstanding     text           `json:"total_outstanding"`
	FinancialStatus      text           `json:"financial_status"`
	FulfillmentStatus    text           `json:"fulfillment_status"`
	Email                text           `json:"email"`
	Phone                text           `json:"phone"`
	Customer             *customerBody  `json:"customer"`
	ShippingAddress      *addressBody   `json:"shipping_address"`
	BillingAddress       *addressBody   `json:"billing_address"`
	LineItems            *[]lineBody    `json:"line_items"`
	ShippingLines        []shippingBody `json:"shipping_lines"`
	Tags                 tags           `json:"tags"`
	Note                 text           `json:"note"`
	NoteAttributes       pairs          `json:"note_attributes"`
	SourceName           text           `json:"source_name"`
	Test                 flag           `json:"test"`
}

type customerBody struct {
	ID        integer `json:"id"`
	Email     text    `json:"email"`
	Phone     text    `json:"phone"`
	FirstName text    `json:"first_name"`
	LastName  text    `json:"last_name"`
}

type addressBody struct {
	Name         text `json:"name"`
	FirstName    text `json:"first_name"`
	LastName     text `json:"last_name"`
	Company      text `json:"company"`
	Address1     text `json:"address1"`
	Address2     text `json:"address2"`
	City         text `json:"city"`
	ProvinceCode text `json:"province_code"`
	Zip          text `json:"zip"`
	CountryCode  text `json:"country_code"`
	Phone        text `json:"phone"`
}

type lineBody struct {
	ID               integer `json:"id"`
	SKU              text    `json:"sku"`
	Title            text    `json:"title"`
	Name             text    `json:"name"`
	Quantity         integer `json:"quantity"`
	CurrentQuantity  integer `json:"current_quantity"`
	Price            text    `json:"price"`
	VariantID        integer `json:"variant_id"`
	Properties       pairs   `json:"properties"`
	RequiresShipping flag    `json:"requires_shipping"`
}

type shippingBody struct {
	Code  text `json:"code"`
	Title text `json:"title"`
	Price text `json:"price"`
}

// Fields as they may come.
type (
	text    = loose.Text
	integer = loose.Integer
	flag    = loose.Flag
	moment  = loose.Moment
	tags    = loose.Tags
	pairs   = loose.Pairs
)
