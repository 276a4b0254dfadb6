package catalog

import (
	"net/url"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
)

const (
	reconcileLeast = 5 * time.Second
	reconcileMost  = 24 * time.Hour
	lookBackMost   = 1440 * time.Hour
	// webhookPath is where ingest takes webhooks in, with the Connector's name behind it.
	webhookPath = "/v1/webhooks/"
)

// reconcile checks how the orders are found that no webhook told of. Defaults are not
// judged where nothing is written: a file that was fine has to stay so.
func (c *compiler) reconcile(e *entry[*v1alpha1.Connector]) {
	const field = "spec.reconcile"
	spec := &e.object.Spec
	if _, written := e.places[field]; spec.Reconcile == nil || len(e.places) > 0 && !written {
		return
	}
	system := c.systems.Systems[string(spec.System)]
	if c.known(spec.System) {
		if spec.Webhook == nil {
			c.reportf(e.Resource, field, "belongs to Connectors that send webhooks, expected spec.webhook beside it: it finds what these miss")
		}
		listed := false
		if system != nil {
			_, listed = system.Operations(spec)[connectors.OperationListOrders]
		}
		if _, topical := c.systems.Sources[string(spec.System)].(connectors.Topical); !listed || !topical {
			c.reportf(e.Resource, field, "%s cannot be asked for the orders that changed, expected none here", spec.System)
			return
		}
	}
	r := spec.Reconcile
	every := r.Every.Duration
	if every != 0 && (every < reconcileLeast || every > reconcileMost) {
		c.reportf(e.Resource, field+".every", "found %s, expected a time from %s to %s, or 0s for never",
			short(every), short(reconcileLeast), short(reconcileMost))
	}
	c.between(e.Resource, field+".overlap", r.Overlap.Duration, time.Second, reconcileMost)
	c.between(e.Resource, field+".lookBack", r.LookBack.Duration, 0, lookBackMost)
	c.lane(e.Resource, field+".lane", r.Lane, e)
	if every >= reconcileLeast {
		c.reconcileBudget(e, every)
	}
}

// reconcileBudget refuses to ask so often that too little of the account is left for
// orders. Each time is a call for the orders, and one for the webhooks where they are
// watched; more pages follow only where there is more to find.
func (c *compiler) reconcileBudget(e *entry[*v1alpha1.Connector], every time.Duration) {
	spec := &e.object.Spec
	calls := 1.0
	if spec.Webhook != nil && spec.Webhook.Address != "" {
		calls = 2
	}
	for i := range spec.Limits {
		allowed, per := spec.Limits[i].Rate()
		if allowed < 1 {
			continue
		}
		asked := calls * per.Seconds() / every.Seconds()
		if asked*100 <= stockShare*float64(allowed) {
			continue
		}
		const step = time.Second
		enough := time.Duration(calls*100/stockShare*float64(per)/float64(allowed)-1).Truncate(step) + step
		c.reportf(e.Resource, "spec.reconcile.every",
			"every %s is %s calls in %s, %s%% of the %d that limit %q allows, expected at most %d%%: ask every %s or less often",
			short(every), figure(asked), short(per), figure(asked*100/float64(allowed)), allowed, spec.Limits[i].Name, stockShare, short(enough))
		return
	}
}

// webhookAddress refuses an address that leads anywhere but to this Connector: webhooks
// would be made that nobody takes in.
func (c *compiler) webhookAddress(e *entry[*v1alpha1.Connector]) {
	const field = "spec.webhook.address"
	address := e.object.Spec.Webhook.Address
	if address == "" {
		return
	}
	end := webhookPath + e.object.Name
	parsed, err := url.Parse(address)
	if err != nil || parsed.Hostname() == "" || parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" ||
		parsed.Scheme != "https" && (parsed.Scheme != "http" || !nearby(parsed.Hostname())) || !strings.HasSuffix(parsed.Path, end) {
		c.reportf(e.Resource, field, "found %q, expected the https URL at which the system reaches this Connector, such as https://orders.example.com%s",
			shorten(withoutUser(address)), end)
	}
}
