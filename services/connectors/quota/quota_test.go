package quota_test

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/connectors/quota"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func in(d time.Duration) time.Time { return now.Add(d) }

func header(fields ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

func TestRead(t *testing.T) {
	tests := map[string]struct {
		header http.Header
		want   []quota.Figure
	}{
		"nothing said": {header("Content-Type", "text/html"), nil},
		"the draft as it is now": {
			header("RateLimit-Policy", `"burst";q=100;w=60, "daily";q=1000;w=86400`, "RateLimit", `"burst";r=50;t=30, "daily";r=0;t=3600`),
			[]quota.Figure{
				{Name: "ratelimit burst", Limit: 100, Remaining: 50, Per: time.Minute, ResetsAt: in(30 * time.Second)},
				{Name: "ratelimit daily", Limit: 1000, Remaining: 0, Per: 24 * time.Hour, ResetsAt: in(time.Hour)},
			},
		},
		"in two lines": {
			header("RateLimit-Policy", `"a";q=10;w=1`, "RateLimit-Policy", `"b";q=20;w=2`, "RateLimit", `"a";r=1`, "RateLimit", `"b";r=2`),
			[]quota.Figure{
				{Name: "ratelimit a", Limit: 10, Remaining: 1, Per: time.Second},
				{Name: "ratelimit b", Limit: 20, Remaining: 2, Per: 2 * time.Second},
			},
		},
		"bare names of older drafts": {
			header("RateLimit-Policy", `burst;q=100;w=60`, "RateLimit", `burst;r=50;t=30`),
			[]quota.Figure{{Name: "ratelimit burst", Limit: 100, Remaining: 50, Per: time.Minute, ResetsAt: in(30 * time.Second)}},
		},
		"a name with a comma, a semicolon and a quote in it, and a partition": {
			header("RateLimit-Policy", `"a,b;\"c";q=9;w=1;pk=:cHNz=:`, "RateLimit", `"a,b;\"c";r=3;pk=:cHNz=:`),
			[]quota.Figure{{Name: `ratelimit a,b;"c`, Limit: 9, Remaining: 3, Per: time.Second}},
		},
		"a policy that counts bytes": {
			header("RateLimit-Policy", `"size";q=65535;qu="content-bytes";w=10`, "RateLimit", `"size";r=0;t=5`), nil,
		},
		"draft 7": {
			header("RateLimit", "limit=100, remaining=50, reset=5"),
			[]quota.Figure{{Name: "ratelimit ", Limit: 100, Remaining: 50, ResetsAt: in(5 * time.Second)}},
		},
		"draft 3, with the window behind the limit": {
			header("RateLimit-Limit", "100, 100;w=60", "RateLimit-Remaining", "50", "RateLimit-Reset", "5"),
			[]quota.Figure{{Name: "ratelimit", Limit: 100, Remaining: 50, Per: time.Minute, ResetsAt: in(5 * time.Second)}},
		},
		"draft 3, with several windows: which one is told, nobody knows": {
			header("RateLimit-Limit", "10, 10;w=1, 1000;w=3600", "RateLimit-Remaining", "5"),
			[]quota.Figure{{Name: "ratelimit", Limit: 10, Remaining: 5}},
		},
		"X-RateLimit with a span": {
			header("X-RateLimit-Limit", "60", "X-RateLimit-Remaining", "59.0", "X-RateLimit-Reset", "12.5"),
			[]quota.Figure{{Name: "x-ratelimit", Limit: 60, Remaining: 59, ResetsAt: in(12500 * time.Millisecond)}},
		},
		"X-RateLimit with a point in time": {
			header("X-RateLimit-Limit", "60", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "1795435210"),
			[]quota.Figure{{Name: "x-ratelimit", Limit: 60, ResetsAt: in(10 * time.Second)}},
		},
		"ShipStation": {
			header("X-Rate-Limit-Limit", "40", "X-Rate-Limit-Remaining", "0", "X-Rate-Limit-Reset", "17"),
			[]quota.Figure{{Name: "x-rate-limit", Limit: 40, ResetsAt: in(17 * time.Second)}},
		},
		"BigCommerce": {
			header("X-Rate-Limit-Requests-Left", "149", "X-Rate-Limit-Requests-Quota", "150",
				"X-Rate-Limit-Time-Reset-Ms", "29500", "X-Rate-Limit-Time-Window-Ms", "30000"),
			[]quota.Figure{{Name: "x-rate-limit-requests", Limit: 150, Remaining: 149, Per: 30 * time.Second, ResetsAt: in(29500 * time.Millisecond)}},
		},
		"ShipBob": {
			header("X-Remaining-Calls", "0", "X-Retry-After", "25"),
			[]quota.Figure{{Name: "x-remaining-calls", ResetsAt: in(25 * time.Second)}},
		},
		"Shopify's call limit": {
			header("X-Shopify-Shop-Api-Call-Limit", "39/40"),
			[]quota.Figure{{Name: "call-limit", Limit: 40, Remaining: 1, Bucket: true, Capacity: 40, Available: 1}},
		},
		"a bucket that runs over":                     {header("X-Shopify-Shop-Api-Call-Limit", "41/40"), []quota.Figure{{Name: "call-limit", Limit: 40, Bucket: true, Capacity: 40}}},
		"a bucket without a bottom":                   {header("X-Shopify-Shop-Api-Call-Limit", "0/0"), nil},
		"words":                                       {header("X-RateLimit-Limit", "60", "X-RateLimit-Remaining", "many"), nil},
		"less than nothing":                           {header("X-RateLimit-Limit", "60", "X-RateLimit-Remaining", "-1"), nil},
		"more left than there is":                     {header("X-RateLimit-Limit", "60", "X-RateLimit-Remaining", "61"), nil},
		"a number that no quota has":                  {header("X-RateLimit-Remaining", "99999999999999999999"), nil},
		"a limit that cannot be read":                 {header("X-RateLimit-Limit", "a lot", "X-RateLimit-Remaining", "3"), []quota.Figure{{Name: "x-ratelimit", Remaining: 3}}},
		"a quote that is left open":                   {header("RateLimit", `"burst;r=50;t=30`), nil},
		"a window of centuries":                       {header("RateLimit-Policy", `"a";q=10;w=9999999999`, "RateLimit", `"a";r=1`), []quota.Figure{{Name: "ratelimit a", Limit: 10, Remaining: 1}}},
		"how many a second, which Amazon says not to": {header("x-amzn-RateLimit-Limit", "0.0167"), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, quota.Read(test.header, now)); diff != "" {
				t.Errorf("figures (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBucket(t *testing.T) {
	tests := map[string]struct {
		size, available, restored, cost float64
		want                            quota.Figure
		ok                              bool
	}{
		"enough for twenty":     {2000, 1000, 100, 50, quota.Figure{Limit: 40, Remaining: 20, Capacity: 2000, Available: 1000}, true},
		"not enough for one":    {2000, 52, 100, 752, quota.Figure{Limit: 2, ResetsAt: in(7 * time.Second), Capacity: 2000, Available: 52}, true},
		"below empty":           {1000, -50, 50, 100, quota.Figure{Limit: 10, ResetsAt: in(3 * time.Second), Capacity: 1000}, true},
		"nothing comes back":    {1000, 0, 0, 1, quota.Figure{Limit: 1000, Capacity: 1000}, true},
		"no cost given":         {1000, 10, 50, 0, quota.Figure{Limit: 1000, Remaining: 10, Capacity: 1000, Available: 10}, true},
		"a call that never may": {1000, 1000, 50, 1001, quota.Figure{}, false},
		"more than its size":    {1000, 1001, 50, 1, quota.Figure{}, false},
		"no number":             {math.NaN(), 0, 1, 1, quota.Figure{}, false},
		"infinite":              {math.Inf(1), 0, 1, 1, quota.Figure{}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.ok {
				test.want.Name, test.want.Bucket, test.want.Points = "b", true, true
			}
			got, ok := quota.Bucket("b", test.size, test.available, test.restored, test.cost, now)
			if diff := cmp.Diff(test.want, got); diff != "" || ok != test.ok {
				t.Errorf("%v (-want +got):\n%s", ok, diff)
			}
		})
	}
}

// Whatever a server sends, a figure has numbers that can be calculated with.
func FuzzRead(f *testing.F) {
	names := []string{
		"RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "X-RateLimit-Limit", "X-RateLimit-Remaining",
		"X-RateLimit-Reset", "X-Rate-Limit-Requests-Quota", "X-Rate-Limit-Requests-Left", "X-Rate-Limit-Time-Reset-Ms", "X-Rate-Limit-Time-Window-Ms",
		"X-Remaining-Calls", "X-Retry-After", "X-Shopify-Shop-Api-Call-Limit", "Date",
	}
	f.Add(`"burst";r=50;t=30`, `"burst";q=100;w=60`, "5")
	f.Add("limit=100, remaining=50, reset=5", "100, 100;w=60", "1795435210")
	f.Add("39/40", "59.0", "-1")
	f.Add(`"a,b;\"c";r=3;pk=:cHNz=:`, strings.Repeat(`"x";q=1,`, 100), "1e999")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		h := http.Header{}
		for i, name := range names {
			h.Set(name, []string{a, b, c}[i%3])
		}
		for _, figure := range append(quota.Read(h, now), quota.Read(header("RateLimit", a, "RateLimit-Policy", b), now)...) {
			used, said := figure.Used()
			if figure.Remaining < 0 || figure.Limit < 0 || figure.Per < 0 || said && (used < 0 || used > figure.Limit) {
				t.Errorf("%+v", figure)
			}
			if !figure.ResetsAt.IsZero() && (figure.ResetsAt.Before(now) || figure.ResetsAt.Sub(now) > 33*24*time.Hour) {
				t.Errorf("%+v resets at a time that nobody waits for", figure)
			}
		}
	})
}
