package inventoryreconciler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/protobuf/types/known/timestamppb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/stock"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

func limited(limits ...v1alpha1.Limit) *v1alpha1.Connector {
	return &v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{Limits: limits}}
}

func window(calls int64, per time.Duration) v1alpha1.Limit {
	return v1alpha1.Limit{RollingWindow: &v1alpha1.RollingWindow{Calls: calls, Per: metav1.Duration{Duration: per}}}
}

func bucketOf(refill v1alpha1.Refill) v1alpha1.Limit {
	refill.Per = metav1.Duration{Duration: time.Minute}
	return v1alpha1.Limit{Bucket: &v1alpha1.Bucket{Capacity: 40, Refill: refill}}
}

func TestReadsStayWithinTheirShare(t *testing.T) {
	parallel := v1alpha1.Limit{Concurrency: &v1alpha1.Concurrency{Calls: 2}}
	for name, c := range map[string]struct {
		connector *v1alpha1.Connector
		// want are reads within ten minutes, asked for as fast as possible.
		want int
	}{
		"a fifth of the window and what was saved up": {limited(window(100, time.Minute), parallel), 200 + readBurst},
		"the slowest of several windows":              {limited(window(10, time.Second), window(100, time.Hour)), 3 + readBurst},
		"a window of few calls saves up little":       {limited(window(10, time.Minute)), 20 + 2},
		"a fifth of what a bucket refills":            {limited(bucketOf(v1alpha1.Refill{Calls: 100})), 200 + readBurst},
		"and lets one through in the end":             {limited(window(1, time.Minute)), 2 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAllowances(catalog.NewStore(&catalog.Snapshot{Connectors: map[string]*v1alpha1.Connector{"erp": c.connector}}))
			start := time.Now()
			reads := 0
			for now := start; now.Before(start.Add(10 * time.Minute)); {
				wait := a.try("erp", now)
				if wait == 0 {
					reads++
				}
				now = now.Add(wait)
			}
			if reads < c.want-1 || reads > c.want {
				t.Errorf("%d reads in ten minutes, want %d", reads, c.want)
			}
		})
	}
	t.Run("where no calls are counted over time there is no bound", func(t *testing.T) {
		points := bucketOf(v1alpha1.Refill{Points: 1})
		a := newAllowances(catalog.NewStore(&catalog.Snapshot{Connectors: map[string]*v1alpha1.Connector{"erp": limited(parallel, points)}}))
		for range 1000 {
			if a.try("erp", time.Now()) != 0 || a.try("gone", time.Now()) != 0 {
				t.Fatal("has to wait")
			}
		}
	})
}

// A shop that sells faster than it can be read and written is not asked for more
// than its share either.
func TestConflictsDoNotEatTheBudget(t *testing.T) {
	w := newWorld(t, 1_000_000, "shop")
	w.store.Replace(&catalog.Snapshot{
		Connectors: map[string]*v1alpha1.Connector{"shop": limited(window(60, time.Minute))}, StockPools: w.store.Current().StockPools,
	})
	w.change(func() {
		w.accounts["shop"].called = func(d *dispatchv1.Delivery) *dispatchv1.Result {
			if d.GetOperation() == connectors.OperationSetStock {
				w.sell("shop", 1)
			}
			return nil
		}
	})
	w.receive(5)
	started := time.Now()
	w.start()
	w.readings("erp", 30)
	w.mu.Lock()
	defer w.mu.Unlock()
	most := readBurst + int(time.Since(started).Seconds()*60*readShare/60) + 1
	if reads := w.accounts["shop"].reads; reads < readBurst || reads > most {
		t.Errorf("%d reads, want %d to %d", reads, readBurst, most)
	}
}

// Many SKUs are read in parts, and a part of which one SKU sells all the time is
// written in pieces until the others are through.
func TestManySKUs(t *testing.T) {
	const skus = 2*partSize + 3
	w := newWorld(t, 20, "shop")
	p := pool([]string{"shop"}, mug)
	w.change(func() {
		w.judged = false
		for i := range skus - 1 {
			sku := fmt.Sprintf("SKU-%d", i)
			p.Spec.SKUs = append(p.Spec.SKUs, sku)
			w.shops["shop"].available[sku], w.received[sku], w.erp[sku] = 1, 7, 7
		}
		w.accounts["shop"].called = func(d *dispatchv1.Delivery) *dispatchv1.Result {
			set, err := stock.ParseSet(d.GetArguments())
			if err == nil && set.Items[0].SKU == mug {
				w.sell("shop", 1)
			}
			return nil
		}
	})
	w.receive(1)
	w.store.Replace(&catalog.Snapshot{StockPools: map[string]*v1alpha1.StockPool{"main": p}})
	w.start()
	w.eventually("all others", func() bool {
		for _, sku := range p.Spec.SKUs[1:] {
			if w.shops["shop"].available[sku] != 7 {
				return false
			}
		}
		return true
	})
	w.change(func() { w.accounts["shop"].called = nil })
	for _, s := range w.sales {
		w.hear(s)
		w.accept(s)
	}
	w.inStep()
}

func TestItemsThatShareASKUAreLeftAlone(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.change(func() {
		w.accounts["shop"].called = func(d *dispatchv1.Delivery) *dispatchv1.Result {
			if d.GetOperation() == connectors.OperationSetStock {
				t.Error("written")
				return nil
			}
			result := w.call(w.accounts["shop"], d)
			items := result.GetValue().GetFields()["items"].GetListValue()
			items.Values = append(items.Values, items.GetValues()[0])
			return result
		}
	})
	w.receive(3)
	w.start()
	w.readings("shop", 4)
}

func TestFiguresOfAResult(t *testing.T) {
	now, committed := timestamppb.Now(), int64(4)
	want := []stock.Figure{{SKU: "A", Available: 3}, {SKU: "B", Available: -1, Item: "i", Committed: &committed}}
	value := stock.Value(want)
	figures, expired, err := answered(&dispatchv1.Result{Outcome: dispatchv1.Outcome_OUTCOME_DELIVERED, IssuedAt: now, SettledAt: now, Value: value})
	if err != nil || expired || !cmp.Equal(figures, want) {
		t.Fatalf("%v, %v, %s", err, expired, cmp.Diff(want, figures))
	}
	for name, result := range map[string]*dispatchv1.Result{
		"a hold":                  {Outcome: dispatchv1.Outcome_OUTCOME_HELD},
		"an answer without times": {Outcome: dispatchv1.Outcome_OUTCOME_DELIVERED, Value: value},
		"an answer of no figures": {Outcome: dispatchv1.Outcome_OUTCOME_DELIVERED, IssuedAt: now, SettledAt: now},
	} {
		if _, _, err := answered(result); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}

func TestSightings(t *testing.T) {
	place := func(connector, location string) v1alpha1.StockChannel {
		return v1alpha1.StockChannel{Connector: connector, Location: location}
	}
	counted := func(units int64) []stock.Figure { return []stock.Figure{{SKU: mug, Committed: &units}} }
	known := func(units int64) map[string]int64 { return map[string]int64{mug: units} }
	s := newSightings()
	check := func(what string, shop, outlet, wantMost, wantLeast int64) {
		t.Helper()
		most, least := s.unseen(mug, map[string]map[string]int64{"shop": known(shop), "outlet": known(outlet)})
		if most != wantMost || least != wantLeast {
			t.Errorf("%s: %d at most and %d at least, want %d and %d", what, most, least, wantMost, wantLeast)
		}
	}
	s.see(place("shop", "1"), []stock.Figure{{SKU: mug}}, known(0), known(0))
	check("a shop that does not count", 0, 0, 0, 0)
	s.see(place("shop", "1"), counted(7), known(5), known(5))
	check("two are not heard of", 5, 0, 2, 2)
	check("an order that was heard of since may be one of them", 6, 0, 2, 1)
	check("one that was fulfilled since is not", 4, 0, 2, 1)
	s.see(place("shop", "2"), counted(3), known(6), known(6))
	check("the places of a shop count together", 6, 0, 4, 4)
	s.see(place("outlet", "1"), counted(1), known(0), known(0))
	check("and all shops", 6, 0, 5, 5)
}

func TestPausesDouble(t *testing.T) {
	store := catalog.NewStore(&catalog.Snapshot{})
	p := newPauses(store, newWorld(t, 1).log)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, want := range []time.Duration{minPause, 2 * minPause, 4 * minPause, 8 * minPause, 16 * minPause, maxPause, maxPause} {
		if err := p.wait(ctx, "test", errors.New("refused")); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if p.last != want {
			t.Errorf("paused for %s, want %s", p.last, want)
		}
	}
	p.reset()
	store.Replace(&catalog.Snapshot{})
	if err := p.wait(t.Context(), "test", errors.New("refused")); err != nil || p.last != minPause {
		t.Errorf("%v, %s", err, p.last)
	}
}

func TestAClockThatGoesBackIsAnError(t *testing.T) {
	w := newWorld(t, 1, "shop")
	pools := w.store.Current().StockPools
	config := Config{Bus: w.bus, Catalog: w.store, Logger: w.log}
	var err error
	if config.Telemetry, err = telemetry.Setup(t.Context(), telemetry.Options{Service: Role}); err != nil {
		t.Fatal(err)
	}
	worker := newPoolWorker(config, "main", pools["main"], newOrders(config, 2, pools), newAsker(config), newAllowances(w.store), outOfStep{noop.Int64UpDownCounter{}})
	now := time.Now()
	for _, issued := range []time.Time{now, now.Add(time.Second)} {
		if err := worker.take(&reading{issued: issued}); err != nil {
			t.Fatal(err)
		}
	}
	if err := worker.take(&reading{issued: now}); !errors.Is(err, errClock) {
		t.Errorf("an earlier reading: %v", err)
	}
}

// A result that this process was not handed is found where it lies.
func TestAResultThatWentElsewhereIsLookedFor(t *testing.T) {
	w := newWorld(t, 20, "shop")
	a := newAsker(Config{Bus: w.bus, Logger: w.log})
	result, err := a.ask(t.Context(), question{
		connector: "erp", lane: "express", key: "stock", operation: connectors.OperationReadStock,
		arguments: stock.Read{SKUs: []string{mug}, Location: "1"}.Arguments(), expires: time.Now().Add(time.Minute),
	})
	if err != nil || result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
		t.Errorf("%v, %v", result, err)
	}
}

func TestOrdersAreCompleteAfterSync(t *testing.T) {
	const count = 40
	w := newWorld(t, 1000, "shop")
	for range count {
		w.hear(w.sold("shop", 2))
	}
	o := newOrders(Config{Bus: w.bus, Logger: w.log}, 2, w.store.Current().StockPools)
	ctx, cancel := context.WithCancel(t.Context())
	followers := make(chan error)
	for shard := range 2 {
		go func() { followers <- o.follow(ctx, shard) }()
	}
	if err := o.sync(ctx); err != nil {
		t.Error(err)
	}
	if open := o.open([]string{"shop"}, []string{mug})[mug]; open != 2*count {
		t.Errorf("%d units known after sync, want %d", open, 2*count)
	}
	cancel()
	for range 2 {
		if err := <-followers; err != nil {
			t.Error(err)
		}
	}
}

// The order is in the stream when the shop is read, and the reconciler has not got
// to it yet.
func TestWhatAShopThatDoesNotCountHasSoldIsWaitedFor(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.shops["shop"].counts = false
	w.hear(w.sold("shop", 1))
	pools := w.store.Current().StockPools
	config := Config{Bus: w.bus, Catalog: w.store, Logger: w.log}
	var err error
	if config.Telemetry, err = telemetry.Setup(t.Context(), telemetry.Options{Service: Role}); err != nil {
		t.Fatal(err)
	}
	o, a := newOrders(config, 2, pools), newAsker(config)
	worker := newPoolWorker(config, "main", pools["main"], o, a, newAllowances(w.store), outOfStep{noop.Int64UpDownCounter{}})
	if err := worker.take(&reading{issued: time.Now(), settled: time.Now(), available: map[string]int64{mug: 20}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	parts.Go(func() { _ = a.listen(ctx, o.accept) })
	aligned := make(chan error, 1)
	channel := newChannelWorker(worker, pools["main"].Spec.Channels[0])
	go func() { aligned <- channel.align(ctx, channel.parts[0]) }()
	w.eventually("the answer of the shop", func() bool { return w.accounts["shop"].reads == 1 && w.accounts["shop"].outstanding == 0 })
	for shard := range 2 {
		parts.Go(func() { _ = o.follow(ctx, shard) })
	}
	if err := <-aligned; err != nil {
		t.Fatal(err)
	}
	if written := w.written("shop"); len(written) > 0 {
		t.Errorf("written %v beside an order that was in the stream", written)
	}
}

func TestNewNeedsEverything(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a reconciler without a bus")
	}
}
