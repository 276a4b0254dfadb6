package chaos

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/arrivals"
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

// An edit that comes before its creation is found, though the quantities rise.
func TestVerdictOfLanes(t *testing.T) {
	e := kept()
	e.history["a"] = []netsuite.Revision{{Quantity: 1, Memo: creation}}
	e.history["b"] = []netsuite.Revision{{Quantity: 1, Memo: creation}, {Quantity: 3, Memo: edition}}
	if found := e.editedFirst(creation); len(found) > 0 {
		t.Errorf("found %q", found)
	}
	e.history["b"] = []netsuite.Revision{{Quantity: 1, Memo: edition}, {Quantity: 3, Memo: creation}}
	want := []string{"out of order: order #2 began with its edit"}
	if found := e.editedFirst(creation); !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
	if found := e.broken(); len(found) > 0 {
		t.Errorf("without the memos, %q is found", found)
	}
}

// Of an order that is cancelled, the ERP knows nothing or that it is cancelled, and what
// it knew before does not come back.
func TestVerdictOfCancellations(t *testing.T) {
	cancelled := func() evidence {
		e := kept()
		e.want["#2"], e.want["#3"], e.want["#4"] = 0, 0, 0
		e.cancelled = map[string]fate{"#2": told, "#3": unmade, "#4": either}
		e.orders[1].Quantities = nil
		e.history["b"] = []netsuite.Revision{{Quantity: 1}, {Quantity: 3}, {Memo: cancellation}}
		return e
	}
	for what, test := range map[string]struct {
		breaks  func(*evidence)
		want    string
		missing int
	}{
		"nothing": {func(*evidence) {}, "", 0},
		"one that goes either way is there": {func(e *evidence) {
			e.orders = append(e.orders, netsuite.Order{ExternalID: "d", OtherRefNum: "#4"})
		}, "", 0},
		"one of these is there and not cancelled": {func(e *evidence) {
			e.orders = append(e.orders, netsuite.Order{ExternalID: "d", OtherRefNum: "#4", Quantities: map[string]int{sku: 1}})
		}, "lost: order #4 has quantity 1 at the ERP, want 0", 1},
		"one was made": {func(e *evidence) {
			e.orders = append(e.orders, netsuite.Order{ExternalID: "c", OtherRefNum: "#3"})
		}, "made: order #3 is at the ERP", 0},
		"nobody was told":  {func(e *evidence) { e.orders[1].Quantities = map[string]int{sku: 3} }, "lost: order #2 has quantity 3", 1},
		"one is not there": {func(e *evidence) { e.orders = e.orders[:1] }, "lost: order #2 is not at the ERP", 1},
		"one came back": {func(e *evidence) {
			e.history["b"] = append(e.history["b"], netsuite.Revision{Quantity: 3, Memo: edition})
		}, "out of order: order #2 was written as \"edit\" after its cancellation", 0},
	} {
		e := cancelled()
		test.breaks(&e)
		if missing := e.missing(); missing != test.missing {
			t.Errorf("%s: %d missing, want %d", what, missing, test.missing)
		}
		found := e.broken()
		if test.want == "" && len(found) > 0 || test.want != "" && (len(found) != 1 || !strings.HasPrefix(found[0], test.want)) {
			t.Errorf("%s: found %q, want %q", what, found, test.want)
		}
	}
}

// Only the refusals that there was a reason for are let pass.
func TestVerdictOfRefusals(t *testing.T) {
	e := kept()
	e.refusable = map[string]bool{"#1": true}
	e.report.Refused = []netsuite.Refusal{{ExternalID: "A", Code: "X"}, {ExternalID: "a", Code: "X"}}
	if found := e.broken(); len(found) > 0 {
		t.Errorf("found %q", found)
	}
	e.report.Refused = append(e.report.Refused, netsuite.Refusal{ExternalID: "b", Code: "Y"}, netsuite.Refusal{ExternalID: "c", Code: "Z"})
	if found := e.broken(); len(found) != 1 || !strings.HasPrefix(found[0], "2 writes were refused for their content, the first: {ExternalID:b") {
		t.Errorf("found %q", found)
	}
}

// A call that comes before the time that a throttled one was told to wait is found; one
// that was under way is not.
func TestVerdictOfWaits(t *testing.T) {
	at := func(ms int, outcome arrivals.Outcome) arrivals.Arrival {
		return arrivals.Arrival{At: time.Duration(ms) * time.Millisecond, Outcome: outcome}
	}
	log := []arrivals.Arrival{at(0, arrivals.Accepted), at(100, arrivals.Throttled), at(250, arrivals.Accepted), at(1101, arrivals.Accepted)}
	if refused, early := early(arrivals.Throttled, log); refused != 1 || early != 0 {
		t.Errorf("%d throttled, %d too early; want 1 and 0", refused, early)
	}
	log = append(log, at(2000, arrivals.Throttled), at(2600, arrivals.Throttled), at(2990, arrivals.Accepted))
	if refused, early := early(arrivals.Throttled, log); refused != 3 || early != 3 {
		t.Errorf("%d throttled, %d too early; want 3 and 3", refused, early)
	}
	asking := at(0, arrivals.Throttled)
	asking.Answered, asking.Asked = 200*time.Millisecond, 2*time.Second
	if refused, early := early(arrivals.Throttled, []arrivals.Arrival{asking, at(450, arrivals.Accepted), at(2100, arrivals.Accepted), at(2300, arrivals.Accepted)}); refused != 1 || early != 1 {
		t.Errorf("%d throttled, %d too early; want 1 and 1", refused, early)
	}
}
