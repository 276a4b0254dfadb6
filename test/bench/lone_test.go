package bench

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

const sku = "VIRAL-1"

// BenchmarkLoneOrders sells orders one at a time to connectors that have nothing to
// do, and reports how long each took from its webhook's first byte to its arrival at
// the ERP. The promise is 50 ms at p50 and 150 ms at p99, also where the ERP takes
// 100 calls a minute. That limit spaces one connector's calls 0.606 s apart, so that
// a thousand orders to one would take ten minutes; here ten connectors have ten
// orders each a round, every one of them alone in the whole product. BENCHTIME=10x
// measures a thousand.
//
// The hops are from the spans that the roles, processes of their own, send to a
// collector: at the door (from the webhook until ingest has it), to the logic-gate
// (on disk in INGEST and read), to the dispatcher (state and delivery on disk, and
// read), and from there, with the claim on disk, to the ERP. The acknowledgment is
// what the shop waited for.
func BenchmarkLoneOrders(b *testing.B) {
	for name, calls := range map[string]int{"100-a-minute": 100, "60000-a-minute": 60_000} {
		b.Run(name, func(b *testing.B) {
			raw := fsyncs(b, b.TempDir())
			l := openLone(b, calls)
			l.round() // connections are made, code is paged in
			l.spent = nil
			for b.Loop() {
				l.round()
			}
			b.StopTimer()
			l.report()
			report(b, raw, "fsync")
		})
	}
}

const (
	loneConnectors = 10
	lonePerRound   = 10
	// loneEvery keeps orders apart: each connector gets one every 0.7 s, and the
	// product one every 70 ms, which is longer than it takes to deliver one.
	loneEvery = 70 * time.Millisecond

	// What is promised.
	loneHalf = 50 * time.Millisecond
	loneMost = 150 * time.Millisecond
)

// lone is the product, each role a process of its own, between a shop and an ERP
// that plays ten accounts.
type lone struct {
	b         *testing.B
	world     *sim.World
	product   *files
	collector *runner.Collector
	// spent are the times by hop.
	spent map[string][]time.Duration
	// sold are the orders of the round.
	sold []shopify.Order
}

func openLone(b *testing.B, calls int) *lone {
	b.Helper()
	world, err := sim.Start(sim.Config{
		Shop: shopify.Config{FirstOrderNumber: 1, Items: []shopify.Item{{SKU: sku, Available: 10_000_000}}},
		ERP:  netsuite.Config{Items: []netsuite.Item{{SKU: sku, OnHand: 10_000_000}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(world.Close)
	l := &lone{b: b, world: world, collector: runner.NewCollector(b.Errorf)}
	b.Cleanup(l.collector.Close)
	p := product(b, "--otlp-endpoint", l.collector.URL)
	l.product = p
	p.write(shopFile, "shopify", world.Addresses().Shop)
	for i := range loneConnectors {
		p.write(erpFile, name(i), world.Addresses().ERP, calls)
		p.write(flowFile, name(i), i)
	}
	p.start()
	if err := world.Shop.SetTarget(p.WebhookURL("shopify")); err != nil {
		b.Fatal(err)
	}
	return l
}

func name(i int) string { return fmt.Sprint("erp-", i) }

// round sells and takes the times.
func (l *lone) round() {
	l.b.Helper()
	l.sold = nil
	tick := time.NewTicker(loneEvery)
	defer tick.Stop()
	for i := range loneConnectors * lonePerRound {
		<-tick.C
		o, err := l.world.Shop.SellOne(shopify.OrderSpec{
			Lines: []shopify.LineSpec{{SKU: sku, Quantity: 1}}, Note: strconv.Itoa(i % loneConnectors),
		})
		if err != nil {
			l.b.Fatal(err)
		}
		l.sold = append(l.sold, o)
	}
	chains := map[string][]*tracev1.Span{}
	l.product.until("every order is at the ERP, and every span at the collector", func() bool {
		for i := range loneConnectors {
			for _, span := range l.collector.Named("PUT " + name(i)) {
				if chain := l.collector.Chain(span); len(chain) == 4 {
					chains[idOf(chain)] = chain
				}
			}
		}
		for _, o := range l.sold {
			if chains[strconv.FormatInt(o.ID, 10)] == nil {
				return false
			}
		}
		return true
	})
	l.take(chains)
}

// idOf returns the shop's id of the order that a call was for: that is how the
// dispatcher's key ends.
func idOf(chain []*tracev1.Span) string {
	for _, a := range chain[1].GetAttributes() {
		if a.GetKey() == "peppasync.key" {
			key := a.GetValue().GetStringValue()
			return key[strings.LastIndexByte(key, '_')+1:]
		}
	}
	return ""
}

func (l *lone) take(chains map[string][]*tracev1.Span) {
	l.b.Helper()
	if l.spent == nil {
		l.spent = map[string][]time.Duration{}
	}
	webhooks := map[string]shopify.Delivery{}
	for _, d := range l.world.Shop.Deliveries() {
		webhooks[d.Order] = d
	}
	arrived := map[string]time.Time{}
	for _, o := range l.world.ERP.Orders() {
		arrived[o.OtherRefNum] = l.world.ERP.History(o.ExternalID)[0].ArrivedAt
	}
	for _, o := range l.sold {
		w, chain := webhooks[o.Name], chains[strconv.FormatInt(o.ID, 10)]
		at, there := arrived[o.Name]
		if w.Acknowledged == nil || w.Attempts != 1 || !there {
			l.b.Fatalf("order %s: the webhook needed %d attempts, at the ERP: %v", o.Name, w.Attempts, there)
		}
		door, gate, dispatch := begin(chain[3]), begin(chain[2]), begin(chain[1])
		for hop, took := range map[string]time.Duration{
			"0-webhook-to-erp": at.Sub(*w.FirstAttempt), "1-door": door.Sub(*w.FirstAttempt), "2-to-gate": gate.Sub(door),
			"3-to-dispatcher": dispatch.Sub(gate), "4-to-erp": at.Sub(dispatch),
			"ack": time.Duration(w.AcknowledgedMs * float64(time.Millisecond)),
		} {
			l.spent[hop] = append(l.spent[hop], took)
		}
	}
}

func begin(span *tracev1.Span) time.Time {
	return time.Unix(0, int64(span.GetStartTimeUnixNano()))
}

func (l *lone) report() {
	l.b.Helper()
	for _, hop := range slices.Sorted(maps.Keys(l.spent)) {
		report(l.b, l.spent[hop], hop)
		l.b.Logf("%s: %v at p50, %v at p99", hop, arrivals.Percentile(l.spent[hop], 0.5), arrivals.Percentile(l.spent[hop], 0.99))
	}
	l.b.ReportMetric(float64(len(l.spent["ack"])), "orders")
	whole := l.spent["0-webhook-to-erp"]
	if half, most := arrivals.Percentile(whole, 0.5), arrivals.Percentile(whole, 0.99); half > loneHalf || most > loneMost {
		// No failure: on a machine that is busy with other things it says nothing.
		l.b.Logf("MISSED: a lone order is at the ERP after %v at p50 and %v at p99, promised are %v and %v at most", half, most, loneHalf, loneMost)
	}
}
