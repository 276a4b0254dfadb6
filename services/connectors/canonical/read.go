package canonical

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors/loose"
)

// origin says who wrote an order's fields.
type origin int

const (
	// fromSender: fields that are not known are left out, because a sender may be newer
	// than this program.
	fromSender origin = iota
	// fromExpression: a field that is not known is a mistake of who wrote the expression.
	fromExpression
)

// maxNamed fields that are not known are named: a body may have a hundred thousand.
const maxNamed = 8

// timestampType is read from a text, though it is a message.
const timestampType = "google.protobuf.Timestamp"

// read reads the JSON form of an order, by its JSON names or those of the proto. It takes
// more than that form does: numbers in the place of texts, such as ids and amounts, as
// they are written.
func read(body []byte, from origin) (*orderv1.Order, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the JSON value")
	}
	r := &reader{origin: from}
	order := &orderv1.Order{}
	if err := r.message(order.ProtoReflect(), value, ""); err != nil {
		return nil, err
	}
	order.Source = "" // the caller sets it
	return order, r.complete(order)
}

type reader struct {
	origin
	// unknown are the fields that were left out.
	unknown []string
	// hasLines: the lines are written, if only as an empty list.
	hasLines bool
}

// complete checks what every order must have.
func (r *reader) complete(order *orderv1.Order) error {
	switch {
	case order.GetId() == "":
		return errors.New("id is missing or empty, expected the shop's id of the order")
	case order.GetUpdatedAt() == nil:
		return errors.New("updated_at is missing, expected the time of the newest change, by which the newest version is told")
	case !r.hasLines && len(r.unknown) > 0:
		// Left out in silence, they would be an order of nothing.
		named := r.unknown[:min(len(r.unknown), maxNamed)]
		return fmt.Errorf("lines is missing, and %s is not known (%d in all): an order without lines is written lines: []",
			strings.Join(named, ", "), len(r.unknown))
	}
	for i, line := range order.GetLines() {
		if q := line.GetQuantity(); q < 0 || q > loose.MaxUnits {
			return fmt.Errorf("lines[%d].quantity: found %d, expected a whole number from 0 to %d", i, q, int64(loose.MaxUnits))
		}
	}
	return nil
}

func (r *reader) message(into protoreflect.Message, value any, path string) error {
	object, ok := value.(map[string]any)
	if !ok {
		return wrong(path, value, "an object")
	}
	written := make(map[protoreflect.FieldNumber]bool, len(object))
	fields := into.Descriptor().Fields()
	// Sorted, so that the same body always has the same problem.
	for _, name := range slices.Sorted(maps.Keys(object)) {
		field := fields.ByJSONName(name)
		if field == nil {
			field = fields.ByName(protoreflect.Name(name))
		}
		at := join(path, name)
		switch {
		case field == nil && r.origin == fromExpression:
			return fmt.Errorf("%s: there is no such field, expected those of order.proto, such as updated_at", at)
		case field == nil:
			r.unknown = append(r.unknown, at)
			continue
		case written[field.Number()]:
			return fmt.Errorf("%s: is written twice, as %s and as %s", at, field.Name(), field.JSONName())
		}
		written[field.Number()] = true
		if object[name] == nil {
			continue
		}
		r.hasLines = r.hasLines || at == "lines"
		if err := r.field(into, field, object[name], at); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) field(into protoreflect.Message, field protoreflect.FieldDescriptor, value any, path string) error {
	switch {
	case field.IsMap():
		object, ok := value.(map[string]any)
		if !ok {
			return wrong(path, value, "an object")
		}
		texts := into.Mutable(field).Map()
		for name, item := range object {
			texts.Set(protoreflect.ValueOfString(name).MapKey(), protoreflect.ValueOfString(property(item)))
		}
	case field.IsList():
		items, ok := value.([]any)
		if !ok {
			return wrong(path, value, "a list")
		}
		list := into.Mutable(field).List()
		for i, item := range items {
			one, err := r.single(list.NewElement, field, item, fmt.Sprintf("%s[%d]", path, i))
			if err != nil {
				return err
			}
			list.Append(one)
		}
	default:
		one, err := r.single(func() protoreflect.Value { return into.NewField(field) }, field, value, path)
		if err != nil {
			return err
		}
		into.Set(field, one)
	}
	return nil
}

// single reads one value; fresh makes an empty one of its kind.
func (r *reader) single(fresh func() protoreflect.Value, field protoreflect.FieldDescriptor, value any, path string) (protoreflect.Value, error) {
	var read protoreflect.Value
	var err error
	switch {
	case field.Message() != nil && field.Message().FullName() == timestampType:
		var at *timestamppb.Timestamp
		at, err = moment(value, path)
		read = protoreflect.ValueOfMessage(at.ProtoReflect())
	case field.Message() != nil:
		read = fresh()
		err = r.message(read.Message(), value, path)
	case field.Kind() == protoreflect.Int64Kind:
		var number int64
		number, err = integer(value, path)
		read = protoreflect.ValueOfInt64(number)
	case field.Kind() == protoreflect.BoolKind:
		flag, ok := value.(bool)
		if !ok {
			err = wrong(path, value, "true or false")
		}
		read = protoreflect.ValueOfBool(flag)
	default:
		var text string
		text, err = textOf(field.Name(), value, path)
		read = protoreflect.ValueOfString(text)
	}
	return read, err
}

func moment(value any, path string) (*timestamppb.Timestamp, error) {
	text, _ := value.(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	at = at.UTC()
	// Outside of these a protobuf timestamp does not exist; an offset can carry the first
	// and the last hours of that span out of it.
	if err != nil || at.Year() < 1 || at.Year() > 9999 {
		return nil, wrong(path, value, "a time such as \"2026-11-23T09:30:00-05:00\"")
	}
	return timestamppb.New(at), nil
}

func integer(value any, path string) (int64, error) {
	written := ""
	switch v := value.(type) {
	case json.Number:
		written, _ = decimal(string(v))
	case string:
		written = v
	}
	whole, fraction, _ := strings.Cut(written, ".") // some write 2.0 for 2
	number, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || strings.Trim(fraction, "0") != "" {
		return 0, wrong(path, value, "a whole number")
	}
	return number, nil
}

// amounts are the fields that hold money.
var amounts = map[protoreflect.Name]bool{
	"total": true, "subtotal": true, "total_tax": true, "outstanding": true, "unit_price": true, "price": true,
}

func textOf(field protoreflect.Name, value any, path string) (string, error) {
	text, ok := value.(string)
	if number, isNumber := value.(json.Number); isNumber {
		text, ok = decimal(string(number))
	}
	switch {
	case amounts[field] && (!ok || text != "" && !plain(text)):
		return "", wrong(path, value, "an amount such as \"19.90\"")
	case !ok:
		return "", wrong(path, value, "a text or a number")
	}
	return text, nil
}

// property is what a shop attached, whatever it is: what is no text is kept as its JSON.
func property(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	var compact bytes.Buffer
	encoder := json.NewEncoder(&compact)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "" // what was read from JSON can be written
	}
	return strings.TrimSuffix(compact.String(), "\n")
}

func wrong(path string, value any, expected string) error {
	found := "nothing"
	switch v := value.(type) {
	case string:
		found = "the text " + strconv.Quote(shorten(v))
	case json.Number:
		found = "the number " + shorten(string(v))
	case bool:
		found = strconv.FormatBool(v)
	case []any:
		found = "a list"
	case map[string]any:
		found = "an object"
	}
	if path == "" {
		return fmt.Errorf("found %s, expected %s", found, expected)
	}
	return fmt.Errorf("%s: found %s, expected %s", path, found, expected)
}

func shorten(text string) string {
	const longest = 40
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "..."
}

func join(path, name string) string {
	name = shorten(name)
	if path == "" {
		return name
	}
	return path + "." + name
}
