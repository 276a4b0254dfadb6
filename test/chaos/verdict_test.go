package chaos

import (
	"slices"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/netsuite"
)

// kept is evidence of promises that were kept: two orders, one of them edited twice.
func kept() evidence {
	e := evidence{
		want: map[string]int{"#1": 1, "#2": 3},
		orders: []netsuite.Order{
			{ExternalID: "a", OtherRefNum: "#1", Quantities: map[string]int{sku: 1}},
			{ExternalID: "b", OtherRefNum: "#2", Quantities: map[string]int{sku: 3}},
		},
		history: map[string][]netsuite.Revision{"a": {{Quantity: 1}}, "b": {{Quantity: 1}, {Quantity: 1}, {Quantity: 3}}},
	}
	e.report.Limits = []account.LimitReport{{Name: "window", WindowMs: 1000, Limit: 50, Largest: 50}, {Name: "measured", Largest: 99}}
	e.report.Concurrency = account.ConcurrencyReport{Limit: 15, Largest: 15}
	return e
}

// Each broken promise is found, and nothing else.
func TestVerdict(t *testing.T) {
	for what, test := range map[string]struct {
		breaks func(*evidence)
		want   string
	}{
		"nothing":              {func(*evidence) {}, ""},
		"a call too many":      {func(e *evidence) { e.report.Limits[0].Largest = 51 }, "over the limit: 51 calls within 1000 ms"},
		"too many at once":     {func(e *evidence) { e.report.Concurrency.Largest = 16 }, "over the limit: 16 calls at once"},
		"a refused call":       {func(e *evidence) { e.report.Throttled = 1 }, "1 calls were refused because of a limit"},
		"a duplicate order":    {func(e *evidence) { e.report.DuplicateOrders = 1 }, "duplicate effects: 1 orders"},
		"a duplicate line":     {func(e *evidence) { e.report.DuplicateLines = 1 }, "duplicate effects: 0 orders and 1 lines"},
		"a late commit":        {func(e *evidence) { e.report.Undone = 1 }, "out of order: 1 writes undid"},
		"a refused order":      {func(e *evidence) { e.report.Refused = []netsuite.Refusal{{Code: "X"}} }, "1 writes were refused for their content"},
		"an edit out of order": {func(e *evidence) { e.history["b"] = []netsuite.Revision{{Quantity: 3}, {Quantity: 1}} }, "out of order: order #2"},
		"a lost order":         {func(e *evidence) { e.orders = e.orders[1:] }, "lost: order #1"},
		"a lost edit":          {func(e *evidence) { e.orders[1].Quantities[sku] = 2 }, "lost: order #2 has quantity 2 at the ERP, want 3"},
	} {
		t.Run(what, func(t *testing.T) {
			e := kept()
			test.breaks(&e)
			found := e.broken()
			if test.want == "" {
				if len(found) > 0 || e.missing() != 0 {
					t.Errorf("found %q, %d missing", found, e.missing())
				}
				return
			}
			if len(found) != 1 || !strings.HasPrefix(found[0], test.want) {
				t.Errorf("found %q, want one that begins with %q", found, test.want)
			}
			if lost := strings.HasPrefix(test.want, "lost"); lost != (e.missing() > 0) {
				t.Errorf("%d missing", e.missing())
			}
		})
	}
	many := kept()
	for name := range strings.SplitSeq("abcdefghij", "") {
		many.want[name] = 1
	}
	if found := many.broken(); len(found) != mostListed+1 || !slices.Contains(found, "and 5 more like these") {
		t.Errorf("of ten lost orders, %q is said", found)
	}
}
