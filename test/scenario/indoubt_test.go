package scenario

import (
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/runner/scene"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
	"github.com/peppasync/peppasync/test/sim/twilio"
	"github.com/peppasync/peppasync/test/sim/wms"
)

// horizon is how long after a cut the simulated systems may commit. Real ones take
// minutes, which the Connectors say; the rule is the same.
const horizon = 4 * time.Second

// inDoubt makes the calls of every system short and their horizon small. The WMS
// is one that doubles what it is sent twice.
func inDoubt() runner.Overrides {
	common := func(more map[string]any) map[string]any {
		spec := map[string]any{"timeout": "2s", "commitHorizon": horizon.String()}
		maps.Copy(spec, more)
		return spec
	}
	return runner.Overrides{
		"netsuite": common(nil),
		"twilio":   common(nil),
		"wms": common(map[string]any{"http": map[string]any{
			"probePath": "/health",
			"operations": []any{map[string]any{
				"name": "putOrder", "method": http.MethodPost, "path": "/orders", "effect": "Once",
				"find": map[string]any{"path": "/orders/{externalId}"},
			}},
		}}),
	}
}

func seconds(n float64) jsontime.Duration { return jsontime.Duration(n * float64(time.Second)) }

// TestUnknownOutcomes cuts calls at every system: before they take effect, after
// it, and seconds before it. Each order and each text has one effect, and nobody
// is asked.
func TestUnknownOutcomes(t *testing.T) {
	t.Parallel()
	stage := open(t, scene.Options{Script: scene.Saturday(), Binary: binary(t, true), Overrides: inDoubt()})
	for _, f := range []struct {
		set   func([]faults.Rule) error
		rules []faults.Rule
	}{
		{stage.World.WMS.SetFaults, []faults.Rule{
			{Kind: faults.CutAfterCommit, Operations: []string{wms.OpCreate}, Calls: []int{1, 5}},
			{Kind: faults.CutBeforeCommit, Operations: []string{wms.OpCreate}, Calls: []int{2, 6}},
			{Kind: faults.CutCommitLater, Operations: []string{wms.OpCreate}, Calls: []int{3, 8}, Delay: seconds(2.5)},
			{Kind: faults.ServerErrorAfterCommit, Operations: []string{wms.OpCreate}, Calls: []int{9}},
			{Kind: faults.Slow, Operations: []string{wms.OpCreate}, Calls: []int{10}, Delay: seconds(3)},
		}},
		{stage.World.ERP.SetFaults, []faults.Rule{
			{Kind: faults.CutAfterCommit, Operations: []string{netsuite.OpUpsert}, Calls: []int{1}},
			{Kind: faults.CutBeforeCommit, Operations: []string{netsuite.OpUpsert}, Calls: []int{4}},
			{Kind: faults.CutCommitLater, Operations: []string{netsuite.OpUpsert}, Calls: []int{6}, Delay: seconds(2.5)},
		}},
		{stage.World.Twilio.SetFaults, []faults.Rule{
			{Kind: faults.CutAfterCommit, Operations: []string{twilio.OpSend}, Calls: []int{1}},
			{Kind: faults.CutBeforeCommit, Operations: []string{twilio.OpSend}, Calls: []int{2}},
			{Kind: faults.CutCommitLater, Operations: []string{twilio.OpSend}, Calls: []int{3}, Delay: seconds(2)},
		}},
	} {
		if err := f.set(f.rules); err != nil {
			t.Fatal(err)
		}
	}
	const good, bad = 12, 3
	for i := range good + bad {
		line := shopify.LineSpec{SKU: scene.SKU, Quantity: 1}
		if i%5 == 4 {
			line.Configuration = scene.UnknownConfiguration
		}
		if _, err := stage.World.Shop.SellOne(shopify.OrderSpec{Lines: []shopify.LineSpec{line}}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, time.Minute, fmt.Sprintf("the ERP has %d orders and %d texts are sent", good, bad), func() bool {
		return stage.World.ERP.Report().Orders >= good && len(stage.World.Twilio.Report().Texts) >= bad
	})
	oneEffect(t, stage, good, bad)
}

// TestKilledInDoubt kills the product while calls are under way at systems that
// double what they are sent twice.
func TestKilledInDoubt(t *testing.T) {
	t.Parallel()
	stage := open(t, scene.Options{Script: scene.Saturday(), Binary: binary(t, true), Overrides: inDoubt()})
	world := stage.World
	slow := []faults.Rule{{Kind: faults.SlowReply, Operations: []string{wms.OpCreate, twilio.OpSend}, Delay: seconds(0.7)}}
	for _, set := range []func([]faults.Rule) error{world.WMS.SetFaults, world.Twilio.SetFaults} {
		if err := set(slow); err != nil {
			t.Fatal(err)
		}
	}
	// killOnce kills the product as soon as the system has one more text or order
	// than it had before, and so before the product can know.
	killOnce := func(what string, taken func() int, configuration string) {
		t.Helper()
		before := taken()
		for range 5 {
			line := shopify.LineSpec{SKU: scene.SKU, Quantity: 1, Configuration: configuration}
			if _, err := world.Shop.SellOne(shopify.OrderSpec{Lines: []shopify.LineSpec{line}}); err != nil {
				t.Fatal(err)
			}
		}
		until(t, soon, what, func() bool { return taken() > before })
		if err := stage.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := stage.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	orders := func() int { return world.WMS.Report().Accepted }
	texts := func() int { return len(world.Twilio.Report().Texts) }
	killOnce("an order is taken", orders, "")
	killOnce("a text is taken", texts, scene.UnknownConfiguration)
	killOnce("another order is taken", orders, "")
	until(t, time.Minute, "the ERP has 10 orders and 5 texts are sent", func() bool {
		return world.ERP.Report().Orders >= 10 && texts() >= 5
	})
	oneEffect(t, stage, 10, 5)
	if r := world.Report().Systems; r.WMS.ByOperation[wms.OpRead] == 0 || r.Twilio.ByOperation[twilio.OpList] == 0 {
		t.Error("nothing was looked up: the kills met no call under way")
	}
}

// TestEditWhileInDoubt edits an order while its creation at the ERP is in doubt,
// which the ERP commits after all: the edit comes after it.
func TestEditWhileInDoubt(t *testing.T) {
	t.Parallel()
	overrides := inDoubt()
	delete(overrides, "wms") // upserts, which an edit repeats
	stage := open(t, scene.Options{Script: scene.Saturday(), Binary: binary(t, true), Overrides: overrides})
	if err := stage.World.ERP.SetFaults([]faults.Rule{
		{Kind: faults.CutCommitLater, Operations: []string{netsuite.OpUpsert}, Calls: []int{1}, Delay: seconds(3)},
	}); err != nil {
		t.Fatal(err)
	}
	sold := sell(t, stage)
	until(t, soon, "the creation is cut", func() bool { return stage.World.ERP.Report().ByOutcome["cut"] == 1 })
	if _, err := stage.World.Shop.Update(sold.Name, shopify.Edit{Quantity: 3}); err != nil {
		t.Fatal(err)
	}
	quantity := func() int {
		orders := stage.World.ERP.Orders()
		if len(orders) != 1 {
			return 0
		}
		return orders[0].Quantities[scene.SKU]
	}
	until(t, time.Minute, "the late commit and the edit are in the ERP", func() bool {
		return stage.World.ERP.Report().LateCommits == 1 && quantity() == 3
	})
	r := stage.World.Report()
	if r.Undone != 0 || r.Duplicates != 0 || r.Fed != 1 {
		t.Errorf("%d orders, %d duplicates, %d undone; want one order as it was edited", r.Fed, r.Duplicates, r.Undone)
	}
}

// oneEffect judges the outside world at the end.
func oneEffect(t *testing.T, stage *scene.Stage, orders, texts int) {
	t.Helper()
	r := stage.World.Report()
	if r.Fed != orders || r.WMSAccepted != orders || r.Duplicates != 0 || r.Undone != 0 || r.Lost != 0 {
		t.Errorf("%d orders at the ERP, %d at the WMS, %d duplicates, %d undone, %d lost; want %d, each once",
			r.Fed, r.WMSAccepted, r.Duplicates, r.Undone, r.Lost, orders)
	}
	if len(r.Texts) != texts || r.Systems.Twilio.DuplicateTexts != 0 {
		t.Errorf("%d texts, of which %d twice: %v; want %d", len(r.Texts), r.Systems.Twilio.DuplicateTexts, r.Texts, texts)
	}
	for _, l := range r.Limits {
		if l.Largest > l.LimitReport.Limit {
			t.Errorf("limit of %s: %d calls", l.System, l.Largest)
		}
	}
	t.Logf("%d look-ups at the WMS, %d lists of texts; %d calls at the WMS, %d cut", r.Systems.WMS.ByOperation[wms.OpRead],
		r.Systems.Twilio.ByOperation[twilio.OpList], r.Systems.WMS.Calls, r.Systems.WMS.ByOutcome["cut"])
}
