package shopify

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

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

// text is a string that may come as a number, as a boolean, as null or as
// anything else; what is no string is kept as its compact JSON.
type text string

func (t *text) UnmarshalJSON(data []byte) error {
	value, err := scalar(data)
	*t = text(value)
	return err
}

func scalar(data []byte) (string, error) {
	switch data[0] {
	case 'n':
		return "", nil
	case '"':
		var s string
		err := json.Unmarshal(data, &s)
		return s, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return "", err
	}
	// Bytes inside a JSON value that are no UTF-8 could not be stored as text.
	return strings.ToValidUTF8(compact.String(), "\uFFFD"), nil
}

// integer is a whole number as its decimal digits, never a float: an id has up
// to 19 of them. Empty where it is null or missing.
type integer string

var errNotInteger = errors.New("want a whole number")

func (i *integer) UnmarshalJSON(data []byte) error {
	value, err := scalar(data)
	if err != nil {
		return err
	}
	digits := strings.TrimPrefix(value, "-")
	if value != "" && (digits == "" || len(digits) > 20 || strings.Trim(digits, "0123456789") != "") {
		return errNotInteger
	}
	*i = integer(value)
	return nil
}

// flag is a boolean; null and anything else are false.
type flag bool

func (f *flag) UnmarshalJSON(data []byte) error {
	*f = flag(string(data) == "true" || string(data) == `"true"`)
	return nil
}

// moment is a point in time with the shop's offset, kept in UTC; zero where it
// is null or missing.
type moment struct{ time.Time }

var errNotMoment = errors.New("want a time such as 2026-11-23T09:30:00-05:00, between the years 1 and 9999")

func (m *moment) UnmarshalJSON(data []byte) error {
	value, err := scalar(data)
	if err != nil || value == "" {
		return err
	}
	at, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		at, err = time.Parse("2006-01-02T15:04:05.999999999-0700", value)
	}
	at = at.UTC()
	// Outside of these a protobuf timestamp does not exist; an offset can carry
	// the first and the last hours of that span out of it.
	if err != nil || at.Year() < 1 || at.Year() > 9999 {
		return errNotMoment
	}
	m.Time = at
	return nil
}

// tags are a comma-separated string; GraphQL and newer shapes send a list.
type tags []string

func (t *tags) UnmarshalJSON(data []byte) error {
	if data[0] == '[' {
		var list []text
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		for _, tag := range list {
			t.add(string(tag))
		}
		return nil
	}
	value, err := scalar(data)
	if err != nil {
		return err
	}
	for tag := range strings.SplitSeq(value, ",") {
		t.add(tag)
	}
	return nil
}

func (t *tags) add(tag string) {
	if tag = strings.TrimSpace(tag); tag != "" {
		*t = append(*t, tag)
	}
}

// pairs are a list of {name, value}, or an object; values of any type. Where a
// name comes twice, the last one counts.
type pairs map[string]string

func (p *pairs) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case '[':
		var list []struct {
			Name  text `json:"name"`
			Value text `json:"value"`
		}
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		for _, pair := range list {
			p.set(string(pair.Name), string(pair.Value))
		}
		return nil
	case '{':
		var object map[string]text
		if err := json.Unmarshal(data, &object); err != nil {
			return err
		}
		for name, value := range object {
			p.set(name, string(value))
		}
	}
	return nil
}

func (p *pairs) set(name, value string) {
	if *p == nil {
		*p = make(pairs)
	}
	(*p)[name] = value
}
