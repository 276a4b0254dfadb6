package chaos

import (
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// What a shop sees when what ingest stores on fails: 2xx or 503, within its time and
// from a process that stays. What it is asked to send again it does, and nobody else
// has anything to do.

// selling sells orders evenly, some of their webhooks twice.
func (f *field) selling(per int, lasting time.Duration) func() int {
	f.t.Helper()
	return f.begin(shopify.Burst{
		Count: int(float64(per) * lasting.Seconds()), SKU: sku, Quantity: 1, Over: jsontime.Duration(lasting), Duplicates: 0.05,
	})
}

// takesIn waits until webhooks are taken in that were not so far, and says after how
// long.
func (f *field) takesIn(within time.Duration) time.Duration {
	f.t.Helper()
	begin, before := time.Now(), len(f.acknowledged())
	f.until(within, "webhooks are taken in", func() bool { return len(f.acknowledged()) > before })
	return time.Since(begin)
}

// TestSendersWhileANodeIsLost kills the server of a NATS cluster of three that leads the
// stream which webhooks go to, and starts it again.
func TestSendersWhileANodeIsLost(t *testing.T) {
	besideOthers(t)
	what := fastERP()
	what.nodes = 3
	f := open(t, what)
	losses := often(1, 6)
	sold := f.selling(60, time.Duration(losses)*11*time.Second)
	f.takesIn(10 * time.Second)
	for loss := range losses {
		node := f.leader([]string{"INGEST_0", "INGEST_1", "INGEST_2"}[loss%3])
		if err := f.product.KillNode(node); err != nil {
			t.Fatal(err)
		}
		took := f.takesIn(30 * time.Second)
		f.until(30*time.Second, "others lead what the node led", func() bool { return len(f.leads(node, runner.Nobody)) == 0 })
		if err := f.product.StartNode(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		if err := f.product.InSync(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("node %d lost: the next webhook was taken in after %v", node, took)
	}
	sold()
	f.allTaken(2 * time.Minute)
	f.putOff()
}

// TestSendersWhileNATSIsGone kills all of NATS, by itself and in a cluster, and starts
// it again some seconds later.
func TestSendersWhileNATSIsGone(t *testing.T) {
	besideAll(t)
	for name, nodes := range map[string]int{"one server": 0, "three": 3} {
		t.Run(name, func(t *testing.T) {
			besideOthers(t)
			if nodes > 0 && !*long {
				t.Skip("only in the long form: make chaos")
			}
			what := fastERP()
			what.nodes = nodes
			f := open(t, what)
			times, gone := often(2, 5), 3*time.Second
			var sales []func() int
			for range times {
				sales = append(sales, f.selling(60, gone+2*time.Second))
				f.takesIn(10 * time.Second)
				for i := range max(nodes, 1) {
					if err := f.product.KillNode(i); err != nil {
						t.Fatal(err)
					}
				}
				acknowledged := f.acknowledged()
				f.until(10*time.Second, "ingest says that it is not ready", func() bool { return !f.product.IngestReady(t.Context(), 0) })
				<-time.After(gone)
				for i := range max(nodes, 1) {
					if err := f.product.StartNode(t.Context(), i); err != nil {
						t.Fatal(err)
					}
				}
				back := time.Now()
				f.until(time.Minute, "ingest is ready again", func() bool { return f.product.IngestReady(t.Context(), 0) })
				if err := f.product.InSync(t.Context()); err != nil {
					t.Fatal(err)
				}
				t.Logf("NATS was gone for %v, and webhooks are taken in %v after it is back", gone, time.Since(back))
				f.judgeTaken(f.product.URL(), acknowledged, "when NATS is back")
			}
			if ended, err := f.product.Exited(); ended {
				t.Errorf("a role ended: %v", err)
			}
			for _, sold := range sales {
				sold()
			}
			f.allTaken(2 * time.Minute)
			f.putOff()
		})
	}
}

// TestFullStore lets an ERP be down until the store is full, and come back. Nobody gives
// the product more room or starts it again: what waits is fed, makes room, and lets in
// what was put off.
func TestFullStore(t *testing.T) {
	besideOthers(t)
	what := fastERP()
	what.together, what.arguments = true, []string{"--max-store", "8388608"}
	f := open(t, what)
	if err := f.world.ERP.StartMaintenance(time.Hour); err != nil {
		t.Fatal(err)
	}
	// The states of all orders need less than what ingest leaves, nine tenths of the store.
	const orders = 70
	note := strings.Repeat("a long wish of the buyer ", 3000) // 75 kB
	for range orders {
		o, err := f.world.Shop.SellOne(shopify.OrderSpec{Lines: []shopify.LineSpec{{SKU: sku, Quantity: 1}}, Note: note})
		if err != nil {
			t.Fatal(err)
		}
		f.want[o.Name] = 1
	}
	statuses := func() map[string]int { return f.world.Shop.Report().Webhooks.ByStatus }
	f.until(30*time.Second, "the store is full", func() bool { return statuses()["503"] > orders/2 })
	taken := f.acknowledged()
	if len(taken) == 0 || len(taken) == orders {
		t.Errorf("%d of %d webhooks were taken in before the store was full", len(taken), orders)
	}
	if err := f.world.ERP.StopMaintenance(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	f.until(time.Minute, "all webhooks are taken in", func() bool { return len(f.acknowledged()) == orders })
	t.Logf("%d of %d were taken in before the store was full, all %v after the ERP was back; answers: %v", len(taken), orders, time.Since(begin), statuses())
	f.settled(time.Minute)
	if t.Failed() {
		t.Logf("in the end: %s", sizes(t, f.product.URL()))
	}
	f.putOff()
}
