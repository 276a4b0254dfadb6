package orderfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/peppasync/internal/orderfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options() orderfile.Options { return orderfile.Options{Comma: ',', Zone: time.UTC} }

// all reads a file to its end.
func all(t testing.TB, r orderfile.Reader) []orderfile.Item {
	t.Helper()
	var items []orderfile.Item
	for {
		item, err := r.Next()
		if errors.Is(err, io.EOF) {
			return items
		}
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, item)
	}
}

func readCSV(t testing.TB, o orderfile.Options, file string) []orderfile.Item {
	t.Helper()
	h, err := orderfile.ReadHeader(strings.NewReader(file), o)
	if err != nil {
		t.Fatal(err)
	}
	return all(t, h.CSV(strings.NewReader(file[h.End.Offset:]), h.End))
}

// told is what items say: the id and the lines of an order, or where and why there is
// none.
func told(items []orderfile.Item) []string {
	var lines []string
	for _, item := range items {
		switch {
		case item.Problem != "":
			lines = append(lines, fmt.Sprintf("%d! %s", item.Line, item.Problem))
		case item.Body != nil:
			lines = append(lines, fmt.Sprintf("%d: %s", item.Line, item.Body))
		default:
			text := fmt.Sprintf("%d: %s", item.Line, item.Order.GetId())
			for _, l := range item.Order.GetLines() {
				text += fmt.Sprintf(" %s*%d", l.GetSku(), l.GetQuantity())
			}
			lines = append(lines, text)
		}
	}
	return lines
}

func TestEveryColumn(t *testing.T) {
	file := "\ufeffOrder ID;name;created_at;updated_at;cancelled_at;currency;total;subtotal;total_tax;outstanding;financial_status;fulfillment_status;" +
		"customer_id;email;phone;first_name;last_name;note;tags;channel;test;shipping_name;shipping_address1;shipping_city;shipping_postal_code;shipping_country_code;" +
		"billing_company;shipping_code;shipping_price;attribute:Gift Wrap;line_id;SKU;title;quantity;unit-price;variant_id;requires_shipping;property:Finish;Memo\n" +
		"A-1;#1;2026-11-27T14:47:00+01:00;2026-11-27 14:47:01;;USD;30.00;25.00;5;0;paid;;7;a@b.c;+1;Ann;Bee;\"leave; at\nthe door\";vip, new ;web;no;Ann;1 Road;Town;1234;US;" +
		"Bees;STD;4.99;yes;;MUG;Mug;2;10;V1;yes;oak;x\n" +
		"A-1;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;L9;CUP;Cup;1;5;;;;\n"
	o := options()
	o.Comma, o.Columns, o.Zone = ';', map[string]string{"Memo": ""}, time.FixedZone("", -5*3600)
	items := readCSV(t, o, file)
	if len(items) != 1 || items[0].Problem != "" {
		t.Fatalf("read %+v", items)
	}
	want := `{"id":"A-1","name":"#1","createdAt":"2026-11-27T13:47:00Z","updatedAt":"2026-11-27T19:47:01Z","currency":"USD","total":"30.00","subtotal":"25.00",
		"totalTax":"5","outstanding":"0","financialStatus":"paid","customer":{"id":"7","email":"a@b.c","phone":"+1","firstName":"Ann","lastName":"Bee"},
		"note":"leave; at\nthe door","tags":["vip","new"],"channel":"web","shippingAddress":{"name":"Ann","address1":"1 Road","city":"Town","postalCode":"1234","countryCode":"US"},
		"billingAddress":{"company":"Bees"},"shippingLines":[{"code":"STD","price":"4.99"}],"attributes":{"Gift Wrap":"yes"},
		"lines":[{"id":"1","sku":"MUG","title":"Mug","quantity":"2","unitPrice":"10","variantId":"V1","requiresShipping":true,"properties":{"Finish":"oak"}},
		{"id":"L9","sku":"CUP","title":"Cup","quantity":"1","unitPrice":"5"}]}`
	expected := proto.Clone(items[0].Order)
	proto.Reset(expected)
	if err := protojson.Unmarshal([]byte(want), expected); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(expected, items[0].Order) {
		t.Errorf("read %s\nwant %s", protojson.Format(items[0].Order), protojson.Format(expected))
	}
	if items[0].Line != 3 && items[0].Line != 2 || items[0].End.Offset != int64(len(file)) || items[0].End.Line != 4 {
		t.Errorf("at %d, to %+v of %d", items[0].Line, items[0].End, len(file))
	}
}

func TestOrdersOfSeveralLines(t *testing.T) {
	const header = "order_id,sku,quantity,currency,created_at\n"
	for name, test := range map[string]struct {
		file string
		want []string
	}{
		"one after the other":                          {"1,A,1,,\n1,B,2,,\n2,A,3,,\n", []string{"2: 1 A*1 B*2", "4: 2 A*3"}},
		"without a last newline":                       {"1,A,1,,\n1,B,2,,", []string{"2: 1 A*1 B*2"}},
		"with line breaks of another kind, and blanks": {"1,A,1,,\r\n\r\n 1 ,B,2,,\r\n,,,,\r\n\r\n2,A,1,,\r\n", []string{"2: 1 A*1 B*2", "7: 2 A*1"}},
		"without lines":                                {"1,,,USD,\n", []string{"2: 1"}},
		"a piece behind others": {"1,A,1,,\n2,A,1,,\n1,B,1,,\n",
			[]string{"2: 1 A*1", "3: 2 A*1", `4! order "1" came before, in line 2; the lines of an order must follow each other`}},
		"what the order has, on any line": {"1,A,1,,\n1,B,1,USD,2026-01-01\n1,C,1,USD,\n", []string{"2: 1 A*1 B*1 C*1"}},
		"lines that differ":               {"1,A,1,USD,\n1,B,1,EUR,\n", []string{`2! line 3: currency is "EUR", but "USD" in line 2 of the same order`}},
		"no quantity":                     {"1,A,,,\n", []string{"2! line 2: quantity is empty, expected a whole number"}},
		"half a thing":                    {"1,A,1.5,,\n", []string{`2! line 2: quantity is "1.5", expected a whole number`}},
		"no time":                         {"1,A,1,,27.11.2026\n", []string{`2! line 2: created_at is "27.11.2026", expected a time such as 2026-11-27T14:47:00Z or 2026-11-27 14:47:00`}},
		"a line that is wrong takes its order along, and no other": {"1,A,1,,\n2,A,1,,\n2,B,1\n2,C,1,,\n3,A,1,,\n",
			[]string{"2: 1 A*1", "3! line 4: has 3 cells, expected 5 as in the first line", "6: 3 A*1"}},
		"a line of which nobody knows the order takes both along": {"1,A,1,,\n,B,1,,\n2,A,1,,\n3,A,1,,\n", []string{
			"2! line 3 behind it cannot be read, and may be of this order", "3! order_id is empty",
			"4! line 3 before it cannot be read, and may be of this order", "5: 3 A*1"}},
		"a quote that is not closed is one line": {"1,A,1,,\n2,\"A,1,,\n3,A,1,,\n4,A,1,,\n",
			[]string{"2: 1 A*1", "3! has a quote that is not closed", "4: 3 A*1", "5: 4 A*1"}},
		"a quote in the middle of a cell": {"1,A,1,,\n2,3\" A,1,,\n3,3\" B,1,,\n4,A,1,,\n",
			[]string{"2: 1 A*1", `3! cannot be read: column 4: bare " in non-quoted-field`,
				`4! has a quote that is not closed`, "5: 4 A*1"}},
		"ids that a spreadsheet has shortened are no order together": {"1.23457E+15,A,1,,\n1.23457E+15,B,1,,\n2,1E+2,1,,\n3,1E5,1,,\n", []string{
			`2! line 2: order_id is "1.23457E+15", expected all digits: a spreadsheet has shortened the number; export the column as text`,
			`4! line 4: sku is "1E+2", expected all digits: a spreadsheet has shortened the number; export the column as text`, "5: 3 1E5*1"}},
		"a quoted id without an end": {"1,A,1,,\n\"1,B,1,,\n2,A,1,,\n3,A,1,,\n", []string{
			"2! line 3 behind it cannot be read, and may be of this order", "3! has a quote that is not closed",
			"4! line 3 before it cannot be read, and may be of this order", "5: 3 A*1"}},
		"not UTF-8": {"1,A,1,,\n2,\xff,1,,\n3,A,1,,\n", []string{"2: 1 A*1", "3! is not UTF-8", "4: 3 A*1"}},
	} {
		t.Run(name, func(t *testing.T) {
			items := readCSV(t, options(), header+test.file)
			if diff := cmp.Diff(test.want, told(items)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Behind cells that are too many stands another column's where the id should be. The line is
// not taken for another order's then, and its own order is not sent without it.
func TestALineWithShiftedCellsIsMissedInItsOrder(t *testing.T) {
	for name, line := range map[string]string{
		"a comma too many":           "Disk, large,1,1",
		"a quote that is not closed": "\"Disk,1,1",
		"a quote in a quoted cell":   "\"5\" disk\", large\",1,1",
	} {
		t.Run(name, func(t *testing.T) {
			items := readCSV(t, options(), "title,order_id,quantity\nMug,1,1\n"+line+"\nCup,2,1\nCup,3,1\n")
			var taken []string
			for _, item := range items {
				if item.Problem == "" {
					taken = append(taken, item.Order.GetId())
				}
			}
			if diff := cmp.Diff([]string{"3"}, taken); diff != "" {
				t.Errorf("(-want +got):\n%s\n%s", diff, strings.Join(told(items), "\n"))
			}
		})
	}
}

// An order of any size is rejected in pieces, each of which fits into memory.
func TestAnOrderWithoutEnd(t *testing.T) {
	var file strings.Builder
	file.WriteString("order_id,sku,quantity\n1,A,1\n")
	for i := range 3_000 {
		fmt.Fprintf(&file, "2,%s,%d\n", strings.Repeat("B", 1000), i)
	}
	file.WriteString("3,A,1\n")
	items := readCSV(t, options(), file.String())
	wrong := 0
	for _, item := range items {
		if item.Problem != "" {
			wrong++
		}
		if len(item.Original) > orderfile.MaxItem {
			t.Fatalf("an item of %d bytes", len(item.Original))
		}
	}
	if len(items)-wrong != 2 || wrong < 100 || items[0].Order.GetId() != "1" || items[len(items)-1].Order.GetId() != "3" {
		t.Errorf("%d items, %d of them wrong", len(items), wrong)
	}
}

func TestHeaders(t *testing.T) {
	for name, test := range map[string]struct{ file, want string }{
		"an empty file":          {"", "the file is empty"},
		"no order id":            {"sku,quantity\n", "no column is called order_id"},
		"a typo":                 {"order_id,quantiy\n", `column 2 is called "quantiy", expected one of billing_address1`},
		"a column twice":         {"order_id,price,unit_price\n", "two columns are price"},
		"an id twice":            {"id,order_id\n", "two columns are order_id"},
		"a quote without an end": {"order_id,\"x\n", "line 1, which is to name the columns"},
		"bytes":                  {"\xff\xfe\n", "line 1 is not UTF-8"},
		"another delimiter":      {"order_id;sku;quantity\n", `say --delimiter ";"`},
		"a nameless attribute":   {"order_id,attribute:\n", `column 2 is called "attribute:"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := orderfile.ReadHeader(strings.NewReader(test.file), options())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	o := options()
	o.Columns = map[string]string{"Order No": "order_id", "Memo": "", "": ""}
	if _, err := orderfile.ReadHeader(strings.NewReader("Order No,Memo,Memo,sku,\n"), o); err != nil {
		t.Error(err)
	}
}

func TestNDJSON(t *testing.T) {
	orders := "{\"id\":\"1\",\"total\":\"1.50\",\"lines\":[{\"sku\":\"A\",\"quantity\":2}]}\n\n  \r\n{\"id\":\"2\",\"colour\":1}\nnot JSON\n" +
		strings.Repeat("x", orderfile.MaxItem+1) + "\n\xff\n{\"id\":\"3\"}"
	want := []string{
		"1: 1 A*2", `4! is no order: (line 1:11): unknown field "colour"`, "5! is no order: syntax error (line 1:1): invalid value not",
		fmt.Sprintf("6! is longer than the %d bytes that an order may have", orderfile.MaxItem), "7! is not UTF-8", "8: 3",
	}
	if diff := cmp.Diff(want, told(all(t, orderfile.Orders(strings.NewReader(orders), orderfile.Position{})))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	bodies := all(t, orderfile.Bodies(strings.NewReader(" {\"id\": 1}\r\n{\n"), orderfile.Position{}))
	if diff := cmp.Diff([]string{`1: {"id": 1}`, "2! is not JSON"}, told(bodies)); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

// generated is a file of that many orders, which is nowhere as a whole.
type generated struct {
	orders, next int
	rest         []byte
}

func (g *generated) Read(p []byte) (int, error) {
	for len(g.rest) < len(p) && g.next < g.orders {
		g.next++
		g.rest = fmt.Appendf(g.rest, "%d,A,1,%s\n%d,B,2,\n", g.next, strings.Repeat("x", 500), g.next)
	}
	if len(g.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, g.rest)
	g.rest = append(g.rest[:0], g.rest[n:]...)
	return n, nil
}

func TestAFileOfAnySizeTakesNoMoreMemory(t *testing.T) {
	h, err := orderfile.ReadHeader(strings.NewReader("order_id,sku,quantity,note\n"), options())
	if err != nil {
		t.Fatal(err)
	}
	const orders = 120_000 // 60 MB, and more orders than are remembered
	r := h.CSV(&generated{orders: orders}, h.End)
	var before, most runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range orders {
		item, err := r.Next()
		if err != nil || item.Problem != "" {
			t.Fatalf("order %d: %v, %s", i, err, item.Problem)
		}
		if i%30_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&most)
			if grown := int64(most.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
				t.Fatalf("%d bytes more are held after %d orders", grown, i)
			}
		}
	}
}

// maxResumed bounds what is read in pieces, each of which looks at all that is left.
const maxResumed = 4 << 10

// resumed reads a file item by item, each from where the one before ended, as an import
// does that is killed again and again.
func resumed(t *testing.T, file []byte, at orderfile.Position, from func(in io.Reader, at orderfile.Position) orderfile.Reader) []orderfile.Item {
	t.Helper()
	var items []orderfile.Item
	for {
		item, err := from(bytes.NewReader(file[at.Offset:]), at).Next()
		if errors.Is(err, io.EOF) {
			return items
		}
		if err != nil || item.End.Offset <= at.Offset || item.End.Line <= at.Line || item.End.Offset > int64(len(file)) {
			t.Fatalf("from %+v to %+v: %v", at, item.End, err)
		}
		items, at = append(items, item), item.End
	}
}

// FuzzCSV: whatever a file holds, each item ends behind the one before, holds an order or
// says why not, no order is without an id, and the originals are all that there is but
// blanks.
func FuzzCSV(f *testing.F) {
	f.Add("order_id,sku,quantity\n1,A,1\n1,\"B\nC\",2\n\n2,\"A,1\n,,\n3,x,y\n")
	f.Add("id;total\r\n1;2\r\n\"\r\n")
	f.Fuzz(func(t *testing.T, file string) {
		for _, comma := range []rune{',', ';', '\t'} {
			o := options()
			o.Comma = comma
			h, err := orderfile.ReadHeader(strings.NewReader(file), o)
			if err != nil {
				continue
			}
			items := all(t, h.CSV(strings.NewReader(file[h.End.Offset:]), h.End))
			at := h.End
			for _, item := range items {
				check(t, item, at)
				if item.Problem == "" && item.Order.GetId() == "" {
					t.Fatal("an order without an id")
				}
				at = item.End
			}
			if len(file) < maxResumed {
				resumed(t, []byte(file), h.End, h.CSV)
			}
		}
	})
}

func FuzzNDJSON(f *testing.F) {
	f.Add([]byte("{\"id\":\"1\"}\n\n{\n\xff\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, from := range []func(io.Reader, orderfile.Position) orderfile.Reader{orderfile.Orders, orderfile.Bodies} {
			items, at := all(t, from(bytes.NewReader(file), orderfile.Position{})), orderfile.Position{}
			for _, item := range items {
				check(t, item, at)
				at = item.End
			}
			if len(file) >= maxResumed {
				continue
			}
			if again := resumed(t, file, orderfile.Position{}, from); !cmp.Equal(told(items), told(again)) {
				t.Fatalf("read %q, and in pieces %q", told(items), told(again))
			}
		}
	})
}

func check(t *testing.T, item orderfile.Item, at orderfile.Position) {
	t.Helper()
	if item.End.Offset <= at.Offset || item.Line <= at.Line || item.Line > item.End.Line || len(item.Original) == 0 {
		t.Fatalf("behind %+v comes line %d to %+v", at, item.Line, item.End)
	}
	if (item.Problem == "") == (item.Order == nil && item.Body == nil) || strings.ContainsAny(item.Problem, "\n\u00a0") {
		t.Fatalf("an item with problem %q", item.Problem)
	}
	if item.Order != nil {
		if _, err := proto.Marshal(item.Order); err != nil {
			t.Fatal(err)
		}
	}
}
