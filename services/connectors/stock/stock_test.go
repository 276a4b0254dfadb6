package stock_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/peppasync/peppasync/services/connectors/stock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestArgumentsAreReadAsTheyWereWritten(t *testing.T) {
	read := stock.Read{SKUs: []string{"A", "B'2"}, Location: "gid://shopify/Location/1"}
	gotRead, err := stock.ParseRead(read.Arguments())
	if err != nil || !cmp.Equal(read, gotRead) {
		t.Errorf("read: %v, %s", err, cmp.Diff(read, gotRead))
	}
	set := stock.Set{Location: "1", Reference: "peppasync://x/1", Items: []stock.SetItem{
		{SKU: "A", Item: "i1", Quantity: 0, ChangeFrom: -3}, {Item: "i2", Quantity: 1_000_000_000, ChangeFrom: 5},
	}}
	gotSet, err := stock.ParseSet(set.Arguments())
	if err != nil || !cmp.Equal(set, gotSet) {
		t.Errorf("set: %v, %s", err, cmp.Diff(set, gotSet))
	}
	committed := int64(4)
	figures := []stock.Figure{{SKU: "A", Available: 7, Item: "i1", Committed: &committed}, {SKU: "B", Available: -2}}
	gotFigures, err := stock.ParseValue(stock.Value(figures))
	if err != nil || !cmp.Equal(figures, gotFigures) {
		t.Errorf("figures: %v, %s", err, cmp.Diff(figures, gotFigures))
	}
}

func TestWhatCannotBeReadIsNamed(t *testing.T) {
	readError := func(s *structpb.Struct) error { _, err := stock.ParseRead(s); return err }
	setError := func(s *structpb.Struct) error { _, err := stock.ParseSet(s); return err }
	valueError := func(s *structpb.Struct) error { _, err := stock.ParseValue(s); return err }
	tests := map[string]struct {
		parse func(*structpb.Struct) error
		json  string
		want  string
	}{
		"no location":            {readError, `{"skus":["A"]}`, "location"},
		"no SKUs":                {readError, `{"skus":[],"location":"1"}`, "skus"},
		"a SKU that is a number": {readError, `{"skus":["A",5],"location":"1"}`, "skus[1]"},
		"no reference":           {setError, `{"location":"1","items":[{"item":"i","quantity":1,"changeFrom":1}]}`, "reference"},
		"a blind write":          {setError, `{"location":"1","reference":"r","items":[{"item":"i","quantity":1,"changeFrom":null}]}`, "items[0].changeFrom"},
		"half a unit":            {setError, `{"location":"1","reference":"r","items":[{"item":"i","quantity":1.5,"changeFrom":1}]}`, "items[0].quantity"},
		"an item that is none":   {setError, `{"location":"1","reference":"r","items":[5]}`, "items[0].item"},
		"no items":               {valueError, `{}`, "items"},
		"a figure without SKU":   {valueError, `{"items":[{"available":1}]}`, "items[0].sku"},
		"a figure without value": {valueError, `{"items":[{"sku":"A"}]}`, "items[0].available"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var s structpb.Struct
			if err := protojson.Unmarshal([]byte(test.json), &s); err != nil {
				t.Fatal(err)
			}
			if err := test.parse(&s); err == nil || !strings.HasPrefix(err.Error(), test.want+":") {
				t.Errorf("error %v, want one about %s", err, test.want)
			}
		})
	}
	if readError(nil) == nil || setError(nil) == nil || valueError(nil) == nil {
		t.Error("nil arguments are taken")
	}
}

func TestWholeUnitsOnly(t *testing.T) {
	for f, want := range map[float64]int64{12.9: 12, -0.5: -1, 0: 0} {
		if got, ok := stock.Whole(f); got != want || !ok {
			t.Errorf("Whole(%v) = %d, %v", f, got, ok)
		}
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), 1e18} {
		if _, ok := stock.Whole(f); ok {
			t.Errorf("Whole(%v) is taken", f)
		}
	}
}
