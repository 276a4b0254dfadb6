package chaos

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

const (
	sku = "VIRAL-1"
	// strange is on sale and not known to the ERP, which refuses its orders.
	strange = "STRANGE-1"
	// shopCalls is what the shop takes in a minute, of reads and writes of stock.
	shopCalls = 240
)

// terms are what the ERP allows, and what the product is told of it.
type terms struct {
	calls       int
	per         time.Duration
	concurrency int
	// arrivesWithin is declared where it is not zero.
	arrivesWithin time.Duration
	latency       faults.Latency
	// also is a folder with manifests beside those of testdata, or in their place.
	also string
	// spec is more of the Connector's.
	spec     map[string]any
	replicas int
	// nodes is how many NATS servers there are, in a cluster; 0 for one by itself.
	nodes int
	// feederEvery says that one in so many kills is of the replica that feeds the ERP; 0
	// for every second.
	feederEvery int
	// mishaps are the shop's webhooks', and shopSpec is more of its Connector's. Where
	// subscribes is set only those webhooks are sent that the product has made.
	mishaps    faults.Mishaps
	shopSpec   map[string]any
	subscribes bool
	// cut puts a network between the product and the ERP that can be cut.
	cut bool
	// together runs all roles and NATS in one process; watched shows the metrics of the
	// first ingest where it is apart.
	together, watched bool
	// binary is started instead of the product, data where it stores; "" for the product
	// itself and a folder of the test's.
	binary, data string
	// arguments are more of its flags, or of each role's.
	arguments []string
	// ingests is how many run apart; 0 for one.
	ingests int
	// retries are the shop's waits before it delivers a webhook again; nil for real ones.
	retries []jsontime.Duration
}

// field is an ERP, a shop, and the product between them.
type field struct {
	t     *testing.T
	terms terms
	world *sim.World
	// way leads to the ERP where terms.cut says so.
	way     *way
	product *runner.Product
	random  *rand.Rand
	log     string
	// sold are the orders in the order of their sale, want their quantities.
	sold []string
	want map[string]int
	// edited is when the first edit of an order was made.
	edited map[string]time.Time
	// refusable are the orders that the ERP has a reason to refuse.
	refusable map[string]bool
	// cancelled are the orders that were cancelled; of these, none is wanted.
	cancelled map[string]fate
	// toll is what was killed.
	toll    toll
	machine *lateness
}

// open starts everything, and ends it with the test.
func open(t *testing.T, what terms) *field {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the product and the outside world for half a minute: runs without -short, as in make test")
	}
	number := *seed
	if number == 0 {
		number = rand.Uint64()
	}
	t.Logf("-seed %d", number)
	world, err := sim.Start(sim.Config{
		Seed: number,
		Shop: shopify.Config{
			Connections: 32, FirstOrderNumber: 1, Mishaps: what.mishaps, Retries: what.retries,
			Items:  []shopify.Item{{SKU: sku, Available: 10_000_000}, {SKU: strange, Available: 10_000_000}},
			Config: account.Config{Limits: []account.Window{{Name: "window", Calls: shopCalls, Per: jsontime.Duration(time.Minute)}}},
		},
		ERP: netsuite.Config{
			Items: []netsuite.Item{{SKU: sku, OnHand: 10_000_000}},
			Config: account.Config{
				Limits:      []account.Window{{Name: "window", Calls: what.calls, Per: jsontime.Duration(what.per)}},
				Concurrency: what.concurrency, Latency: what.latency,
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	folder := t.TempDir()
	f := &field{
		t: t, terms: what, world: world, random: rand.New(rand.NewPCG(number, 0)),
		log: filepath.Join(folder, "product.log"), want: make(map[string]int), edited: make(map[string]time.Time),
		cancelled: make(map[string]fate), machine: watchMachine(t),
	}
	if what.cut {
		f.way = newWay(t, world.Addresses().ERP)
	}
	secretsDir := filepath.Join(folder, "secrets")
	if err := runner.WriteSecrets(secretsDir, map[string]map[string]string{
		"shopify": {"accessToken": shopify.DefaultToken}, "shopify-webhook": {"secret": shopify.DefaultWebhookSecret},
		"netsuite": {"accessToken": netsuite.DefaultToken},
	}); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(f.log)
	if err != nil {
		t.Fatal(err)
	}
	f.product = &runner.Product{
		Binary: cmp.Or(what.binary, binary(t)), Files: filepath.Join(folder, "config"), Secrets: secretsDir,
		Data: cmp.Or(what.data, filepath.Join(folder, "data")), Arguments: what.arguments,
		Apart: !what.together, Watched: what.together || what.watched, Nodes: what.nodes, Ingests: what.ingests, Replicas: max(what.replicas, 1), Log: log,
	}
	t.Cleanup(func() { _ = log.Close() })
	t.Cleanup(f.end)
	f.write(nil)
	if err := f.product.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if what.subscribes {
		return f
	}
	if err := world.Shop.SetTarget(f.product.WebhookURL("shopify")); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *field) end() {
	if err := f.product.Stop(); err != nil {
		f.t.Error(err)
	}
	if !f.t.Failed() {
		return
	}
	data, err := os.ReadFile(f.log)
	if err != nil {
		f.t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	f.t.Logf("the end of the product's log:\n%s", strings.Join(lines[max(len(lines)-80, 0):], "\n"))
}

// write writes the manifests, with changes of the Connector's spec.
func (f *field) write(changes map[string]any) {
	f.t.Helper()
	window := map[string]any{
		"name": "window", "rollingWindow": map[string]any{"calls": f.terms.calls, "per": f.terms.per.String()},
	}
	if f.terms.arrivesWithin > 0 {
		window["arrivesWithin"] = f.terms.arrivesWithin.String()
	}
	limits := []any{window}
	if f.terms.concurrency > 0 {
		limits = append(limits, map[string]any{"name": "parallel", "concurrency": map[string]any{"calls": f.terms.concurrency}})
	}
	spec := map[string]any{"endpoint": f.world.Addresses().ERP, "limits": limits}
	if f.way != nil {
		spec["endpoint"] = "http://" + f.way.address
	}
	maps.Copy(spec, f.terms.spec)
	maps.Copy(spec, changes)
	shop := map[string]any{"endpoint": f.world.Addresses().Shop}
	maps.Copy(shop, f.terms.shopSpec)
	err := runner.WriteManifests("testdata", f.product.Files, runner.Overrides{"netsuite": spec, "shopify": shop})
	if err != nil {
		f.t.Fatal(err)
	}
	if f.terms.also == "" {
		return
	}
	if err := runner.WriteManifests(filepath.Join("testdata", f.terms.also), f.product.Files, nil); err != nil {
		f.t.Fatal(err)
	}
}

// apply changes the Connector's spec while the product runs.
func (f *field) apply(changes map[string]any) {
	f.t.Helper()
	f.write(changes)
	if err := f.product.Apply(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// sell sells orders as fast as the product takes them.
func (f *field) sell(count int) {
	f.t.Helper()
	f.sellOf(sku, count)
}

// sellOf sells orders of an item and returns their names.
func (f *field) sellOf(item string, count int) []string {
	f.t.Helper()
	return f.sold[f.begin(shopify.Burst{Count: count, SKU: item, Quantity: 1})():]
}

// begin begins a sale. What it returns waits for its end, and returns how many orders
// were known before.
func (f *field) begin(burst shopify.Burst) func() int {
	f.t.Helper()
	burst.Seed = f.random.Uint64()
	sale, err := f.world.Shop.Sell(burst)
	if err != nil {
		f.t.Fatal(err)
	}
	return func() int {
		f.t.Helper()
		return f.take(sale, burst.Count)
	}
}

// take waits until all orders of a sale are taken in.
func (f *field) take(sale *shopify.Sale, count int) int {
	f.t.Helper()
	before := len(f.sold)
	select {
	case <-sale.Done():
	case <-time.After(2 * time.Minute):
		f.t.Fatalf("%d orders were not taken within 2 minutes", count)
	}
	if sold := sale.Result().Sold; sold != count {
		f.t.Fatalf("%d of %d orders were sold", sold, count)
	}
	for _, name := range f.world.Shop.Names() {
		if _, known := f.want[name]; !known {
			f.want[name] = 1
			f.sold = append(f.sold, name)
		}
	}
	return before
}

// backlog sells orders while the connector is paused, waits until all of them wait
// for it, and lets it go.
func (f *field) backlog(count int) {
	f.t.Helper()
	f.apply(map[string]any{"paused": true})
	f.sell(count)
	f.until(2*time.Minute, fmt.Sprintf("%d deliveries wait", count), func() bool {
		waiting, err := f.product.Waiting(f.t.Context(), "netsuite")
		return err == nil && waiting >= count
	})
	f.apply(nil)
}

// edit raises the quantity of one of the orders sold so far.
func (f *field) edit() {
	f.t.Helper()
	f.editOf(f.some(f.sold, 1)[0])
}

func (f *field) editOf(name string) {
	f.t.Helper()
	if _, err := f.world.Shop.Update(name, shopify.Edit{Quantity: f.want[name] + 1}); err != nil {
		f.t.Fatal(err)
	}
	f.want[name]++
	if _, before := f.edited[name]; !before {
		f.edited[name] = time.Now()
	}
}

// editing edits orders, per a second, for so long.
func (f *field) editing(per int, lasting time.Duration) {
	f.t.Helper()
	tick := time.NewTicker(time.Second / time.Duration(per))
	defer tick.Stop()
	for end := time.Now().Add(lasting); time.Now().Before(end); <-tick.C {
		f.comeBack()
		f.edit()
	}
}

// settled waits until the ERP has everything, and judges.
func (f *field) settled(within time.Duration) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), within)
	defer cancel()
	last := 0
	err := runner.Until(ctx, 250*time.Millisecond, "the ERP has everything", func() bool {
		f.comeBack()
		last = evidence{want: f.want, cancelled: f.cancelled, orders: f.world.ERP.Orders()}.missing()
		return last == 0
	})
	if err != nil {
		f.t.Errorf("%v: %d of %d orders are not there as wanted", err, last, len(f.want))
	}
	f.judge()
}

func (f *field) evidence() evidence {
	e := evidence{
		want: f.want, cancelled: f.cancelled, refusable: f.refusable, orders: f.world.ERP.Orders(), report: f.world.ERP.Report(),
		history: make(map[string][]netsuite.Revision),
	}
	for _, o := range e.orders {
		e.history[o.ExternalID] = f.world.ERP.History(o.ExternalID)
	}
	return e
}

func (f *field) judge() {
	f.t.Helper()
	if len(f.toll.kills) > 0 {
		f.takenOver()
	}
	f.judgeMachine()
	e := f.evidence()
	for _, what := range e.broken() {
		f.t.Error(what)
	}
	r := e.report
	f.t.Logf("%d orders and %d updates, %d of them repetitions, by %d calls: %v; faults %v, late commits %d; largest %v, at once %d",
		r.Orders, r.Updates, r.IdenticalRewrites, r.Calls, r.ByOutcome, r.Faults, r.LateCommits, r.Limits, r.Concurrency.Largest)
}

// pace returns the accepted calls a second from the first to the last of them.
func (f *field) pace() float64 {
	var at []time.Duration
	for _, a := range f.world.ERP.Arrivals().Snapshot() {
		if a.Outcome == arrivals.Accepted {
			at = append(at, a.At)
		}
	}
	if len(at) < 2 {
		return 0
	}
	return arrivals.Rate(at, at[0], at[len(at)-1], nil)
}

func (f *field) until(within time.Duration, what string, condition func() bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), within)
	defer cancel()
	if err := runner.Until(ctx, 50*time.Millisecond, what, func() bool {
		f.comeBack()
		return condition()
	}); err != nil {
		f.t.Fatal(err)
	}
}

// accepted waits until so many calls were accepted.
func (f *field) accepted(count int, within time.Duration) {
	f.t.Helper()
	f.until(within, fmt.Sprintf("%d calls are accepted", count), func() bool {
		return f.world.ERP.Arrivals().Tally()["accepted"] >= count
	})
}

func fixed(latency time.Duration) faults.Latency {
	return faults.Latency{Distribution: faults.Fixed, Min: jsontime.Duration(latency)}
}

func uniform(least, most time.Duration) faults.Latency {
	return faults.Latency{Distribution: faults.Uniform, Min: jsontime.Duration(least), Max: jsontime.Duration(most)}
}

// largest returns the most calls that arrived in any closed window between two
// moments.
func largest(log *arrivals.Log, from, to time.Time, window time.Duration) int {
	var at []time.Duration
	for _, a := range between(log, from, to) {
		at = append(at, a.At)
	}
	return arrivals.LargestWindow(at, window)
}

// between returns what arrived between two moments.
func between(log *arrivals.Log, from, to time.Time) (found []arrivals.Arrival) {
	for _, a := range log.Snapshot() {
		if at := log.Origin().Add(a.At); at.After(from) && at.Before(to) {
			found = append(found, a)
		}
	}
	return found
}
