package catalog

import (
	"fmt"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
)

const readEveryLeast = 500 * time.Millisecond

func (c *compiler) pool(e *entry[*v1alpha1.StockPool]) {
	if e.broken {
		return
	}
	spec := &e.object.Spec
	c.snapshot.StockPools[e.object.Name] = e.object
	if enum(c, e.Resource, "spec.mode", spec.Mode, enums["StockMode"]) && spec.Mode == v1alpha1.StockModeEscrow {
		c.reportf(e.Resource, "spec.mode", "Escrow is not available in this release, expected Shared")
	}
	c.size(e.Resource, "spec.skus", len(spec.SKUs), 1000, "SKU")
	c.unique(e.Resource, "spec.skus", spec.SKUs, "")
	for i, sku := range spec.SKUs {
		if sku == "" || len(sku) > 255 {
			c.reportf(e.Resource, at("spec.skus", i), "found a SKU of %d bytes, expected 1 to 255", len(sku))
		}
	}
	c.count(e.Resource, "spec.buffer", spec.Buffer, 0, 1_000_000_000)
	c.between(e.Resource, "spec.source.readEvery", spec.Source.ReadEvery.Duration, readEveryLeast, 24*time.Hour)
	c.stockPlace(e, "spec.source", spec.Source.Connector, spec.Source.Location, connectors.OperationReadStock)
	c.size(e.Resource, "spec.channels", len(spec.Channels), 32, "channel")
	seen := make(map[v1alpha1.StockChannel]bool, len(spec.Channels))
	for i, channel := range spec.Channels {
		field := at("spec.channels", i)
		c.stockPlace(e, field, channel.Connector, channel.Location, connectors.OperationReadStock, connectors.OperationSetStock)
		switch {
		case seen[channel]:
			c.reportf(e.Resource, field, "location %q of Connector %q is written twice, expected it once",
				shorten(channel.Location), shorten(channel.Connector))
		case channel.Connector == spec.Source.Connector && channel.Location == spec.Source.Location:
			c.reportf(e.Resource, field, "is the source itself, expected the place where buyers see the figure")
		}
		seen[channel] = true
	}
}

// stockPlace checks that a connector can do what a pool asks of it.
func (c *compiler) stockPlace(e *entry[*v1alpha1.StockPool], field, name, location string, operations ...string) {
	if location == "" {
		c.reportf(e.Resource, field+".location", "is empty, expected the system's own id of the location")
	}
	connector := c.reference(e.Resource, field+".connector", name)
	if connector == nil {
		return
	}
	laneField := "spec.lane"
	if _, written := e.places[laneField]; !written && len(e.places) > 0 {
		laneField = field + ".connector"
	}
	c.lane(e.Resource, laneField, e.object.Spec.Lane, connector)
	c.can(e.Resource, field+".connector", connector.object, operations...)
}

// can checks that a connector's system has operations that roles ask for.
func (c *compiler) can(r *Resource, field string, connector *v1alpha1.Connector, operations ...string) {
	system := c.callable(r, field, connector)
	if system == nil {
		return
	}
	available := system.Operations(&connector.Spec)
	for _, operation := range operations {
		if _, ok := available[operation]; !ok {
			c.reportf(r, field, "Connector %q is of system %s, which cannot %s, expected one that can", connector.Name, connector.Spec.System, operation)
			return
		}
	}
}

// Reads of stock may take this share of a window, in percent: the rest is for
// orders.
const stockShare = 20

// stockBudget refuses pools whose reads would leave too little of a source's
// budget for orders. One read is one call: the figures of a pool's SKUs, at most
// 1,000, come in one reply.
func (c *compiler) stockBudget() {
	bySource := make(map[string][]*entry[*v1alpha1.StockPool])
	for _, pool := range c.pools {
		if !pool.broken && pool.object.Spec.Source.ReadEvery.Duration >= readEveryLeast {
			bySource[pool.object.Spec.Source.Connector] = append(bySource[pool.object.Spec.Source.Connector], pool)
		}
	}
	for _, connector := range c.inOrder {
		pools := bySource[connector.object.Name]
		if connector.broken || len(pools) == 0 {
			continue
		}
		if window, reads := tightest(connector.object.Spec.Limits, pools); window != nil {
			for _, pool := range pools {
				c.overBudget(pool, connector.object.Name, window, reads, len(pools))
			}
		}
	}
}

// tightest returns the window, or the bucket as it refills, in which reads take the largest share, and their
// number in it, or nil where no window is over the share.
func tightest(limits []v1alpha1.Limit, pools []*entry[*v1alpha1.StockPool]) (*v1alpha1.Limit, float64) {
	var found *v1alpha1.Limit
	var foundReads, worst float64
	for i := range limits {
		calls, per := limits[i].Rate()
		if calls < 1 {
			continue
		}
		reads := 0.0
		for _, pool := range pools {
			reads += per.Seconds() / pool.object.Spec.Source.ReadEvery.Seconds()
		}
		if used := reads / float64(calls); used > worst {
			found, foundReads, worst = &limits[i], reads, used
		}
	}
	const rounding = 1e-9
	if worst*100 <= stockShare+rounding {
		return nil, 0
	}
	return found, foundReads
}

func (c *compiler) overBudget(pool *entry[*v1alpha1.StockPool], connector string, limit *v1alpha1.Limit, reads float64, pools int) {
	calls, per := limit.Rate()
	every := pool.object.Spec.Source.ReadEvery.Duration
	together := ""
	if pools > 1 {
		together = fmt.Sprintf(" together with the other pools that read there (%d in all)", pools)
	}
	// All pools slowed by the same factor fit again; up to a tenth of a second.
	factor := reads * 100 / (stockShare * float64(calls))
	const step = 100 * time.Millisecond
	enough := time.Duration(float64(every)*factor-1).Truncate(step) + step
	c.reportf(pool.Resource, "spec.source.readEvery",
		"a read every %s is %s calls in %s%s, %s%% of the %d that limit %q of Connector %q allows, expected at most %d%%: read every %s or less often",
		short(every), figure(reads), short(per), together, figure(reads*100/float64(calls)),
		calls, limit.Name, connector, stockShare, short(enough))
}

// figure rounds for a sentence, without an exponent.
func figure(x float64) string {
	if x < 100 {
		return strconv.FormatFloat(x, 'g', 3, 64)
	}
	return strconv.FormatFloat(x, 'f', 0, 64)
}
