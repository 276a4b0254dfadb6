package scenario

import (
	"net/http"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/runner/scene"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
	"github.com/peppasync/peppasync/test/sim/twilio"
	"github.com/peppasync/peppasync/test/sim/wms"
)

// TestSuccessThatIsNone has every system answer some calls with 200 and a login page,
// and the WMS others with 200 and an error in the body. None of them had an effect, so
// each order and each text is sent again, whether or not the Connector says what
// such bodies mean.
func TestSuccessThatIsNone(t *testing.T) {
	t.Parallel()
	t.Run("by an upsert, of which the Connector says nothing", func(t *testing.T) {
		t.Parallel()
		overrides := inDoubt()
		delete(overrides["wms"], "http")
		successThatIsNone(t, overrides, wms.OpUpsert)
	})
	t.Run("by what may go once, of which the Connector says what it means", func(t *testing.T) {
		t.Parallel()
		overrides := inDoubt()
		overrides["wms"]["http"] = map[string]any{"probePath": "/health", "operations": []any{map[string]any{
			"name": "putOrder", "method": http.MethodPost, "path": "/orders", "effect": "Once",
			"find": map[string]any{"path": "/orders/{externalId}"},
			"reply": map[string]any{
				"accepted":  `body.status == "accepted" && body.externalId == externalId`,
				"throttled": `body.errors.exists(e, e.extensions.code == "THROTTLED")`,
				"message":   `body.errors[0].message`,
			},
		}}}
		successThatIsNone(t, overrides, wms.OpCreate)
	})
}

func successThatIsNone(t *testing.T, overrides runner.Overrides, operation string) {
	stage := open(t, scene.Options{Script: scene.Saturday(), Binary: binary(t, true), Overrides: overrides})
	for _, f := range []struct {
		set   func([]faults.Rule) error
		rules []faults.Rule
	}{
		{stage.World.WMS.SetFaults, []faults.Rule{
			{Kind: faults.ThrottleInBody, Operations: []string{operation}, Calls: []int{1, 4, 9}, RetryAfter: "1"},
			{Kind: faults.PageForReply, Operations: []string{operation}, Calls: []int{3, 6}},
		}},
		{stage.World.ERP.SetFaults, []faults.Rule{{Kind: faults.PageForReply, Operations: []string{netsuite.OpUpsert}, Calls: []int{2}}}},
		{stage.World.Twilio.SetFaults, []faults.Rule{{Kind: faults.PageForReply, Operations: []string{twilio.OpSend}, Calls: []int{1}}}},
	} {
		if err := f.set(f.rules); err != nil {
			t.Fatal(err)
		}
	}
	const good, bad = 12, 1
	for i := range good + bad {
		line := shopify.LineSpec{SKU: scene.SKU, Quantity: 1}
		if i == 5 {
			line.Configuration = scene.UnknownConfiguration
		}
		if _, err := stage.World.Shop.SellOne(shopify.OrderSpec{Lines: []shopify.LineSpec{line}}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, time.Minute, "the ERP has the orders, and the text is sent", func() bool {
		return stage.World.ERP.Report().Orders >= good && len(stage.World.Twilio.Report().Texts) >= bad
	})
	oneEffect(t, stage, good, bad)
	for name, fired := range map[string]int{
		"throttles in the WMS's body": stage.World.WMS.Report().Faults[string(faults.ThrottleInBody)],
		"pages of the WMS":            stage.World.WMS.Report().Faults[string(faults.PageForReply)],
		"pages of the ERP":            stage.World.ERP.Report().Faults[string(faults.PageForReply)],
		"pages of Twilio":             stage.World.Twilio.Report().Faults[string(faults.PageForReply)],
	} {
		if fired == 0 {
			t.Errorf("there were no %s", name)
		}
	}
}
