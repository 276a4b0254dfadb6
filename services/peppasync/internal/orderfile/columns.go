package orderfile

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// columnID is the column that says which order a line is of.
const columnID = "order_id"

// column is what a cell of it means.
type column struct {
	name string
	// order sets something of the whole order, line something of one of its lines; one
	// of them is nil.
	order func(o *orderv1.Order, value string) error
	line  func(l *orderv1.Line, value string) error
}

// Columns returns the names that a CSV file may have in its first line.
func Columns() []string {
	names := slices.Sorted(maps.Keys(known(time.UTC)))
	return append(names, "attribute:NAME", "property:NAME")
}

// known returns the columns by name.
func known(zone *time.Location) map[string]column {
	columns := make(map[string]column)
	order := func(name string, set func(o *orderv1.Order, value string) error) {
		columns[name] = column{name: name, order: set}
	}
	text := func(name string, field func(o *orderv1.Order) *string) {
		order(name, func(o *orderv1.Order, value string) error {
			*field(o) = value
			return nil
		})
	}
	number := func(name string, field func(o *orderv1.Order) *string) {
		order(name, func(o *orderv1.Order, value string) error {
			*field(o) = value
			return whole(value)
		})
	}
	number(columnID, func(o *orderv1.Order) *string { return &o.Id })
	text("name", func(o *orderv1.Order) *string { return &o.Name })
	text("currency", func(o *orderv1.Order) *string { return &o.Currency })
	text("total", func(o *orderv1.Order) *string { return &o.Total })
	text("subtotal", func(o *orderv1.Order) *string { return &o.Subtotal })
	text("total_tax", func(o *orderv1.Order) *string { return &o.TotalTax })
	text("outstanding", func(o *orderv1.Order) *string { return &o.Outstanding })
	text("financial_status", func(o *orderv1.Order) *string { return &o.FinancialStatus })
	text("fulfillment_status", func(o *orderv1.Order) *string { return &o.FulfillmentStatus })
	text("note", func(o *orderv1.Order) *string { return &o.Note })
	text("channel", func(o *orderv1.Order) *string { return &o.Channel })
	number("customer_id", func(o *orderv1.Order) *string { return &customer(o).Id })
	text("email", func(o *orderv1.Order) *string { return &customer(o).Email })
	number("phone", func(o *orderv1.Order) *string { return &customer(o).Phone })
	text("first_name", func(o *orderv1.Order) *string { return &customer(o).FirstName })
	text("last_name", func(o *orderv1.Order) *string { return &customer(o).LastName })
	text("shipping_code", func(o *orderv1.Order) *string { return &shippingLine(o).Code })
	text("shipping_title", func(o *orderv1.Order) *string { return &shippingLine(o).Title })
	text("shipping_price", func(o *orderv1.Order) *string { return &shippingLine(o).Price })
	for prefix, of := range map[string]func(o *orderv1.Order) **orderv1.Address{
		"shipping_": func(o *orderv1.Order) **orderv1.Address { return &o.ShippingAddress },
		"billing_":  func(o *orderv1.Order) **orderv1.Address { return &o.BillingAddress },
	} {
		for name, field := range addressFields() {
			text(prefix+name, func(o *orderv1.Order) *string {
				if *of(o) == nil {
					*of(o) = &orderv1.Address{}
				}
				return field(*of(o))
			})
		}
	}
	for name, field := range map[string]func(o *orderv1.Order) **timestamppb.Timestamp{
		"created_at":   func(o *orderv1.Order) **timestamppb.Timestamp { return &o.CreatedAt },
		"updated_at":   func(o *orderv1.Order) **timestamppb.Timestamp { return &o.UpdatedAt },
		"cancelled_at": func(o *orderv1.Order) **timestamppb.Timestamp { return &o.CancelledAt },
	} {
		order(name, func(o *orderv1.Order, value string) (err error) {
			*field(o), err = parseTime(value, zone)
			return err
		})
	}
	order("tags", func(o *orderv1.Order, value string) error {
		for tag := range strings.SplitSeq(value, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				o.Tags = append(o.Tags, tag)
			}
		}
		return nil
	})
	order("test", func(o *orderv1.Order, value string) (err error) {
		o.Test, err = parseBool(value)
		return err
	})
	maps.Copy(columns, ofLines())
	return columns
}

// ofLines returns the columns that say something of one line of an order.
func ofLines() map[string]column {
	columns := make(map[string]column)
	line := func(name string, set func(l *orderv1.Line, value string) error) {
		columns[name] = column{name: name, line: set}
	}
	for name, field := range map[string]func(l *orderv1.Line) *string{
		"line_id":    func(l *orderv1.Line) *string { return &l.Id },
		"sku":        func(l *orderv1.Line) *string { return &l.Sku },
		"title":      func(l *orderv1.Line) *string { return &l.Title },
		"price":      func(l *orderv1.Line) *string { return &l.UnitPrice },
		"variant_id": func(l *orderv1.Line) *string { return &l.VariantId },
	} {
		line(name, func(l *orderv1.Line, value string) error {
			*field(l) = value
			if name == "title" || name == "price" {
				return nil
			}
			return whole(value)
		})
	}
	line("quantity", func(l *orderv1.Line, value string) (err error) {
		if l.Quantity, err = strconv.ParseInt(value, 10, 64); err != nil {
			return errors.New("expected a whole number")
		}
		return nil
	})
	line("requires_shipping", func(l *orderv1.Line, value string) (err error) {
		l.RequiresShipping, err = parseBool(value)
		return err
	})
	return columns
}

func addressFields() map[string]func(a *orderv1.Address) *string {
	return map[string]func(a *orderv1.Address) *string{
		"name":          func(a *orderv1.Address) *string { return &a.Name },
		"company":       func(a *orderv1.Address) *string { return &a.Company },
		"address1":      func(a *orderv1.Address) *string { return &a.Address1 },
		"address2":      func(a *orderv1.Address) *string { return &a.Address2 },
		"city":          func(a *orderv1.Address) *string { return &a.City },
		"province_code": func(a *orderv1.Address) *string { return &a.ProvinceCode },
		"postal_code":   func(a *orderv1.Address) *string { return &a.PostalCode },
		"country_code":  func(a *orderv1.Address) *string { return &a.CountryCode },
		"phone":         func(a *orderv1.Address) *string { return &a.Phone },
	}
}

func customer(o *orderv1.Order) *orderv1.Customer {
	if o.GetCustomer() == nil {
		o.Customer = &orderv1.Customer{}
	}
	return o.GetCustomer()
}

func shippingLine(o *orderv1.Order) *orderv1.ShippingLine {
	if len(o.GetShippingLines()) == 0 {
		o.ShippingLines = []*orderv1.ShippingLine{{}}
	}
	return o.GetShippingLines()[0]
}

// columnOf returns the column of a name as it is in a file's first line; false where
// nobody knows it, or it is of no use.
func columnOf(title string, all map[string]column, o Options) (found column, ignored, ok bool) {
	if ours, renamed := o.Columns[strings.TrimSpace(title)]; renamed {
		if ours == "" {
			return column{}, true, true
		}
		title = ours
	}
	kind, name, _ := strings.Cut(title, ":")
	switch name = strings.TrimSpace(name); strings.ToLower(strings.TrimSpace(kind)) {
	case "attribute":
		return column{name: "attribute:" + name, order: func(o *orderv1.Order, value string) error {
			if o.GetAttributes() == nil {
				o.Attributes = make(map[string]string)
			}
			o.Attributes[name] = value
			return nil
		}}, false, name != ""
	case "property":
		return column{name: "property:" + name, line: func(l *orderv1.Line, value string) error {
			if l.GetProperties() == nil {
				l.Properties = make(map[string]string)
			}
			l.Properties[name] = value
			return nil
		}}, false, name != ""
	}
	plain := strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(title)))
	switch plain {
	case "id":
		plain = columnID
	case "unit_price":
		plain = "price"
	}
	found, ok = all[plain]
	return found, false, ok
}

// parseTime reads a time; one that does not say its zone is of zone.
func parseTime(text string, zone *time.Location) (*timestamppb.Timestamp, error) {
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05Z07:00",
		"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly,
	} {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return timestamppb.New(at), nil
		}
	}
	return nil, errors.New("expected a time such as 2026-11-27T14:47:00Z or 2026-11-27 14:47:00")
}

// whole refuses a number of which a spreadsheet has left 1.23457E+15: many have become the
// same one, and orders beside each other would be one order.
func whole(text string) error {
	mantissa, exponent, scientific := strings.Cut(text, "E+")
	if scientific && exponent != "" && mantissa != "" && strings.Trim(mantissa, "0123456789.,")+strings.Trim(exponent, "0123456789") == "" {
		return errors.New("expected all digits: a spreadsheet has shortened the number; export the column as text")
	}
	return nil
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "yes", "1":
		return true, nil
	case "false", "no", "0":
		return false, nil
	}
	return false, errors.New("expected true or false")
}
