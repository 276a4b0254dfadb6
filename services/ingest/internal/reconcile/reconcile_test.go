package reconcile_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/connectors/shopify"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 27, 12, 30, 0, 0, time.UTC)

func settings() *v1alpha1.Reconcile {
	return &v1alpha1.Reconcile{
		Every: &metav1.Duration{Duration: 5 * time.Minute}, Overlap: metav1.Duration{Duration: 10 * time.Minute},
		LookBack: &metav1.Duration{Duration: 24 * time.Hour},
	}
}

func version(at time.Time) *orderv1.Order {
	return &orderv1.Order{Id: "1", UpdatedAt: timestamppb.New(at)}
}

func TestWhatIsKnownIsNotMissing(t *testing.T) {
	for name, test := range map[string]struct {
		state *orderv1.State
		want  reconcile.Judgment
	}{
		"nothing is known":         {nil, reconcile.Missing},
		"a state without an order": {&orderv1.State{}, reconcile.Missing},
		"an older version":         {&orderv1.State{Order: version(now.Add(-time.Second))}, reconcile.Stale},
		"one without a time":       {&orderv1.State{Order: &orderv1.Order{Id: "1"}}, reconcile.Stale},
		"this one":                 {&orderv1.State{Order: version(now)}, reconcile.Known},
		"a newer one":              {&orderv1.State{Order: version(now.Add(time.Second))}, reconcile.Known},
	} {
		if got := reconcile.Judge(test.state, now); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if reconcile.Wait(now.Add(-time.Minute), now, 7) != 7 || reconcile.Wait(now.Add(-3*time.Minute), now, 7) != 0 || reconcile.Wait(now.Add(time.Hour), now, 7) != 7 {
		t.Error("a new version has a grace, and an old one none")
	}
}

func telling(taken ...string) reconcile.Telling {
	return reconcile.Telling{Connector: "shop", Source: shopify.Shopify{}, Taken: taken}
}

// TestOldOrdersAreNoNewOnes: what was made before this program had to do with a shop was
// handled by another one, however often it changes later.
func TestOldOrdersAreNoNewOnes(t *testing.T) {
	s := settings()
	s.LookBack.Duration = time.Hour
	record, met := reconcile.Meet(nil, "shop", "https://shop.example", now)
	if _, again := reconcile.Meet(record, "shop", "https://shop.example", now.Add(time.Minute)); !met || again || record.GetConnector() != "shop" {
		t.Fatalf("met %v, again %v: %v", met, again, record)
	}
	earlier, _ := reconcile.Meet(&sourcev1.Source{Cursor: timestamppb.New(now)}, "shop", "https://shop.example", now)
	if !reconcile.From(earlier, s).IsZero() || !earlier.GetCursor().AsTime().Equal(now) {
		t.Errorf("a source that an earlier build knew begins anew: %v", earlier)
	}
	tried := reconcile.Progress(record, reconcile.Compared{Orders: 3, Cursor: now}, now)
	tried = reconcile.Watched(tried, []*sourcev1.Webhook{{Topic: "orders/create", Id: "1"}}, "", 1, now)
	other, met := reconcile.Meet(tried, "shop", "https://real.example", now.Add(time.Hour))
	if !met || other.GetCursor() != nil || len(other.GetWebhooks()) != 0 || !reconcile.From(other, s).Equal(now) || reconcile.Count(other.GetHours(), now).GetCompared() != 3 {
		t.Errorf("another shop is the one before: %v", other)
	}
	told := telling("orders/create", "orders/paid", "orders/fulfilled")
	told.From = reconcile.From(record, s)
	for name, test := range map[string]struct {
		made        time.Time
		known       *orderv1.Order
		want        []string
		missed      bool
		withoutTime bool
	}{
		"made before":                   {made: now.Add(-2 * time.Hour), want: []string{"orders/updated"}},
		"made before, and known":        {made: now.Add(-2 * time.Hour), known: version(now.Add(-time.Hour)), want: []string{"orders/updated", "orders/paid", "orders/fulfilled"}, missed: true},
		"made within the look back":     {made: now.Add(-time.Hour), want: []string{"orders/create", "orders/paid", "orders/fulfilled"}, missed: true},
		"made at a time that is unsaid": {withoutTime: true, want: []string{"orders/create", "orders/paid", "orders/fulfilled"}, missed: true},
	} {
		found := version(now)
		found.FinancialStatus, found.FulfillmentStatus = "paid", "fulfilled"
		if !test.withoutTime {
			found.CreatedAt = timestamppb.New(test.made)
		}
		events := told.Events(test.known, found)
		var topics []string
		for _, e := range events {
			topics = append(topics, e.GetTopic())
		}
		if diff := cmp.Diff(test.want, topics); diff != "" {
			t.Errorf("%s: topics (-want +got):\n%s", name, diff)
		}
		if got := reconcile.Missed(events, reconcile.Needed(shopify.Shopify{}, told.Taken)); got != test.missed {
			t.Errorf("%s: missed %v", name, got)
		}
		if !reconcile.Missed(events, nil) {
			t.Errorf("%s: where no flow takes anything it is not missed", name)
		}
	}
}

// TestTheOverlapStaysBehindTheStart: what lookBack leaves out the second comparison
// leaves out too, and a first one that fails moves nothing.
func TestTheOverlapStaysBehindTheStart(t *testing.T) {
	s := settings()
	s.LookBack.Duration = 0
	record, _ := reconcile.Meet(nil, "shop", "https://shop.example", now)
	later := now.Add(5 * time.Minute)
	if got := reconcile.Due(record, s, now.Add(time.Minute)); !got.Equal(later) {
		t.Errorf("the first at %v, want it 5m after the start, and not after each restart", got)
	}
	record = reconcile.Fail(record, s, "down", later)
	if got := reconcile.Since(record, s, later.Add(time.Hour)); !got.Equal(now) {
		t.Errorf("after a failure from %v on, want %v", got, now)
	}
	record = reconcile.End(record, s, later, now, later)
	if got := reconcile.Since(record, s, later.Add(time.Minute)); !got.Equal(now) {
		t.Errorf("the second from %v on, want %v", got, now)
	}
}

// TestATimeFarAheadMovesNothing: a plugin wrote 2099.
func TestATimeFarAheadMovesNothing(t *testing.T) {
	s := settings()
	record := reconcile.Progress(nil, reconcile.Compared{Orders: 1, Cursor: now}, now)
	record = reconcile.Progress(record, reconcile.Compared{Orders: 1, Cursor: now.AddDate(73, 0, 0)}, now)
	if got := record.GetCursor().AsTime(); !got.Equal(now) {
		t.Errorf("the cursor is %v", got)
	}
	record.Cursor = timestamppb.New(now.AddDate(73, 0, 0)) // another build let it
	if got := reconcile.Since(record, s, now); !got.Equal(now.Add(-10 * time.Minute)) {
		t.Errorf("from %v on", got)
	}
	if record = reconcile.Progress(record, reconcile.Compared{Orders: 1, Cursor: now}, now); !record.GetCursor().AsTime().Equal(now) {
		t.Errorf("the cursor stays at %v", record.GetCursor().AsTime())
	}
	// A shop whose clock is an hour ahead is asked by ours, or what commits late is lost.
	record = reconcile.Progress(record, reconcile.Compared{Orders: 1, Cursor: now.Add(time.Hour)}, now)
	if got := reconcile.Since(record, s, now); !got.Equal(now.Add(-10*time.Minute)) || !record.GetCursor().AsTime().Equal(now.Add(time.Hour)) {
		t.Errorf("from %v on, cursor %v", got, record.GetCursor().AsTime())
	}
}

// TestAnOrderOfTomorrowHidesNothing: a plugin writes local time where the shop's is expected,
// and nobody compares for longer than the overlap.
func TestAnOrderOfTomorrowHidesNothing(t *testing.T) {
	s := settings()
	ahead := now.Add(10 * time.Hour)
	for name, record := range map[string]*sourcev1.Source{
		"met by this build":      reconcile.Progress(nil, reconcile.Compared{Orders: 1, Cursor: ahead, Began: now}, now.Add(time.Minute)),
		"left by an earlier one": {Cursor: timestamppb.New(ahead)},
	} {
		record = reconcile.End(record, s, now, now.Add(-time.Hour), now.Add(time.Minute))
		if got := reconcile.Since(record, s, now.Add(30*time.Minute)); !got.Equal(now.Add(-10 * time.Minute)) {
			t.Errorf("%s: from %v on, want the overlap before the comparison", name, got)
		}
		later := now.Add(31 * time.Minute)
		record = reconcile.Progress(record, reconcile.Compared{Orders: 1, Cursor: ahead, Began: now.Add(30 * time.Minute)}, later)
		if got := reconcile.Since(record, s, later); !got.Equal(now.Add(20*time.Minute)) || !record.GetCursor().AsTime().Equal(ahead) {
			t.Errorf("%s: after the next from %v on, cursor %v", name, got, record.GetCursor().AsTime())
		}
	}
}

func TestEventsAreTheSameEachTime(t *testing.T) {
	found := version(now)
	found.FinancialStatus = "paid"
	events := telling("orders/paid").Events(nil, found)
	again := telling("orders/paid").Events(nil, proto.CloneOf(found))
	if diff := cmp.Diff(events, again, protocmp.Transform()); diff != "" {
		t.Errorf("told again (-first +again):\n%s", diff)
	}
	var topics []string
	for _, e := range events {
		topics = append(topics, e.GetTopic())
		if e.GetConnector() != "shop" || !proto.Equal(e.GetOrder(), found) || len(e.GetId()) != len("reconcile-")+24 {
			t.Errorf("event %v", e)
		}
	}
	if diff := cmp.Diff([]string{"orders/create", "orders/paid"}, topics); diff != "" {
		t.Errorf("topics (-want +got):\n%s", diff)
	}
	// A step that no flow takes is not told.
	if got := telling().Events(nil, found); len(got) != 1 {
		t.Errorf("%d events, want the one of the order", len(got))
	}
	later := telling().Events(nil, version(now.Add(time.Second)))
	if later[0].GetId() == events[0].GetId() {
		t.Error("another version has the same event")
	}
}

// TestNothingFallsBetweenComparisons plays a source that lists orders late, by less than
// the overlap, some of which say a time that is hours ahead, and a poller that fails, is
// restarted at any point, and is away for longer than the overlap: in the end each version
// was compared, and the cursor never went back.
func TestNothingFallsBetweenComparisons(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := settings()
		s.LookBack.Duration = 1000 * time.Hour // longer than this plays
		type change struct {
			updated, listed time.Time
			compared        bool
		}
		var changes []*change
		var record *sourcev1.Source
		clock := now
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			clock = clock.Add(time.Duration(rapid.OneOf(rapid.IntRange(1, 400), rapid.IntRange(1000, 20_000)).Draw(t, "passes")) * time.Second)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				late := time.Duration(rapid.IntRange(0, 599).Draw(t, "late")) * time.Second
				changes = append(changes, &change{updated: clock, listed: clock.Add(late)})
			case 3:
				fast := time.Duration(rapid.IntRange(1, 23).Draw(t, "ahead")) * time.Hour
				changes = append(changes, &change{updated: clock.Add(fast), listed: clock})
			case 2:
				since := reconcile.Since(record, s, clock)
				var page []*change
				for _, c := range changes {
					if !c.listed.After(clock) && !c.updated.Before(since) {
						page = append(page, c)
					}
				}
				slices.SortFunc(page, func(a, b *change) int { return a.updated.Compare(b.updated) })
				crash := rapid.IntRange(0, len(page)).Draw(t, "crash")
				for _, c := range page[:crash] {
					c.compared = true
					next := reconcile.Progress(record, reconcile.Compared{Orders: 1, Cursor: c.updated}, clock)
					if next.GetCursor().AsTime().Before(record.GetCursor().AsTime()) {
						t.Fatal("the cursor went back")
					}
					record = next
				}
				if crash == len(page) {
					record = reconcile.End(record, s, clock, since, clock)
				} else if rapid.Bool().Draw(t, "fails") {
					record = reconcile.Fail(record, s, "down", clock)
				}
			}
		}
		clock = clock.Add(time.Hour)
		since := reconcile.Since(record, s, clock)
		for _, c := range changes {
			if !c.compared && c.updated.Before(since) {
				t.Fatalf("the change of %v, listed at %v, is before %v and was never compared", c.updated, c.listed, since)
			}
		}
	})
}

func TestWhenToCompare(t *testing.T) {
	s := settings()
	if got := reconcile.Due(nil, s, now); !got.Equal(now.Add(5 * time.Minute)) {
		t.Errorf("the first time at %v", got)
	}
	if got := reconcile.Since(nil, s, now); !got.Equal(now.Add(-24 * time.Hour)) {
		t.Errorf("the first time from %v on", got)
	}
	record := reconcile.End(reconcile.Take(nil, "shop", "me", now, time.Minute), s, now, now.Add(-24*time.Hour), now)
	for name, test := range map[string]struct {
		owned time.Time
		at    time.Duration
		want  bool
	}{
		"who works":                            {now, 59 * time.Second, false},
		"who has said nothing for long":        {now, time.Minute, true},
		"whose clock is half a minute ahead":   {now.Add(30 * time.Second), 0, false},
		"whose clock was ahead by hours":       {now.Add(10 * time.Hour), 0, true},
		"whose clock was ahead by two minutes": {now.Add(2 * time.Minute), 0, true},
	} {
		taken := reconcile.Take(record, "shop", "me", test.owned, time.Minute)
		if got := reconcile.Free(taken, "other", now.Add(test.at), time.Minute); got != test.want {
			t.Errorf("%s: free %v", name, got)
		}
	}
	if !reconcile.Free(record, "other", now, time.Minute) {
		t.Error("who has ended is not free")
	}
	for name, test := range map[string]struct {
		record *sourcev1.Source
		want   time.Duration
	}{
		"met a minute ago":                     {&sourcev1.Source{FirstAt: timestamppb.New(now.Add(-time.Minute))}, 4 * time.Minute},
		"met by a clock that was ahead":        {&sourcev1.Source{FirstAt: timestamppb.New(now.Add(10 * time.Hour))}, 0},
		"compared by a clock half a minute on": {&sourcev1.Source{ComparedAt: timestamppb.New(now.Add(30 * time.Second))}, 5*time.Minute + 30*time.Second},
		"compared by a clock that was ahead":   {&sourcev1.Source{ComparedAt: timestamppb.New(now.Add(10 * time.Hour))}, 0},
	} {
		if got := reconcile.Due(test.record, s, now).Sub(now); got != test.want {
			t.Errorf("%s: due in %v, want %v", name, got, test.want)
		}
	}
	if got := reconcile.Due(record, s, now); !got.Equal(now.Add(5 * time.Minute)) {
		t.Errorf("after one at %v", got)
	}
	s.Every.Duration = time.Minute
	if got := reconcile.Due(record, s, now); !got.Equal(now.Add(time.Minute)) {
		t.Errorf("after a change of the settings at %v", got)
	}
	var waits []time.Duration
	for range 9 {
		record = reconcile.Fail(record, s, "no right", now)
		waits = append(waits, reconcile.Due(record, s, now).Sub(now))
	}
	want := []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour, time.Hour}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Errorf("after failures (-want +got):\n%s", diff)
	}
	record = reconcile.Fail(reconcile.Progress(record, reconcile.Compared{Orders: 1, Cursor: now}, now), s, "busy", now)
	if got := reconcile.Due(record, s, now); !got.Equal(now.Add(time.Minute)) {
		t.Errorf("where it got on before it failed again at %v", got)
	}
	if record = reconcile.End(record, s, now, now, now); record.GetProblem() != "" || record.GetFailures() != 0 {
		t.Errorf("after all is well: %v", record)
	}
}

// TestAClockThatWasAheadKeepsNothing: what it wrote would be hours away.
func TestAClockThatWasAheadKeepsNothing(t *testing.T) {
	s, ahead := settings(), now.Add(10*time.Hour)
	s.LookBack.Duration = 0
	record, _ := reconcile.Meet(nil, "shop", "https://shop.example", ahead)
	record, met := reconcile.Meet(record, "shop", "https://shop.example", now)
	if !met || !reconcile.From(record, s).Equal(now) {
		t.Errorf("orders are new from %v on", reconcile.From(record, s))
	}
	if _, again := reconcile.Meet(record, "shop", "https://shop.example", now.Add(-time.Second)); again {
		t.Error("a clock that is a second behind meets it again")
	}
	record = reconcile.Progress(record, reconcile.Compared{Orders: 1, Cursor: ahead.Add(time.Hour), Began: ahead}, ahead)
	record = reconcile.Progress(record, reconcile.Compared{Orders: 1, Cursor: ahead.Add(time.Hour), Began: now}, now)
	s.Overlap.Duration = 0
	if got := reconcile.Since(record, s, now.Add(time.Hour)); !got.Equal(now) {
		t.Errorf("listed from %v on, want %v", got, now)
	}
}

func TestPagesLeaveTheAccountToOthers(t *testing.T) {
	window := v1alpha1.Limit{RollingWindow: &v1alpha1.RollingWindow{Calls: 240, Per: metav1.Duration{Duration: time.Minute}}}
	points := func(n int64) v1alpha1.Limit {
		return v1alpha1.Limit{Bucket: &v1alpha1.Bucket{Capacity: 20 * n, Refill: v1alpha1.Refill{Points: n, Per: metav1.Duration{Duration: time.Second}}}}
	}
	parallel := v1alpha1.Limit{Concurrency: &v1alpha1.Concurrency{Calls: 4}}
	for name, test := range map[string]struct {
		limits []v1alpha1.Limit
		cost   int64
		want   time.Duration
	}{
		"half of a window":              {[]v1alpha1.Limit{window, parallel}, 0, 500 * time.Millisecond},
		"points that nobody declared":   {[]v1alpha1.Limit{window}, 450, 3 * time.Second},
		"half of the points":            {[]v1alpha1.Limit{window, points(1000)}, 450, 500 * time.Millisecond},
		"half of the points of a few":   {[]v1alpha1.Limit{points(50)}, 450, 6 * time.Second},
		"nothing that counts over time": {[]v1alpha1.Limit{parallel}, 0, 0},
	} {
		if got := reconcile.Between(test.limits, test.cost); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestADayCounts(t *testing.T) {
	var record *sourcev1.Source
	for i := range 40 {
		record = reconcile.Progress(record, reconcile.Compared{Orders: 10, Missing: 1}, now.Add(time.Duration(i)*time.Hour))
	}
	at := now.Add(39 * time.Hour)
	if got := reconcile.Count(record.GetHours(), at); got.GetCompared() != 250 || got.GetMissing() != 25 || len(record.GetHours()) != 25 {
		t.Errorf("%v of %d hours, want the 24 that are over and this one", got, len(record.GetHours()))
	}
	if got := reconcile.Count(record.GetHours(), at.Add(48*time.Hour)); got.GetCompared() != 0 {
		t.Errorf("%v of hours that are over for long", got)
	}
}

func hook(id, topic, address string, active bool) listing.Webhook {
	return listing.Webhook{ID: id, Topic: topic, Address: address, Active: active}
}

// again puts one that was stale.
func again(topic, address string) listing.Webhook {
	return listing.Webhook{ID: "1", Topic: topic, Address: address, Stale: true}
}

func stale(topic, address string) listing.Webhook {
	return listing.Webhook{ID: "1", Topic: topic, Address: address, Active: true, Stale: true}
}

func TestWebhooksAreMendedAndOthersLeftAlone(t *testing.T) {
	const here, old = "https://orders.example.com/v1/webhooks/shop", "https://old.example.com/v1/webhooks/shop"
	mended := timestamppb.New(now)
	for name, test := range map[string]struct {
		there  []listing.Webhook
		before []*sourcev1.Webhook
		put    []listing.Webhook
		id     string
	}{
		"none":                            {nil, nil, []listing.Webhook{{Topic: "orders/create", Address: here}}, ""},
		"one that is on":                  {[]listing.Webhook{hook("1", "orders/create", here, true)}, nil, nil, "1"},
		"one that is off":                 {[]listing.Webhook{hook("1", "orders/create", here, false)}, nil, []listing.Webhook{{ID: "1", Topic: "orders/create", Address: here}}, "1"},
		"one that is on beside one off":   {[]listing.Webhook{hook("1", "orders/create", here, false), hook("2", "orders/create", here, true)}, nil, nil, "2"},
		"somebody else's":                 {[]listing.Webhook{hook("1", "orders/create", old, true)}, nil, []listing.Webhook{{Topic: "orders/create", Address: here}}, ""},
		"one for another topic":           {[]listing.Webhook{hook("1", "orders/paid", here, true)}, nil, []listing.Webhook{{Topic: "orders/create", Address: here}}, ""},
		"one made here that leads away":   {[]listing.Webhook{hook("1", "orders/create", old, true)}, []*sourcev1.Webhook{{Topic: "orders/create", Id: "1", MendedAt: mended}}, []listing.Webhook{{ID: "1", Topic: "orders/create", Address: here}}, "1"},
		"one found here that leads away":  {[]listing.Webhook{hook("1", "orders/create", old, true)}, []*sourcev1.Webhook{{Topic: "orders/create", Id: "1"}}, []listing.Webhook{{Topic: "orders/create", Address: here}}, ""},
		"one made here, and another here": {[]listing.Webhook{hook("1", "orders/create", old, true), hook("2", "orders/create", here, true)}, []*sourcev1.Webhook{{Topic: "orders/create", Id: "1", MendedAt: mended}}, nil, "2"},
		"one for all of orders":           {[]listing.Webhook{hook("1", "orders/*", here, true)}, nil, nil, "1"},
		"one with the secret before":      {[]listing.Webhook{stale("orders/create", here)}, nil, []listing.Webhook{again("orders/create", here)}, "1"},
		"one with it beside one of today": {[]listing.Webhook{stale("orders/create", here), hook("2", "orders/create", here, true)}, nil, []listing.Webhook{again("orders/create", here)}, "1"},
		"one for all that has it":         {[]listing.Webhook{stale("orders/*", here)}, nil, []listing.Webhook{again("orders/*", here)}, "1"},
		"somebody else's that has it":     {[]listing.Webhook{stale("orders/create", old), hook("2", "orders/create", here, true)}, nil, nil, "2"},
		"one for all that is off":         {[]listing.Webhook{hook("1", "orders/*", here, false)}, nil, []listing.Webhook{{Topic: "orders/create", Address: here}}, ""},
		"one for all, somewhere else":     {[]listing.Webhook{hook("1", "orders/*", old, true)}, nil, []listing.Webhook{{Topic: "orders/create", Address: here}}, ""},
	} {
		got, put := reconcile.Mend([]string{"orders/create"}, here, test.there, test.before)
		if diff := cmp.Diff(test.put, put); diff != "" {
			t.Errorf("%s: put (-want +got):\n%s", name, diff)
		}
		// One that has the secret before today's works.
		works := !slices.ContainsFunc(test.put, func(w listing.Webhook) bool { return !w.Stale })
		if len(got) != 1 || got[0].GetId() != test.id || got[0].GetActive() != works {
			t.Errorf("%s: %v, want id %q", name, got, test.id)
		}
	}
	needed := reconcile.Needed(shopify.Shopify{}, []string{"orders/create", "orders/updated"})
	if diff := cmp.Diff([]string{"orders/cancelled", "orders/create", "orders/updated"}, needed); diff != "" {
		t.Errorf("needed (-want +got):\n%s", diff)
	}
	if got := reconcile.Needed(shopify.Shopify{}, nil); got != nil {
		t.Errorf("no flow takes anything, and %v are needed", got)
	}
}
