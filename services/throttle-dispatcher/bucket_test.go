package throttledispatcher_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/stock"
	"github.com/peppasync/peppasync/services/internal/secrets"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// bucketOf is a bucket that refills by the second.
func bucketOf(capacity int64, refill v1alpha1.Refill) v1alpha1.Limit {
	refill.Per = metav1.Duration{Duration: time.Second}
	return v1alpha1.Limit{Name: "bucket", Bucket: &v1alpha1.Bucket{Capacity: capacity, Refill: refill}}
}

// withBucket adds a limit.
func (w *world) withBucket(limit v1alpha1.Limit) {
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Limits = append(spec.Limits, limit) })
}

// fullest returns the most that was in a bucket that drains at rate a second, of
// calls that cost so much each.
func fullest(arrivals []arrival, cost, rate float64) float64 {
	most, level := 0.0, 0.0
	for i, one := range arrivals {
		if i > 0 {
			level = max(0, level-rate*one.at.Sub(arrivals[i-1].at).Seconds())
		}
		level += cost
		most = max(most, level)
	}
	return most
}

// certifies demands that the certificate of the bucket, once all is counted, says no less
// than what a server saw, and no more than slack above it and than what the bucket holds.
func (w *world) certifies(client dispatcherv1.DispatcherServiceClient, most, slack float64) {
	w.t.Helper()
	calls := w.account.seen()
	last := calls[len(calls)-1].at
	c := w.until(client, "all are counted", func(c *dispatcherv1.Connector) bool {
		return c.GetCountedThrough().AsTime().After(last) && limitNamed(w.t, c, "bucket").GetLastWindowCount() == 0
	})
	l := limitNamed(w.t, c, "bucket")
	w.t.Logf("a server saw a level of %.2f at most, the certificate says %d of %d", most, l.GetLargestWindowCount(), l.GetCalls())
	if highest := float64(l.GetLargestWindowCount()); highest < most || highest > float64(l.GetCalls()) || highest > most+slack || l.GetRefill() == nil || l.GetPer() != nil {
		w.t.Errorf("a server saw a level of %.2f at most, the certificate says %v", most, l)
	}
}

// A bucket starts full where nothing is known of it, is fed as it drains while there
// is a backlog, and takes a burst when it was idle; its own figure, "40/40", is no
// reason for a pause on top.
func TestBucketIsFedAsItDrainsAndTakesABurst(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const capacity, rate = 20, 10
	w, m := newWorld(t, 6000, time.Minute), watch(t)
	w.withBucket(bucketOf(capacity, v1alpha1.Refill{Calls: rate}))
	// Full at first, as the connector takes it to be.
	account := &leaking{capacity: capacity, rate: rate, level: capacity, at: time.Now()}
	w.account.answer(account.reply)
	const backlog, burst = 50, 20
	for i := range backlog {
		w.want(i, "")
	}
	client, _ := w.served()
	w.start(throttledispatcher.Through(m.through))
	w.delivered(backlog)
	fed := w.account.seen()
	took := fed[backlog-1].at.Sub(fed[0].at)
	during(capacity * time.Second / rate)
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = true })
	for i := range burst {
		w.want(backlog+i, "")
	}
	c := w.until(client, "a burst waits", func(c *dispatcherv1.Connector) bool {
		return c.GetWaiting() == burst && c.GetState() == dispatcherv1.State_STATE_PAUSED
	})
	// The backlog took a tenth of a second for each; a burst finds the bucket empty.
	if in := c.GetDrainsIn().AsDuration(); in > time.Second/2 {
		t.Errorf("a burst of %d into an empty bucket of %d is to take %v, want it to go at once", burst, capacity, in)
	}
	if rate := c.GetAllowedPerMinute(); rate < 599 || rate > 601 {
		t.Errorf("%v calls a minute are allowed, want 600", rate)
	}
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = false })
	w.delivered(backlog + burst)
	calls := w.account.seen()
	// The last ones go as what was sent first drains.
	quick := calls[backlog+burst-5].at.Sub(calls[backlog].at)
	t.Logf("%d calls in %v, and %d at once in %v; at most %.2f of %d in the bucket", backlog, took, burst-4, quick, fullest(calls, 1, rate), capacity)
	most := fullest(calls, 1, rate)
	if most > capacity {
		t.Errorf("%.3f in a bucket of %d", most, capacity)
	}
	if account.refused > 0 {
		t.Errorf("%d calls were refused", account.refused)
	}
	w.certifies(client, most, 2*rate)
	if !m.judges(t) {
		return
	}
	if fastest := time.Duration(backlog-1) * time.Second / rate; took > fastest*11/10 {
		t.Errorf("%d calls took %v, the bucket drains for them in %v", backlog, took, fastest)
	}
	if quick > time.Second {
		t.Errorf("a burst took %v, want at once: the bucket was empty", quick)
	}
}

// Who takes over knows what is in the bucket: it neither waits until a full one has
// drained, nor sends what there is no room for.
func TestBucketIsTakenOver(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const capacity, rate = 20, 2
	w := newWorld(t, 6000, time.Minute)
	w.withBucket(bucketOf(capacity, v1alpha1.Refill{Calls: rate}))
	w.want(0, "")
	stop := w.start()
	w.delivered(1)
	// It was taken for full, and half of it has drained after a while.
	during(5 * time.Second)
	w.want(1, "")
	w.delivered(2)
	stop()
	before := time.Now()
	const orders = 12
	for i := range orders {
		w.want(2+i, "")
	}
	w.owner = "another"
	w.start()
	w.delivered(2 + orders)
	calls := w.account.seen()
	if most := fullest(calls, 1, rate); most > capacity {
		t.Errorf("%.3f in a bucket of %d", most, capacity)
	}
	// Of a full one, eight more would have to drain: 4 s. A replica that is new waits for
	// nothing else here.
	if eighth := calls[2+8].at.Sub(before); eighth > 3*time.Second {
		t.Errorf("the eighth call of the new owner went after %v, there was room for it", eighth)
	}
}

// Where points are counted, a call counts with what its operation costs; what never
// fits is held, and stops nobody else.
func TestCallsCountWithWhatTheyCost(t *testing.T) {
	t.Parallel()
	const capacity, rate, cost = 30, 40, 10
	w := newWorld(t, 6000, time.Minute)
	w.withBucket(bucketOf(capacity, v1alpha1.Refill{Points: rate}))
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
		spec.HTTP.Operations[0].Cost = cost
		spec.HTTP.Operations[1].Cost = capacity + 1
	})
	const orders = 16
	for i := range orders {
		w.want(i, "")
	}
	w.store(orders, "")
	dear := delivery(orders)
	dear.Operation = "ship"
	w.ask(dear)
	w.start()
	results := w.results(orders + 1)
	for key, result := range results {
		if key == dear.GetKey() {
			continue
		}
		if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
			t.Errorf("%s: %v because of %v, want delivered", key, result.GetOutcome(), result.GetCause())
		}
	}
	calls := w.account.seen()
	if most := fullest(calls, cost, rate); len(calls) != orders || most > capacity {
		t.Errorf("%d calls, %.3f in a bucket of %d", len(calls), most, capacity)
	}
	if took, least := calls[orders-1].at.Sub(calls[0].at), time.Duration(orders-3)*cost*time.Second/rate; took < least {
		t.Errorf("%d calls in %v, they cost what drains in %v", orders, took, least)
	}
	held := results[dear.GetKey()]
	if held.GetOutcome() != dispatchv1.Outcome_OUTCOME_HELD || held.GetCause().GetCode() != "cost-above-limit" {
		t.Errorf("a call of %d points: %v because of %v, want it held", capacity+1, held.GetOutcome(), held.GetCause())
	}
}

// What a query may cost is reserved, and what it did cost stays in the bucket: so a shop
// never has to refuse one, and is not read as slowly as if each cost the most.
func TestPointsThatWereNotSpentAreGivenBack(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const capacity, rate, requested, actual = 2000, 400, 752, 9
	w := newWorld(t, 6000, time.Minute)
	w.secrets = secrets.Environment([]string{"PEPPASYNC_SECRET_SHOP_ACCESS_TOKEN=t1"})
	w.withBucket(bucketOf(capacity, v1alpha1.Refill{Points: rate}))
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
		spec.System, spec.HTTP = v1alpha1.SystemShopify, nil
		spec.Auth = &v1alpha1.Authentication{SecretRef: v1alpha1.SecretReference{Name: "shop"}}
	})
	// The shop's bucket is full at first, by others' calls.
	var (
		mu    sync.Mutex
		level = float64(capacity)
		most  float64
		at    = time.Now()
	)
	fill := func(points float64) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		level, at = max(0, max(0, level-rate*now.Sub(at).Seconds())+points), now
		most = max(most, level)
	}
	w.account.hold(func() {
		fill(requested)
		during(50 * time.Millisecond)
	})
	w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
		fill(actual - requested)
		_, _ = fmt.Fprintf(reply, `{"data":{"inventoryItems":{"nodes":[],"pageInfo":{"hasNextPage":false}}},
			"extensions":{"cost":{"requestedQueryCost":%d,"actualQueryCost":%d}}}`, requested, actual)
		return http.StatusOK
	})
	const reads = 12
	for i := range reads {
		q := query(fmt.Sprint("read-", i))
		q.Operation = connectors.OperationReadStock
		q.Content = &dispatchv1.Delivery_Arguments{Arguments: stock.Read{SKUs: []string{"MUG-1"}, Location: "71"}.Arguments()}
		w.ask(q)
	}
	client, _ := w.served()
	w.start()
	w.delivered(reads)
	// Had what was given back not been on record, it would say thousands.
	w.certifies(client, requested, 30*actual+requested)
	calls := w.account.seen()
	if most > capacity {
		t.Errorf("%.1f points in a bucket of %d", most, capacity)
	}
	// As dear as they may be, a second would be enough for half a query.
	if took := calls[len(calls)-1].at.Sub(calls[0].at); took > 8*time.Second {
		t.Errorf("%d queries in %v, want it far below %v", len(calls), took, time.Duration(reads-1)*requested*time.Second/rate)
	}
}

// While a system is silent it is asked by a harmless question, which costs what the
// operation does that is the same request.
func TestAQuestionCostsWhatItsOperationDoes(t *testing.T) {
	t.Parallel()
	const capacity, rate, cost = 30, 10, 10
	w := newWorld(t, 6000, time.Minute)
	w.withBucket(bucketOf(capacity, v1alpha1.Refill{Points: rate}))
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
		read := &spec.HTTP.Operations[2]
		read.Path, read.Cost = spec.HTTP.ProbePath, cost
	})
	w.account.answer(func(_ http.ResponseWriter, r *http.Request, _ string) int {
		w.account.arrivals = append(w.account.arrivals, arrival{at: time.Now(), method: r.Method}) // its lock is held
		panic(http.ErrAbortHandler)
	})
	w.start()
	for i := range 5 {
		w.want(i, "")
	}
	w.eventually("it is asked for a while", func() bool {
		calls := w.account.seen()
		return len(calls) > 0 && time.Since(calls[0].at) > 8*time.Second
	})
	calls, questions := w.account.seen(), 0
	level, most := 0.0, 0.0
	for i, call := range calls {
		if i > 0 {
			level = max(0, level-rate*call.at.Sub(calls[i-1].at).Seconds())
		}
		if level++; call.method == http.MethodGet {
			questions++
			level += cost - 1
		}
		most = max(most, level)
	}
	t.Logf("%d questions among %d calls; at most %.1f in the bucket", questions, len(calls), most)
	if questions < 3 || most > capacity {
		t.Errorf("%d questions; at most %.1f points in a bucket of %d", questions, most, capacity)
	}
	w.account.answer(nil)
	w.delivered(5)
}
