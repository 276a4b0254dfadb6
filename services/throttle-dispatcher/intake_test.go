package throttledispatcher_test

import (
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
)

func concurrencyOf(calls int64) v1alpha1.Limit {
	return v1alpha1.Limit{Name: "parallel", Concurrency: &v1alpha1.Concurrency{Calls: calls}}
}

// However many connectors have a backlog, what is held in memory of it is bounded, a
// lane has enough for a second at 100 a second, and for two seconds of its pace and the
// calls under way where few are quick.
func TestManyConnectorsHoldNoMoreTogether(t *testing.T) {
	for name, test := range map[string]struct {
		connectors, want int
		limits           []v1alpha1.Limit
	}{
		"none":                       {0, 512, []v1alpha1.Limit{window(100, time.Minute)}},
		"one":                        {1, 512, []v1alpha1.Limit{window(100, time.Minute)}},
		"fifty":                      {50, 512, []v1alpha1.Limit{window(100, time.Minute)}},
		"a hundred":                  {100, 256, []v1alpha1.Limit{window(100, time.Minute)}},
		"two hundred":                {200, 128, []v1alpha1.Limit{window(100, time.Minute)}},
		"a thousand":                 {1000, 128, []v1alpha1.Limit{window(100, time.Minute)}},
		"one of 1,000 a second":      {1, 2400, []v1alpha1.Limit{window(1000, time.Second), concurrencyOf(400)}},
		"some quick ones":            {10, 2400, []v1alpha1.Limit{window(1000, time.Second), concurrencyOf(400)}},
		"as quick as all the others": {200, 128, []v1alpha1.Limit{window(1000, time.Second), concurrencyOf(400)}},
		"the slower of two windows":  {1, 1000, []v1alpha1.Limit{window(1000, time.Second), window(3000, time.Minute), concurrencyOf(900)}},
		"no pace":                    {1, 512, []v1alpha1.Limit{concurrencyOf(400)}},
		"more than anyone can store": {1, 8192, []v1alpha1.Limit{window(1_000_000, time.Second)}},
	} {
		connector := &v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{Limits: test.limits}}
		got, err := throttledispatcher.PlacesPerLane(test.connectors, connector)
		if err != nil || got != test.want {
			t.Errorf("%s: %d places in each lane (%v), want %d", name, got, err, test.want)
		}
	}
}

// What comes from the stream one by one is not also sent one by one: a block has what
// has come while the one before was bound and stored. Otherwise a connector whose line
// has once run dry would never again be faster than one call to a block.
func TestAStreamOfDeliveriesFillsBlocks(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const orders = 400
	w := newWorld(t, 1_000_000, time.Minute)
	var group sync.WaitGroup
	for n := range orders {
		group.Go(func() { w.want(n, "") })
	}
	group.Wait()
	w.start()
	w.delivered(orders)
	claims, blocks := 0, 0
	for _, block := range w.blocks() {
		if n := len(block.GetClaims()); n > 0 {
			claims += n
			blocks++
		}
	}
	t.Logf("%d claims in %d blocks", claims, blocks)
	if claims != orders || blocks > orders/4 {
		t.Errorf("%d claims are in %d blocks, want %d in at most %d", claims, blocks, orders, orders/4)
	}
}

// What NATS lets ingest publish on is one key of every connector, so that what is under
// it must not be an order's call, and nothing under it may pass for another's.
func TestASubjectSaysWhatMayBeAsked(t *testing.T) {
	delivery := func(key, operation string) *dispatchv1.Delivery {
		return &dispatchv1.Delivery{Id: "d", Connector: "erp", Lane: "bulk", Key: key, Operation: operation}
	}
	random := rand.Text()
	asked := "dispatch.v1.erp.bulk.reconcile." + random
	question := func(operation string, change ...func(d *dispatchv1.Delivery)) *dispatchv1.Delivery {
		d := &dispatchv1.Delivery{Id: random, Connector: "erp", Lane: "bulk", Key: "reconcile", Operation: operation, Requester: "ingest"}
		for _, c := range change {
			c(d)
		}
		return d
	}
	for name, test := range map[string]struct {
		subject string
		asks    *dispatchv1.Delivery
		want    bool
	}{
		"an order's call":                        {"dispatch.v1.erp.bulk.shop_1.d", delivery("shop_1", "upsertSalesOrder"), true},
		"a list for ingest":                      {asked, question("listOrders"), true},
		"webhooks for ingest":                    {asked, question("putWebhook"), true},
		"an order's call under the key":          {asked, question("upsertSalesOrder"), false},
		"a text under the key":                   {asked, question("sendMessage"), false},
		"another role's question under the key":  {asked, question("listOrders", func(d *dispatchv1.Delivery) { d.Requester = "logic-gate" }), false},
		"nobody's question under the key":        {asked, question("listOrders", func(d *dispatchv1.Delivery) { d.Requester = "" }), false},
		"an order's call that hides its subject": {"dispatch.v1.erp.bulk.reconcile.d", delivery("shop_1", "upsertSalesOrder"), false},
		"another connector's":                    {"dispatch.v1.wms.bulk.shop_1.d", delivery("shop_1", "upsertSalesOrder"), false},
		"another lane's":                         {"dispatch.v1.erp.express.shop_1.d", delivery("shop_1", "upsertSalesOrder"), false},
		"another's id":                           {"dispatch.v1.erp.bulk.shop_1.e", delivery("shop_1", "upsertSalesOrder"), false},
	} {
		if got := throttledispatcher.MayAsk(test.subject, test.asks); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
