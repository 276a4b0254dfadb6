package expr

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

const (
	// No order or ERP record is deeper; it also ends values that hold themselves.
	maxDepth = 64
	// What fits into a message of the bus beside the rest of it.
	maxOutput = 4 << 20
)

// render writes a value as JSON: whole numbers as they are, doubles by number,
// timestamps in RFC 3339, durations in seconds such as "1.5s", bytes in base64,
// map keys sorted. This is proto's JSON mapping, but for whole numbers beyond
// 2^53, which it would turn into text.
func render(value ref.Val) ([]byte, error) {
	if _, ok := value.(traits.Mapper); !ok {
		return nil, &EvalError{Message: fmt.Sprintf("found a %s, expected a map", value.Type().TypeName())}
	}
	w := &writer{}
	w.text = json.NewEncoder(&w.out)
	w.text.SetEscapeHTML(false)
	if err := w.value(value, 0); err != nil {
		return nil, err
	}
	return w.out.Bytes(), nil
}

type writer struct {
	out  bytes.Buffer
	text *json.Encoder
	path []string
}

func (w *writer) value(value ref.Val, depth int) error {
	if depth > maxDepth {
		return w.fail("nested deeper than %d", maxDepth)
	}
	if w.out.Len() > maxOutput {
		return w.fail("the whole value is larger than %d bytes", maxOutput)
	}
	switch v := value.(type) {
	case types.String:
		return w.string(string(v))
	case types.Int:
		w.out.WriteString(strconv.FormatInt(int64(v), 10))
	case types.Uint:
		w.out.WriteString(strconv.FormatUint(uint64(v), 10))
	case types.Double:
		return w.double(float64(v))
	case types.Bool:
		w.out.WriteString(strconv.FormatBool(bool(v)))
	case types.Null:
		w.out.WriteString("null")
	case types.Timestamp:
		return w.string(v.Time.UTC().Format(time.RFC3339Nano))
	case types.Duration:
		return w.string(seconds(v.Duration))
	case types.Bytes:
		return w.string(base64.StdEncoding.EncodeToString(v))
	case *types.Optional:
		return w.fail("the value may be absent: write .orValue(\"\") behind it, or {?\"key\": value} to leave the key out")
	case traits.Mapper:
		return w.object(v, depth)
	case traits.Lister:
		return w.list(v, depth)
	default:
		return w.fail("a %s cannot be a value: write a map with the fields that are wanted", value.Type().TypeName())
	}
	return nil
}

func (w *writer) object(m traits.Mapper, depth int) error {
	type entry struct {
		key   string
		value ref.Val
	}
	size, _ := m.Size().(types.Int)
	entries := make([]entry, 0, min(max(int(size), 0), 1024))
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return w.fail("the key %v is a %s; keys must be text: put it in quotes", key.Value(), key.Type().TypeName())
		}
		entries = append(entries, entry{key: string(name), value: m.Get(key)})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	w.out.WriteByte('{')
	for i, e := range entries {
		if i > 0 {
			w.out.WriteByte(',')
		}
		w.path = append(w.path, e.key)
		if err := w.string(e.key); err != nil {
			return err
		}
		w.out.WriteByte(':')
		if err := w.value(e.value, depth+1); err != nil {
			return err
		}
		w.path = w.path[:len(w.path)-1]
	}
	w.out.WriteByte('}')
	return nil
}

func (w *writer) list(l traits.Lister, depth int) error {
	w.out.WriteByte('[')
	i := 0
	for it := l.Iterator(); it.HasNext() == types.True; i++ {
		if i > 0 {
			w.out.WriteByte(',')
		}
		w.path = append(w.path, strconv.Itoa(i))
		if err := w.value(it.Next(), depth+1); err != nil {
			return err
		}
		w.path = w.path[:len(w.path)-1]
	}
	w.out.WriteByte(']')
	return nil
}

func (w *writer) string(s string) error {
	if err := w.text.Encode(s); err != nil {
		return w.fail("%v", err)
	}
	w.out.Truncate(w.out.Len() - 1) // the newline that Encode ends with
	return nil
}

// double writes a number without exponent and without binary noise: 0.1 + 0.2 is
// 0.3. Fifteen significant digits are what a double keeps of every decimal
// (DBL_DIG); whole numbers are exact up to 2^53 and keep all of theirs.
func (w *writer) double(f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return w.fail("the number is %v, which JSON cannot hold: is something divided by zero?", f)
	}
	if f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
		w.out.WriteString(strconv.FormatInt(int64(f), 10))
		return nil
	}
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 15, 64), 64)
	if err != nil || math.IsInf(rounded, 0) {
		rounded = f
	}
	w.out.WriteString(strconv.FormatFloat(rounded, 'f', -1, 64))
	return nil
}

func (w *writer) fail(format string, args ...any) *EvalError {
	message := fmt.Sprintf(format, args...)
	if len(w.path) > 0 {
		message = strings.Join(w.path, ".") + ": " + message
	}
	return &EvalError{Message: message}
}

// seconds is proto's JSON form of a duration.
func seconds(d time.Duration) string {
	whole, rest := d/time.Second, d%time.Second
	if rest == 0 {
		return strconv.FormatInt(int64(whole), 10) + "s"
	}
	sign := ""
	if d < 0 {
		sign, whole, rest = "-", -whole, -rest
	}
	return sign + strconv.FormatInt(int64(whole), 10) + strings.TrimRight(fmt.Sprintf(".%09d", rest), "0") + "s"
}
