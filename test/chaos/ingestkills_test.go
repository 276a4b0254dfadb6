package chaos

import (
	"context"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// often returns how often something is done in the form of the test that is run.
func often(short, inLong int) int {
	if *long {
		return inLong
	}
	return short
}

// moment returns a random time.
func (f *field) moment(least, most time.Duration) time.Duration {
	return least + time.Duration(f.random.Int64N(int64(most-least)))
}

// TestAllInOneKilled kills the one process that has all roles and NATS in it, while
// webhooks come in: one time in four as it starts. Whatever was answered with 2xx is
// stored when it is back, and senders that got no answer come again.
func TestAllInOneKilled(t *testing.T) {
	besideOthers(t)
	what := fastERP()
	what.together = true
	f := open(t, what)
	var sales []func() int
	inStart := 0
	for kill := range often(6, 30) {
		before := len(f.acknowledged())
		life := f.moment(200*time.Millisecond, 1200*time.Millisecond)
		sales = append(sales, f.begin(shopify.Burst{
			Count: 60, SKU: sku, Quantity: 1, Over: jsontime.Duration(life), Duplicates: 0.1,
		}))
		f.until(10*time.Second, "webhooks are taken in before the kill", func() bool { return len(f.acknowledged()) > before })
		<-time.After(life / 2)
		f.killAll()
		if kill%4 == 1 {
			inStart += f.killStarting()
		}
		acknowledged := f.acknowledged()
		if err := f.product.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.judgeTaken(f.product.URL(), acknowledged, "after a kill")
	}
	for _, sold := range sales {
		sold()
	}
	t.Logf("killed %d times under load and %d times in the start", often(6, 30), inStart)
	f.allTaken(time.Minute)
}

func (f *field) killAll() {
	f.t.Helper()
	if err := f.product.Kill(); err != nil {
		f.t.Fatal(err)
	}
}

// killStarting starts the product and kills it before it is ready, or just then. It
// returns how often that was before.
func (f *field) killStarting() int {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), f.moment(20*time.Millisecond, 600*time.Millisecond))
	defer cancel()
	err := f.product.Start(ctx) // kills it where it is not ready in time
	if err == nil {
		f.killAll()
		return 0
	}
	if ctx.Err() == nil {
		f.t.Fatal(err)
	}
	return 1
}

// crowd are the processes that take webhooks in: ingests and servers of NATS.
type crowd struct {
	f *field
	// back is when each that is dead starts again, by number: nodes, then ingests.
	back  map[int]time.Time
	kills map[string]int
}

// TestIngestAndNATSKilled kills two ingests and the three servers of a NATS cluster at
// random while webhooks come in, also several at once: two of three servers, or both
// ingests.
func TestIngestAndNATSKilled(t *testing.T) {
	besideOthers(t)
	what := fastERP()
	what.nodes, what.ingests = 3, 2
	f := open(t, what)
	c := crowd{f: f, back: make(map[int]time.Time), kills: make(map[string]int)}
	kills := often(6, 40)
	span := time.Duration(kills) * 1500 * time.Millisecond
	sold := f.begin(shopify.Burst{Count: 40 * int(span.Seconds()), SKU: sku, Quantity: 1, Over: jsontime.Duration(span), Duplicates: 0.1})
	for range kills {
		c.pass(f.moment(500*time.Millisecond, 2500*time.Millisecond))
		c.kill()
	}
	c.pass(time.Second)
	for len(c.back) > 0 {
		c.pass(200 * time.Millisecond)
	}
	if err := f.product.InSync(t.Context()); err != nil {
		t.Fatal(err)
	}
	sold()
	t.Logf("killed: %v", c.kills)
	f.allTaken(2 * time.Minute)
}

// pass lets time pass: the shop sends to either ingest in turn, and the dead come back.
func (c *crowd) pass(lasting time.Duration) {
	c.f.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	turn := 0
	for end := time.Now().Add(lasting); time.Now().Before(end); <-tick.C {
		turn++
		if err := c.f.world.Shop.SetTarget(c.f.product.IngestURL(turn%c.f.terms.ingests, "shopify")); err != nil {
			c.f.t.Fatal(err)
		}
		for i, at := range c.back {
			if !time.Now().Before(at) {
				delete(c.back, i)
				c.start(i)
			}
		}
	}
}

// kill ends one that lives. All three servers are never dead at once: that is another
// test's.
func (c *crowd) kill() {
	c.f.t.Helper()
	nodes, all := c.f.terms.nodes, c.f.terms.nodes+c.f.terms.ingests
	for {
		victim, dead := c.f.random.IntN(all), 0
		for i := range c.back {
			if i < nodes {
				dead++
			}
		}
		if _, gone := c.back[victim]; gone || victim < nodes && dead == nodes-1 {
			continue
		}
		c.back[victim] = time.Now().Add(c.f.moment(0, 4*time.Second))
		var err error
		if victim < nodes {
			c.kills["nats"]++
			err = c.f.product.KillNode(victim)
		} else {
			c.kills["ingest"]++
			err = c.f.product.KillIngest(victim - nodes)
		}
		if err != nil {
			c.f.t.Fatal(err)
		}
		return
	}
}

func (c *crowd) start(i int) {
	c.f.t.Helper()
	var err error
	if i < c.f.terms.nodes {
		err = c.f.product.StartNode(c.f.t.Context(), i)
	} else {
		err = c.f.product.StartIngest(c.f.t.Context(), i-c.f.terms.nodes)
	}
	if err != nil {
		c.f.t.Fatal(err)
	}
}
