package scene

import (
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
	"github.com/peppasync/peppasync/test/sim/twilio"
	"github.com/peppasync/peppasync/test/sim/wms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// good is the evidence of a scene in which every promise was kept.
func good() Evidence {
	after := 237.0
	limit := func(system string, calls, largest int) sim.Limit {
		return sim.Limit{System: system, LimitReport: account.LimitReport{Name: "per-minute", WindowMs: 60_000, Limit: calls, Largest: largest}}
	}
	w := sim.Report{
		Sold: 1000, Captured: 1000, Fed: 999, WMSAccepted: 999,
		WMSRefused:  []wms.Refusal{{Reference: "#500", Cause: "line 1: configuration '" + UnknownConfiguration + "' is not known"}},
		Unfed:       []sim.Unfed{{Order: "#500", Cause: "line 1: configuration '" + UnknownConfiguration + "' is not known"}},
		Texts:       []twilio.Text{{Body: "Order #500 is held", To: "+15550100002"}},
		Limits:      []sim.Limit{limit("shop", 240, 30), limit("erp", 1000, 1000), limit("wms", 3000, 1000), limit("twilio", 60, 1)},
		Maintenance: []account.MaintenanceReport{{FirstAcceptedAfterMs: &after}},
		ERPStock:    []netsuite.Stock{{SKU: SKU, Available: 1501}},
		ShopStock:   []shopify.Stock{{SKU: SKU, Available: 1500}},
		Balance:     []sim.Balance{{SKU: SKU}},
		Receipts:    []sim.Receipt{{Receipt: netsuite.Receipt{Quantity: 500}}},
	}
	return Evidence{
		Script: Saturday(), World: w, CallsPerMinute: 995, OrdersPerMinute: 950, Restarts: []time.Duration{time.Second},
		ReceiptShown: 2300 * time.Millisecond, PeakMemory: 90 << 20,
	}
}

func TestAGoodSceneKeepsEveryPromise(t *testing.T) {
	for _, p := range Judge(good()) {
		if !p.Kept {
			t.Errorf("%s: found %s, promised %s", p.Name, p.Found, p.Promised)
		}
	}
}

func TestEveryPromiseCanBeBroken(t *testing.T) {
	late := 1001.0
	seen := make(map[string]bool)
	for what, test := range map[string]struct {
		spoil  func(*Evidence)
		broken []string
	}{
		"an order is not captured":         {func(e *Evidence) { e.World.Captured = 999 }, []string{"captured"}},
		"an order is not in the WMS":       {func(e *Evidence) { e.World.WMSAccepted = 998 }, []string{"fed to the WMS"}},
		"an order is not in the ERP":       {func(e *Evidence) { e.World.Fed = 998 }, []string{"fed to the ERP"}},
		"the bad order is fed":             {func(e *Evidence) { e.World.Unfed, e.World.WMSRefused = nil, nil }, []string{"held"}},
		"the wrong order is held":          {func(e *Evidence) { e.World.Unfed[0].Order = "#501" }, []string{"held"}},
		"it is held for something else":    {func(e *Evidence) { e.World.Unfed[0].Cause = "no stock" }, []string{"held"}},
		"nobody is told":                   {func(e *Evidence) { e.World.Texts = nil }, []string{"told"}},
		"a text says nothing":              {func(e *Evidence) { e.World.Texts[0].Body = "something is held" }, []string{"told"}},
		"there are two texts":              {func(e *Evidence) { e.World.Texts = append(e.World.Texts, e.World.Texts[0]) }, []string{"told"}},
		"an order is in the ERP twice":     {func(e *Evidence) { e.World.Duplicates = 1 }, []string{"duplicates"}},
		"an order is lost":                 {func(e *Evidence) { e.World.Lost, e.World.Unfed = 1, append(e.World.Unfed, sim.Unfed{Order: "#7"}) }, []string{"lost"}},
		"one call more than the limit":     {func(e *Evidence) { e.World.Limits[1].Largest = 1001 }, []string{"limit of the ERP"}},
		"a limit is not judged":            {func(e *Evidence) { e.World.Limits[0].Limit = 0 }, []string{"limit of the shop"}},
		"the WMS is hammered":              {func(e *Evidence) { e.World.Limits[2].Largest = 3001 }, []string{"limit of the WMS"}},
		"too many texts a minute":          {func(e *Evidence) { e.World.Limits[3].Largest = 61 }, []string{"limit of texts"}},
		"a call is throttled":              {func(e *Evidence) { e.World.Throttled = 1 }, []string{"throttled replies"}},
		"it is fed too slowly":             {func(e *Evidence) { e.CallsPerMinute = 989 }, []string{"pace"}},
		"only stock is read":               {func(e *Evidence) { e.OrdersPerMinute = 749 }, []string{"pace"}},
		"nothing is fed":                   {func(e *Evidence) { e.CallsPerMinute = 0 }, []string{"pace"}},
		"it sleeps after maintenance":      {func(e *Evidence) { e.World.Maintenance[0].FirstAcceptedAfterMs = &late }, []string{"after maintenance"}},
		"it does not wake":                 {func(e *Evidence) { e.World.Maintenance[0].FirstAcceptedAfterMs = nil }, []string{"after maintenance"}},
		"there was no maintenance":         {func(e *Evidence) { e.World.Maintenance = nil }, []string{"after maintenance"}},
		"it does not come back":            {func(e *Evidence) { e.Restarts[0] = -1 }, []string{"after a kill"}},
		"it comes back late":               {func(e *Evidence) { e.Restarts[0] = time.Minute }, []string{"after a kill"}},
		"the shop shows too much":          {func(e *Evidence) { e.World.ShopStock[0].Available = 1501 }, []string{"stock"}},
		"an order lowers stock twice":      {func(e *Evidence) { e.World.ERPStock[0].Available-- }, []string{"stock"}},
		"the receipt is late in the shop":  {func(e *Evidence) { e.ReceiptShown = 10_001 * time.Millisecond }, []string{"goods received"}},
		"the receipt is never in the shop": {func(e *Evidence) { e.ReceiptShown = -1 }, []string{"goods received"}},
		"the shop shows nothing":           {func(e *Evidence) { e.World.Balance[0].GhostZeroMs = 1 }, []string{"ghost zeros"}},
		"stock is not judged":              {func(e *Evidence) { e.World.Balance = nil }, []string{"ghost zeros", "overshown"}},
		"the shop shows what is sold":      {func(e *Evidence) { e.World.Balance[0].LargestOvershown = 1 }, []string{"overshown"}},
		"a unit is sold that is not there": {func(e *Evidence) { e.World.OversoldUnits = 1 }, []string{"oversold"}},
		"the ERP promises too much":        {func(e *Evidence) { e.World.Systems.ERP.LargestOversold = 1 }, []string{"oversold"}},
		"it takes the memory":              {func(e *Evidence) { e.PeakMemory = 300 << 20 }, []string{"memory"}},
		"memory is not known":              {func(e *Evidence) { e.PeakMemory = 0 }, []string{"memory"}},
		"it does not end":                  {func(e *Evidence) { e.Late = errors.New("999 of 1,000 orders are captured") }, []string{"the end"}},
	} {
		t.Run(what, func(t *testing.T) {
			e := good()
			test.spoil(&e)
			var broken []string
			for _, p := range Judge(e) {
				if !p.Kept {
					broken = append(broken, p.Name)
				}
			}
			if !slices.Equal(broken, test.broken) {
				t.Errorf("broken are %q, want %q", broken, test.broken)
			}
		})
		for _, name := range test.broken {
			seen[name] = true
		}
	}
	for _, p := range Judge(good()) {
		if !seen[p.Name] {
			t.Errorf("no case breaks %q", p.Name)
		}
	}
}

func TestAReceiptIsShownByTheFirstWriteThatContainsIt(t *testing.T) {
	at := time.Now()
	booked := []sim.Receipt{{Receipt: netsuite.Receipt{At: at, Quantity: 500}}}
	change := func(after time.Duration, cause string, delta, available int) shopify.Change {
		return shopify.Change{At: at.Add(after), Cause: cause, Delta: delta, Available: available}
	}
	before := []shopify.Change{change(-time.Minute, "start", 0, 2000), change(-30*time.Second, "sale", -1000, 1000), change(-time.Second, "set", -2, 998)}
	for what, test := range map[string]struct {
		changes []shopify.Change
		want    time.Duration
	}{
		"nothing is written":      {nil, -1},
		"the write does not know": {[]shopify.Change{change(time.Second, "set", 1, 999)}, -1},
		"a few are on their way":  {[]shopify.Change{change(time.Second, "set", 1, 999), change(3*time.Second, "set", 491, 1490)}, 3 * time.Second},
		"a part is missing":       {[]shopify.Change{change(3*time.Second, "set", 490, 1489)}, -1},
		"some are sold in the meantime": {
			[]shopify.Change{change(time.Second, "sale", -100, 898), change(2*time.Second, "set", 502, 1400)}, 2 * time.Second,
		},
	} {
		if got := receiptShown(Saturday(), booked, slices.Concat(before, test.changes)); got != test.want {
			t.Errorf("%s: shown after %v, want %v", what, got, test.want)
		}
	}
	if got := receiptShown(Saturday(), nil, before); got != -1 {
		t.Errorf("no receipt is shown after %v", got)
	}
}

func TestNumbersAreReadable(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1002: "-1,002"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %q, want %q", n, got, want)
		}
	}
}
