package order_test

import (
	"strings"
	"testing"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
)

func TestPartsAreCountedWhereverTheyAre(t *testing.T) {
	most := &orderv1.Order{
		Lines: make([]*orderv1.Line, order.MaxParts-6), ShippingLines: make([]*orderv1.ShippingLine, 1), Tags: []string{"a"},
		Attributes: map[string]string{"a": "b"},
	}
	most.Lines[5] = &orderv1.Line{Properties: map[string]string{"a": "", "b": "", "c": ""}}
	if err := order.CheckParts(most); err != nil {
		t.Error(err)
	}
	most.Lines[6] = &orderv1.Line{Properties: map[string]string{"a": ""}}
	if err := order.CheckParts(most); err == nil || !strings.Contains(err.Error(), "has 20001 lines, properties") {
		t.Errorf("error %v", err)
	}
}

func TestElementsAreCountedInListsOnly(t *testing.T) {
	const most = 100_000
	listed := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("{},", n), ",") + "]" }
	for name, test := range map[string]struct {
		body string
		says string
	}{
		"as many as there may be":   {listed(most), ""},
		"one more":                  {listed(most + 1), "have 100001 elements"},
		"in a list in a list":       {`{"a":[[` + strings.Repeat("null,", most) + `null]]}`, "have 100002 elements"},
		"in many lists":             {"{" + strings.Repeat(`"a":["x"],`, most+5) + `"b":1}`, "have 100005 elements"},
		"commas in a text":          {`["\"` + strings.Repeat(",[", most) + `\\",2]`, ""},
		"members of an object":      {"{" + strings.Repeat(`"a":1,`, 2*most) + `"b":1}`, ""},
		"no JSON, which others say": {strings.Repeat("]}", 2*most), ""},
		"a text that is cut":        {strings.Repeat(" ", 2*most) + `"\`, ""},
	} {
		err := order.CheckListed([]byte(test.body))
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want %q", name, err, test.says)
		}
	}
}
