package bigcommerce

import (
	"encoding/json"
	"time"

	"github.com/peppasync/peppasync/services/connectors/loose"
)

// Fields as they may come.
type (
	text    = loose.Text
	integer = loose.Integer
	flag    = loose.Flag
	pairs   = loose.Pairs
)

// moment is a time of version 2 of the API, in RFC 2822.
type moment struct{ loose.Moment }

// UnmarshalJSON takes RFC 2822, and RFC 3339 as version 3 writes it.
func (m *moment) UnmarshalJSON(data []byte) error {
	return m.Read(data, time.RFC1123Z, time.RFC3339Nano, "Mon, 2 Jan 2006 15:04:05 -0700")
}

// The types below are an order of version 2, read with its consignments and their
// lines, as far as the engine reads it.
type orderBody struct {
	ID              integer      `json:"id"`
	CustomerID      integer      `json:"customer_id"`
	DateCreated     moment       `json:"date_created"`
	DateModified    moment       `json:"date_modified"`
	StatusID        integer      `json:"status_id"`
	Status          text         `json:"status"`
	SubtotalExTax   text         `json:"subtotal_ex_tax"`
	TotalIncTax     text         `json:"total_inc_tax"`
	TotalTax        text         `json:"total_tax"`
	ItemsTotal      integer      `json:"items_total"`
	ItemsShipped    integer      `json:"items_shipped"`
	PaymentMethod   text         `json:"payment_method"`
	PaymentStatus   text         `json:"payment_status"`
	CurrencyCode    text         `json:"currency_code"`
	DefaultCurrency text         `json:"default_currency_code"`
	CustomerMessage text         `json:"customer_message"`
	StaffNotes      text         `json:"staff_notes"`
	IsDeleted       flag         `json:"is_deleted"`
	Billing         addressBody  `json:"billing_address"`
	OrderSource     text         `json:"order_source"`
	ChannelID       integer      `json:"channel_id"`
	ExternalID      text         `json:"external_id"`
	Consignments    consignments `json:"consignments"`
}

type addressBody struct {
	FirstName   text `json:"first_name"`
	LastName    text `json:"last_name"`
	Company     text `json:"company"`
	Street1     text `json:"street_1"`
	Street2     text `json:"street_2"`
	City        text `json:"city"`
	State       text `json:"state"`
	Zip         text `json:"zip"`
	CountryISO2 text `json:"country_iso2"`
	Email       text `json:"email"`
	Phone       text `json:"phone"`
}

// consignments are one object, or a list of such; where they were not asked for, a link.
type consignments []consignmentBody

// UnmarshalJSON takes all of these.
func (c *consignments) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case '[':
		return json.Unmarshal(data, (*[]consignmentBody)(c))
	case '{':
		var one consignmentBody
		if err := json.Unmarshal(data, &one); err != nil {
			return err
		}
		*c = consignments{one}
	}
	return nil
}

type consignmentBody struct {
	Shipping  []shippingBody `json:"shipping"`
	Pickups   []parcelBody   `json:"pickups"`
	Downloads []parcelBody   `json:"downloads"`
	Email     struct {
		GiftCertificates []parcelBody `json:"gift_certificates"`
	} `json:"email"`
}

type parcelBody struct {
	LineItems lines `json:"line_items"`
}

type shippingBody struct {
	addressBody
	parcelBody

	ShippingMethod text `json:"shipping_method"`
	CostExTax      text `json:"cost_ex_tax"`
}

// lines are a list; where they were not asked for, a link or a list of links.
type lines []lineBody

// UnmarshalJSON leaves out what is a link.
func (l *lines) UnmarshalJSON(data []byte) error {
	if data[0] != '[' {
		return nil
	}
	var all []lineBody
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	for _, line := range all {
		if line.ID != "" {
			*l = append(*l, line)
		}
	}
	return nil
}

type lineBody struct {
	ID                 integer      `json:"id"`
	Name               text         `json:"name"`
	SKU                text         `json:"sku"`
	Type               text         `json:"type"`
	ProductID          integer      `json:"product_id"`
	VariantID          integer      `json:"variant_id"`
	PriceExTax         text         `json:"price_ex_tax"`
	Quantity           integer      `json:"quantity"`
	QuantityRefunded   integer      `json:"quantity_refunded"`
	WrappingName       text         `json:"wrapping_name"`
	WrappingMessage    text         `json:"wrapping_message"`
	ProductOptions     []optionBody `json:"product_options"`
	ConfigurableFields pairs        `json:"configurable_fields"`
}

type optionBody struct {
	DisplayName  text `json:"display_name"`
	DisplayValue text `json:"display_value"`
	Value        text `json:"value"`
}
