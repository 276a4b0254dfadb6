// Package stock reads and writes the arguments and values of readStock and
// setStock, so that every system and every requester spell them alike.
package stock

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/types/known/structpb"
)

// maxQuantity is what the systems take; below it a float64 holds every integer.
const maxQuantity = 1_000_000_000

// Read is what readStock is asked.
type Read struct {
	SKUs     []string
	Location string
}

// Figure is the stock of one SKU at the location that was asked for.
type Figure struct {
	SKU       string
	Available int64
	// Item is the system's own id of the item, to be passed back to setStock;
	// empty where the system sets stock by SKU or not at all.
	Item string
	// Committed is how many units the open orders of a shop have there: sold, taken
	// off Available, and not fulfilled. Nil where the system does not say.
	Committed *int64
}

// Set is what setStock is asked.
type Set struct {
	Location string
	// Reference is what the system's audit trail names as the reason, a URI.
	Reference string
	Items     []SetItem
}

// SetItem is one compare-and-set: Quantity, if the figure still is ChangeFrom.
type SetItem struct {
	SKU, Item            string
	Quantity, ChangeFrom int64
}

// Arguments returns r as the arguments of readStock.
func (r Read) Arguments() *structpb.Struct {
	skus := make([]*structpb.Value, len(r.SKUs))
	for i, sku := range r.SKUs {
		skus[i] = structpb.NewStringValue(sku)
	}
	return object(map[string]*structpb.Value{
		"skus":     structpb.NewListValue(&structpb.ListValue{Values: skus}),
		"location": structpb.NewStringValue(r.Location),
	})
}

// ParseRead reads the arguments of readStock; the error names the field.
func ParseRead(arguments *structpb.Struct) (Read, error) {
	location, err := text(arguments, "location")
	if err != nil {
		return Read{}, err
	}
	list, err := list(arguments, "skus")
	if err != nil {
		return Read{}, err
	}
	read := Read{Location: location, SKUs: make([]string, len(list))}
	for i, value := range list {
		sku, ok := value.GetKind().(*structpb.Value_StringValue)
		if !ok || sku.StringValue == "" {
			return Read{}, fmt.Errorf("skus[%d]: want a text that is not empty", i)
		}
		read.SKUs[i] = sku.StringValue
	}
	return read, nil
}

// Arguments returns s as the arguments of setStock.
func (s Set) Arguments() *structpb.Struct {
	items := make([]*structpb.Value, len(s.Items))
	for i, item := range s.Items {
		items[i] = structpb.NewStructValue(object(map[string]*structpb.Value{
			"sku":        structpb.NewStringValue(item.SKU),
			"item":       structpb.NewStringValue(item.Item),
			"quantity":   structpb.NewNumberValue(float64(item.Quantity)),
			"changeFrom": structpb.NewNumberValue(float64(item.ChangeFrom)),
		}))
	}
	return object(map[string]*structpb.Value{
		"location":  structpb.NewStringValue(s.Location),
		"reference": structpb.NewStringValue(s.Reference),
		"items":     structpb.NewListValue(&structpb.ListValue{Values: items}),
	})
}

// ParseSet reads the arguments of setStock; the error names the field. Every
// item needs changeFrom: a channel is never overwritten blindly.
func ParseSet(arguments *structpb.Struct) (Set, error) {
	location, err := text(arguments, "location")
	if err != nil {
		return Set{}, err
	}
	reference, err := text(arguments, "reference")
	if err != nil {
		return Set{}, err
	}
	list, err := list(arguments, "items")
	if err != nil {
		return Set{}, err
	}
	set := Set{Location: location, Reference: reference, Items: make([]SetItem, len(list))}
	for i, value := range list {
		item, err := parseSetItem(value.GetStructValue())
		if err != nil {
			return Set{}, fmt.Errorf("items[%d].%w", i, err)
		}
		set.Items[i] = item
	}
	return set, nil
}

func parseSetItem(fields *structpb.Struct) (SetItem, error) {
	item, err := text(fields, "item")
	if err != nil {
		return SetItem{}, err
	}
	quantity, err := integer(fields, "quantity")
	if err != nil {
		return SetItem{}, err
	}
	changeFrom, err := integer(fields, "changeFrom")
	if err != nil {
		return SetItem{}, err
	}
	return SetItem{
		SKU: fields.GetFields()["sku"].GetStringValue(), Item: item, Quantity: quantity, ChangeFrom: changeFrom,
	}, nil
}

// Value returns figures as the value of readStock.
func Value(figures []Figure) *structpb.Struct {
	items := make([]*structpb.Value, len(figures))
	for i, figure := range figures {
		fields := map[string]*structpb.Value{
			"sku":       structpb.NewStringValue(figure.SKU),
			"available": structpb.NewNumberValue(float64(figure.Available)),
		}
		if figure.Item != "" {
			fields["item"] = structpb.NewStringValue(figure.Item)
		}
		if figure.Committed != nil {
			fields["committed"] = structpb.NewNumberValue(float64(*figure.Committed))
		}
		items[i] = structpb.NewStructValue(object(fields))
	}
	return object(map[string]*structpb.Value{
		"items": structpb.NewListValue(&structpb.ListValue{Values: items}),
	})
}

// ParseValue reads the value of readStock. A SKU that was asked for and is not
// in it is not known at that location.
func ParseValue(value *structpb.Struct) ([]Figure, error) {
	entry, ok := value.GetFields()["items"].GetKind().(*structpb.Value_ListValue)
	if !ok {
		return nil, errors.New("items: want a list")
	}
	figures := make([]Figure, len(entry.ListValue.GetValues()))
	for i, item := range entry.ListValue.GetValues() {
		fields := item.GetStructValue()
		sku, err := text(fields, "sku")
		if err != nil {
			return nil, fmt.Errorf("items[%d].%w", i, err)
		}
		available, err := integer(fields, "available")
		if err != nil {
			return nil, fmt.Errorf("items[%d].%w", i, err)
		}
		figures[i] = Figure{SKU: sku, Available: available, Item: fields.GetFields()["item"].GetStringValue()}
		if fields.GetFields()["committed"] != nil {
			committed, err := integer(fields, "committed")
			if err != nil {
				return nil, fmt.Errorf("items[%d].%w", i, err)
			}
			figures[i].Committed = &committed
		}
	}
	return figures, nil
}

// Whole returns f as a whole number of units, rounded down (half a unit cannot
// be sold), and false where it is no figure of stock.
func Whole(f float64) (int64, bool) {
	if math.IsNaN(f) || math.Abs(f) > maxQuantity {
		return 0, false
	}
	return int64(math.Floor(f)), true
}

func object(fields map[string]*structpb.Value) *structpb.Struct {
	return &structpb.Struct{Fields: fields}
}

func text(fields *structpb.Struct, name string) (string, error) {
	value, ok := fields.GetFields()[name].GetKind().(*structpb.Value_StringValue)
	if !ok || value.StringValue == "" {
		return "", fmt.Errorf("%s: want a text that is not empty", name)
	}
	return value.StringValue, nil
}

func list(fields *structpb.Struct, name string) ([]*structpb.Value, error) {
	value, ok := fields.GetFields()[name].GetKind().(*structpb.Value_ListValue)
	if !ok || len(value.ListValue.GetValues()) == 0 {
		return nil, fmt.Errorf("%s: want a list that is not empty", name)
	}
	return value.ListValue.GetValues(), nil
}

func integer(fields *structpb.Struct, name string) (int64, error) {
	value, ok := fields.GetFields()[name].GetKind().(*structpb.Value_NumberValue)
	if !ok || value.NumberValue != math.Trunc(value.NumberValue) || math.Abs(value.NumberValue) > maxQuantity {
		return 0, fmt.Errorf("%s: want a whole number of at most %d", name, maxQuantity)
	}
	return int64(value.NumberValue), nil
}
