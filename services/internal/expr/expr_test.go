package expr_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/expr"
)

func compiler(t testing.TB) *expr.Compiler {
	t.Helper()
	c, err := expr.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sampleOrder() *orderv1.Order {
	return &orderv1.Order{
		Source: "shopify", Id: "5001", Name: "#1001",
		CreatedAt: timestamppb.New(time.Date(2026, 11, 27, 23, 30, 0, 0, time.UTC)),
		Currency:  "USD", Total: "59.70", FinancialStatus: "paid",
		Customer:        &orderv1.Customer{Email: "ada@example.com"},
		ShippingAddress: &orderv1.Address{Name: "Ada", City: "Austin", CountryCode: "US"},
		Tags:            []string{"vip", "b2b"},
		Lines: []*orderv1.Line{
			{Id: "1", Sku: "DESK-1", Quantity: 2, UnitPrice: "19.90", Properties: map[string]string{"_configuration": "oak-160"}},
			{Id: "2", Sku: "LAMP-<&>", Quantity: 1, UnitPrice: "19.9"},
		},
	}
}

func TestConditionOverAnOrder(t *testing.T) {
	cases := map[string]struct {
		source string
		want   bool
	}{
		"a field":                         {`order.financial_status == "paid"`, true},
		"an absent message field":         {`!has(order.cancelled_at)`, true},
		"a present message field":         {`has(order.created_at)`, true},
		"an absent message reads as zero": {`order.billing_address.city == ""`, true},
		"a macro over lines":              {`order.lines.exists(l, l.sku.startsWith("DESK"))`, true},
		"a map that lacks the key":        {`order.lines.all(l, "_configuration" in l.properties)`, false},
		"an optional look-up":             {`order.lines[1].properties[?"_configuration"].orValue("") == ""`, true},
		"a list test":                     {`"vip" in order.tags`, true},
		"a number from text":              {`double(order.total) > 50.0`, true},
	}
	c := compiler(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			condition, err := c.Condition(tc.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := condition.Eval(sampleOrder())
			if err != nil || got != tc.want {
				t.Fatalf("%s = %v, %v; want %v", tc.source, got, err, tc.want)
			}
		})
	}
}

// What a condition says of cancelled orders is its own word, however it says it.
func TestWhetherAConditionIsAboutCancelledOrders(t *testing.T) {
	c := compiler(t)
	for source, want := range map[string]bool{
		`order.financial_status == "paid"`:                                    false,
		`order.note == "cancelled_at"`:                                        false,
		`"cancelled_at" in order.attributes`:                                  false,
		`has(order.cancelled_at)`:                                             true,
		`order.financial_status == "paid" && !has(order.cancelled_at)`:        true,
		`order.cancelled_at < timestamp("2026-11-28T00:00:00Z")`:              true,
		`order.?cancelled_at.hasValue()`:                                      true,
		`order.lines.all(l, l.quantity > 0 || has(order.cancelled_at))`:       true,
		`[order].exists(o, has(o.cancelled_at))`:                              true,
		`{"cancelled_at": 1}.cancelled_at == 1`:                               false,
		`order.?attributes[?"a"].orValue("") == "" && order.?note.hasValue()`: false,
	} {
		condition, err := c.Condition(source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		if got := condition.OfCancelled(); got != want {
			t.Errorf("%s: %v, want %v", source, got, want)
		}
	}
	if (*expr.Condition)(nil).OfCancelled() {
		t.Error("a condition that is not written is about cancelled orders")
	}
}

func TestMappingRendersJSON(t *testing.T) {
	cases := map[string]struct{ source, want string }{
		"keys are sorted, whatever their order in the text": {`{"b": 1, "a": externalId}`, `{"a":"shopify-5001","b":1}`},
		"a decimal string stays text":                       {`{"p": order.lines[0].unit_price}`, `{"p":"19.90"}`},
		"double() gives the shortest number":                {`{"p": double(order.lines[0].unit_price)}`, `{"p":19.9}`},
		"arithmetic shows no binary noise":                  {`{"p": 0.1 + 0.2, "q": 3.0 * 19.9}`, `{"p":0.3,"q":59.7}`},
		"a whole double has no fraction":                    {`{"p": double("20.00")}`, `{"p":20}`},
		"a large number has no exponent":                    {`{"p": 1e21, "q": double("9007199254740991"), "r": 1e-7}`, `{"p":1000000000000000000000,"q":9007199254740991,"r":0.0000001}`},
		"whole numbers stay exact":                          {`{"i": 9223372036854775807, "u": 18446744073709551615u}`, `{"i":9223372036854775807,"u":18446744073709551615}`},
		"text is not escaped for HTML":                      {`{"s": order.lines[1].sku}`, `{"s":"LAMP-<&>"}`},
		"a timestamp is RFC 3339":                           {`{"t": order.created_at}`, `{"t":"2026-11-27T23:30:00Z"}`},
		"a date":                                            {`{"d": string(order.created_at).substring(0, 10)}`, `{"d":"2026-11-27"}`},
		"a duration is in seconds":                          {`{"d": duration("-1500ms"), "e": duration("2m")}`, `{"d":"-1.5s","e":"120s"}`},
		"bytes are base64":                                  {`{"b": b"hi"}`, `{"b":"aGk="}`},
		"null, bool and an empty list":                      {`{"n": null, "b": true, "l": []}`, `{"b":true,"l":[],"n":null}`},
		"an optional key that is there":                     {`{?"c": order.lines[0].properties[?"_configuration"]}`, `{"c":"oak-160"}`},
		"an optional key that is not":                       {`{?"c": order.lines[1].properties[?"_configuration"]}`, `{}`},
		"a list of maps": {`{"lines": order.lines.map(l, {"sku": l.sku, "quantity": l.quantity})}`,
			`{"lines":[{"quantity":2,"sku":"DESK-1"},{"quantity":1,"sku":"LAMP-<&>"}]}`},
		"a map field of the order as it is": {`{"p": order.lines[0].properties}`, `{"p":{"_configuration":"oak-160"}}`},
		"a choice between maps":             {`order.test ? {"a": 1} : {"a": 2}`, `{"a":2}`},
	}
	c := compiler(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mapping, err := c.Mapping(tc.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := mapping.Eval(sampleOrder(), "shopify-5001")
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tc.want {
				t.Fatalf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestCompileErrorsSayWhereAndWhat(t *testing.T) {
	cases := map[string]struct {
		source       string
		line, column int
		want         string
	}{
		"unknown variable":              {`{"a": oder.name}`, 1, 7, `"oder" is not known here`},
		"unknown field on line 3":       {"{\n  \"a\": 1,\n  \"b\": order.nam\n}", 3, 13, `there is no field "nam" here`},
		"a missing bracket":             {"{\n  \"a\": [1\n}", 3, 1, "mismatched input"},
		"a list instead of a map":       {`[1]`, 1, 1, "expected a map"},
		"text instead of a map":         {`externalId`, 1, 1, "found a text (string), expected a map"},
		"keys that are numbers":         {`{1: 2}`, 1, 1, "keys of a map must be text"},
		"keys that are numbers, deeper": {`{"a": {1: 2, "b": 3}}`, 1, 8, "must be text, found whole number (int)"},
		"a whole message as value":      {`{"to": order.shipping_address}`, 1, 13, "a whole peppasync.order.v1.Address cannot be a value"},
		"messages in a list":            {`{"l": order.lines}`, 1, 12, "a whole peppasync.order.v1.Line cannot be a value"},
		"a bare optional":               {`{"c": order.lines[0].properties[?"x"]}`, 1, 32, `.orValue("")`},
		"a type error in a branch":      {`order.test ? {"a": 1} : {"a": 1 + "x"}`, 1, 33, "no matching overload"},
	}
	c := compiler(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := c.Mapping(tc.source)
			compileError, ok := errors.AsType[*expr.CompileError](err)
			if !ok {
				t.Fatalf("got %v, want a compile error", err)
			}
			first := compileError.Issues[0]
			if first.Line != tc.line || first.Column != tc.column || !strings.Contains(first.Message, tc.want) {
				t.Fatalf("got %d:%d %q, want %d:%d with %q", first.Line, first.Column, first.Message, tc.line, tc.column, tc.want)
			}
		})
	}
	for source, want := range map[string]string{
		`order.name`: "expected true or false",
		`externalId`: `"externalId" is not known here`,
		``:           "mismatched input",
		`order.test && ` + strings.Repeat("!", maxSourceForTest) + `true`: "exceeds limit",
	} {
		if _, err := c.Condition(source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("condition %.40q: got %v, want %q", source, err, want)
		}
	}
}

const maxSourceForTest = 70000

func TestEvalErrorsSayWhereAndWhat(t *testing.T) {
	c := compiler(t)
	cases := map[string]struct{ source, want string }{
		"a missing key":              {"{\n \"c\": order.lines[1].properties[\"_configuration\"]}", "line 2, column 32: no such key: _configuration"},
		"an index out of range":      {`{"s": order.lines[7].sku}`, "index out of bounds: 7"},
		"text that is not a number":  {`{"p": double(order.name)}`, "line 1, column 13: type conversion error from 'string' to 'double'"},
		"a division by zero":         {`{"p": 1.0 / 0.0}`, "p: the number is +Inf"},
		"a message out of a dynamic": {`{"a": dyn(order).customer}`, "a: a peppasync.order.v1.Customer cannot be a value"},
		"an absent value, dynamic":   {`{"a": {"b": [dyn(order.lines[1].properties[?"x"])]}}`, "a.b.0: the value may be absent"},
		"a number as dynamic key":    {`{dyn(1): 2}`, "keys must be text"},
		"not a map after all":        {`dyn(order.name)`, "expected a map"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mapping, err := c.Mapping(tc.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := mapping.Eval(sampleOrder(), "shopify-5001")
			if _, ok := errors.AsType[*expr.EvalError](err); !ok || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %s, %v; want an EvalError with %q", got, err, tc.want)
			}
		})
	}
}

func TestARunawayExpressionIsStopped(t *testing.T) {
	c := compiler(t)
	order := sampleOrder()
	for len(order.Lines) < 500 {
		order.Lines = append(order.Lines, order.Lines[0])
	}
	sources := map[string]string{
		"time":   `{"a": order.lines.map(a, order.lines.map(b, order.lines.map(c, a.quantity + b.quantity + c.quantity).size()).size()).size()}`,
		"memory": `{"a": order.lines.map(a, order.lines.map(b, order.lines.map(c, externalId + externalId + externalId + externalId)))}`,
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			mapping, err := c.Mapping(source)
			if err != nil {
				t.Fatal(err)
			}
			_, err = mapping.Eval(order, "shopify-5001")
			evalError, ok := errors.AsType[*expr.EvalError](err)
			if !ok || !evalError.Exhausted {
				t.Fatalf("got %v, want an exhausted EvalError", err)
			}
		})
	}
}

// A large but honest order must stay far from the limits.
func TestALargeOrderIsWithinTheLimits(t *testing.T) {
	mapping, err := compiler(t).Mapping(salesOrder)
	if err != nil {
		t.Fatal(err)
	}
	order := sampleOrder()
	for len(order.Lines) < 2000 {
		order.Lines = append(order.Lines, order.Lines[0])
	}
	if _, err := mapping.Eval(order, "shopify-5001"); err != nil {
		t.Fatal(err)
	}
}

func TestMappingIsDeterministic(t *testing.T) {
	mapping, err := compiler(t).Mapping(`{"p": order.attributes, "t": order.tags, "x": externalId}`)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		order := &orderv1.Order{
			Attributes: rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "attributes"),
			Tags:       rapid.SliceOf(rapid.String()).Draw(t, "tags"),
		}
		first, err := mapping.Eval(order, "x-1")
		if err != nil {
			t.Fatal(err)
		}
		second, err := mapping.Eval(order, "x-1")
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%s then %s, %v", first, second, err)
		}
		var back struct {
			P map[string]string
			T []string
		}
		if err := json.Unmarshal(first, &back); err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if fmt.Sprint(back.T) != fmt.Sprint(order.Tags) || len(back.P) != len(order.Attributes) {
			t.Fatalf("%s lost something of %v", first, order)
		}
		for key, value := range order.Attributes {
			if back.P[key] != value {
				t.Fatalf("%q: got %q, want %q", key, back.P[key], value)
			}
		}
	})
}

// A decimal with up to two places and 13 digits in front, as money is, comes out
// as it was written.
func TestMoneyKeepsItsDigits(t *testing.T) {
	mapping, err := compiler(t).Mapping(`{"p": double(order.total)}`)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		cents := rapid.Int64Range(-999_999_999_999_999, 999_999_999_999_999).Draw(t, "cents")
		sign, abs := "", cents
		if cents < 0 {
			sign, abs = "-", -cents
		}
		text := fmt.Sprintf("%s%d.%02d", sign, abs/100, abs%100)
		got, err := mapping.Eval(&orderv1.Order{Total: text}, "")
		if err != nil {
			t.Fatal(err)
		}
		want := strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
		if cents == 0 {
			want = "0"
		}
		if string(got) != `{"p":`+want+`}` {
			t.Fatalf("%s gave %s", text, got)
		}
	})
}

const salesOrder = `{
  "entity": {"id": "42"},
  "externalId": externalId,
  "otherRefNum": order.name,
  "tranDate": string(order.created_at).substring(0, 10),
  "location": {"id": "1"},
  "item": {"items": order.lines.filter(l, l.quantity > 0).map(l, {
    "item": {"refName": l.sku},
    "quantity": l.quantity,
    "rate": double(l.unit_price),
    ?"configuration": l.properties[?"_configuration"]
  })}
}`

func BenchmarkMappingEval(b *testing.B) {
	mapping, err := compiler(b).Mapping(salesOrder)
	if err != nil {
		b.Fatal(err)
	}
	order := sampleOrder()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mapping.Eval(order, "shopify-5001"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConditionEval(b *testing.B) {
	condition, err := compiler(b).Condition(`order.financial_status == "paid" && !has(order.cancelled_at)`)
	if err != nil {
		b.Fatal(err)
	}
	order := sampleOrder()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := condition.Eval(order); err != nil {
			b.Fatal(err)
		}
	}
}

// Whatever the text, compiling and evaluating it ends with a value or an error,
// and a value is JSON.
func FuzzCompile(f *testing.F) {
	f.Add(salesOrder)
	f.Add(`{"a": order.lines.map(l, l.properties)}`)
	f.Add(`{?"a": optional.of(1), "b": [?optional.none()]}`)
	f.Add(`{"a": dyn(order), dyn(1): type(1), "d": duration("1h") + order.created_at}`)
	f.Add(`order.test ? {"a": [1, 2u, 3.0, b"\xff", null]} : {}`)
	f.Add(`{"a": "%s".format([order.lines]), "b": base64.encode(b"x"), "c": math.greatest(1, 2.0)}`)
	c := compiler(f)
	order := sampleOrder()
	f.Fuzz(func(t *testing.T, source string) {
		if condition, err := c.Condition(source); err == nil {
			_, _ = condition.Eval(order)
		}
		mapping, err := c.Mapping(source)
		if err != nil {
			if _, ok := errors.AsType[*expr.CompileError](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		out, err := mapping.Eval(order, "shopify-5001")
		if err == nil && !json.Valid(out) {
			t.Fatalf("not JSON: %s", out)
		}
	})
}
