package chaos

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
)

// TestWhatWebhooksMiss loses a fifth of the shop's webhooks, and then the product is dead
// for so long that the shop gives up on it. In the end the ERP has every order once, the
// product says how many no webhook told of, and its webhooks are there again.
func TestWhatWebhooksMiss(t *testing.T) {
	besideAll(t)
	const before, dead, after = 60, 20, 20
	what := fifty()
	what.mishaps, what.subscribes = faults.Mishaps{Drop: 0.2}, true
	what.retries = slices.Repeat([]jsontime.Duration{jsontime.Duration(100 * time.Millisecond)}, 8) // it gives up within a second
	f := open(t, what)
	f.terms.shopSpec = map[string]any{
		"webhook":   map[string]any{"secretRef": map[string]any{"name": "shopify-webhook"}, "address": f.product.WebhookURL("shopify")},
		"reconcile": map[string]any{"every": "5s", "overlap": "5s", "lookBack": "1h"},
	}
	f.apply(nil)
	f.until(time.Minute, "the product has made the webhooks that its flow takes", func() bool { return f.subscribed() })
	f.sell(before)
	f.until(2*time.Minute, "the report tells of the orders that no webhook told of", func() bool {
		r := f.source()
		return r.Compared == before && r.Missing == before-len(f.world.Shop.Captured())
	})
	if err := f.product.Kill(); err != nil {
		t.Fatal(err)
	}
	f.sell(dead)
	f.until(time.Minute, "the shop gives up", func() bool { return f.world.Shop.Report().Webhooks.SubscriptionsDeleted > 0 })
	if err := f.product.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.until(2*time.Minute, "the webhooks are there again", func() bool { return f.subscribed() })
	f.sell(after)
	f.settled(3 * time.Minute)
	const sold = before + dead + after
	missed := sold - len(f.world.Shop.Captured())
	f.until(time.Minute, "the report is complete", func() bool { return f.source().Compared == sold })
	r := f.source()
	t.Logf("%d of %d orders were told by a webhook; the product says: %d missing of %d, %d changed, %d webhooks mended, %d received",
		sold-missed, sold, r.Missing, r.Compared, r.Stale, r.Mended, r.Received)
	if r.Missing != missed || r.Stale != 0 || missed < dead {
		t.Errorf("%d orders are said to be missing and %d changed, want %d and none", r.Missing, r.Stale, missed)
	}
	// Three topics that the flow takes and the one of cancellations, and again the one that
	// was given up.
	if r.Mended != 5 || len(r.Webhooks) != 4 {
		t.Errorf("%d webhooks are said to be mended, of %d, want 5 of 4", r.Mended, len(r.Webhooks))
	}
	if throttled := f.world.Shop.Report().GraphQLThrottled; throttled > 0 {
		t.Errorf("the shop refused %d calls for their cost", throttled)
	}
}

// subscribed reports whether the shop sends what the flow takes, and cancellations.
func (f *field) subscribed() bool {
	topics := make(map[string]bool)
	for _, s := range f.world.Shop.Report().Subscriptions {
		topics[s.Topic] = topics[s.Topic] || s.URI == f.product.WebhookURL("shopify")
	}
	return topics["orders/create"] && topics["orders/updated"] && topics["orders/edited"] && topics["orders/cancelled"]
}

// sourceReport is what peppasync sources says of the shop.
type sourceReport struct {
	Connector string     `json:"connector"`
	Received  int        `json:"received"`
	Compared  int        `json:"compared"`
	Missing   int        `json:"missing"`
	Stale     int        `json:"stale"`
	Mended    int        `json:"mended"`
	Webhooks  []struct{} `json:"webhooks"`
}

func (f *field) source() sourceReport {
	out, err := f.run("sources", "-o", "json")
	if err != nil {
		f.t.Error(err)
		return sourceReport{}
	}
	var found []sourceReport
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		f.t.Errorf("peppasync sources: %v", err)
	}
	for _, r := range found {
		if r.Connector == "shopify" {
			return r
		}
	}
	return sourceReport{}
}
