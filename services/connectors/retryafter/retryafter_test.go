package retryafter_test

import (
	"math"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/connectors/retryafter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestWait(t *testing.T) {
	tests := map[string]struct {
		header http.Header
		want   time.Duration
		said   bool
	}{
		"nothing said":                          {http.Header{}, 0, false},
		"whole seconds":                         {http.Header{"Retry-After": {"30"}}, 30 * time.Second, true},
		"decimal seconds, as Shopify sends":     {http.Header{"Retry-After": {"2.0"}}, 2 * time.Second, true},
		"a fraction is rounded up":              {http.Header{"Retry-After": {"0.0001"}}, time.Millisecond, true},
		"a date":                                {http.Header{"Retry-After": {"Mon, 23 Nov 2026 12:00:45 GMT"}}, 45 * time.Second, true},
		"a date that has passed":                {http.Header{"Retry-After": {"Mon, 23 Nov 2026 11:00:00 GMT"}}, 0, true},
		"negative seconds":                      {http.Header{"Retry-After": {"-5"}}, 0, true},
		"longer than a day":                     {http.Header{"Retry-After": {"9999999"}}, retryafter.Max, true},
		"words are ignored":                     {http.Header{"Retry-After": {"soon"}}, 0, false},
		"infinity is ignored":                   {http.Header{"Retry-After": {"inf"}}, 0, false},
		"hexadecimal is ignored":                {http.Header{"Retry-After": {"0x10"}}, 0, false},
		"malformed, and a field that can speak": {http.Header{"Retry-After": {"soon"}, "X-Retry-After": {"25"}}, 25 * time.Second, true},
		"x-retry-after, as ShipBob sends":       {http.Header{"X-Retry-After": {"25"}}, 25 * time.Second, true},
		"Retry-After goes before RateLimit":     {http.Header{"Retry-After": {"3"}, "Ratelimit": {`"a";r=0;t=99`}}, 3 * time.Second, true},
		"the exhausted policy decides":          {http.Header{"Ratelimit": {`"burst";r=0;t=7, "daily";r=10;t=3600`}}, 7 * time.Second, true},
		"two exhausted policies: the longer":    {http.Header{"Ratelimit": {`"burst";r=0;t=7, "daily";r=0;t=3600`}}, time.Hour, true},
		"none exhausted: the soonest":           {http.Header{"Ratelimit": {`"burst";r=3;t=7, "daily";r=9;t=3600`}}, 7 * time.Second, true},
		"bare tokens of older drafts":           {http.Header{"Ratelimit": {`limit=10, remaining=0, reset=4`}}, 4 * time.Second, true},
		"RateLimit without a reset":             {http.Header{"Ratelimit": {`"burst";r=0`}}, 0, false},
		"a reset as a span":                     {http.Header{"X-Ratelimit-Reset": {"12"}}, 12 * time.Second, true},
		"a reset as a point in time":            {http.Header{"X-Ratelimit-Reset": {"1795435210"}}, 10 * time.Second, true},
		"a reset in milliseconds since 1970":    {http.Header{"X-Ratelimit-Reset": {"1795435210000"}}, 10 * time.Second, true},
		"a reset in no unit that there is":      {http.Header{"X-Ratelimit-Reset": {"1795435210000000000"}}, 0, false},
		"an RFC 850 date":                       {http.Header{"Retry-After": {"Monday, 23-Nov-26 12:00:45 GMT"}}, 45 * time.Second, true},
		"an asctime date":                       {http.Header{"Retry-After": {"Mon Nov 23 12:00:45 2026"}}, 45 * time.Second, true},
		"Retry-After-Ms":                        {http.Header{"Retry-After-Ms": {"1500"}}, 1500 * time.Millisecond, true},
		"a clock that is an hour behind": {
			http.Header{"Date": {"Mon, 23 Nov 2026 11:00:00 GMT"}, "Retry-After": {"Mon, 23 Nov 2026 11:00:30 GMT"}}, 30 * time.Second, true,
		},
		"a clock that is an hour ahead, and a reset": {
			http.Header{"Date": {"Mon, 23 Nov 2026 13:00:00 GMT"}, "X-Ratelimit-Reset": {"1795438830"}}, 30 * time.Second, true,
		},
		"seconds do not care for the Date": {
			http.Header{"Date": {"Mon, 23 Nov 2026 11:00:00 GMT"}, "Retry-After": {"7"}}, 7 * time.Second, true,
		},
		"the reset of a quota with room left":        {http.Header{"X-Ratelimit-Limit": {"5000"}, "X-Ratelimit-Remaining": {"4321"}, "X-Ratelimit-Reset": {"3000"}}, 0, false},
		"the reset of a quota with nothing left":     {http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"3000"}}, 50 * time.Minute, true},
		"a quota with room left, and one without":    {http.Header{"Ratelimit-Remaining": {"7"}, "Ratelimit-Reset": {"3000"}, "X-Ratelimit-Reset": {"4"}}, 4 * time.Second, true},
		"room left, which decimals say":              {http.Header{"X-Rate-Limit-Remaining": {"59.0"}, "X-Rate-Limit-Reset": {"30"}}, 0, false},
		"what is left cannot be read":                {http.Header{"X-Rate-Limit-Remaining": {"some"}, "X-Rate-Limit-Reset": {"30"}}, 30 * time.Second, true},
		"room left at BigCommerce":                   {http.Header{"X-Rate-Limit-Requests-Left": {"12"}, "X-Rate-Limit-Time-Reset-Ms": {"15000"}}, 0, false},
		"room left does not unsay a Retry-After":     {http.Header{"X-Ratelimit-Remaining": {"4321"}, "Retry-After": {"3"}}, 3 * time.Second, true},
		"none exhausted, and the soonest is far off": {http.Header{"Ratelimit": {`"hour";r=4321;t=3000`}}, 0, false},
		"RateLimit in two lines":                     {http.Header{"Ratelimit": {`"burst";r=9;t=7`, `"daily";r=0;t=3600`}}, time.Hour, true},
		"RateLimit of older drafts in lines":         {http.Header{"Ratelimit": {`limit=10, remaining=0`, `reset=4`}}, 4 * time.Second, true},
		"nothing left, as older drafts say it":       {http.Header{"Ratelimit": {`limit=10, remaining=0, reset=3000`}}, 50 * time.Minute, true},
		"room left, as older drafts say it":          {http.Header{"Ratelimit": {`limit=5000, remaining=4321, reset=3000`}}, 0, false},
		"x-ms-retry-after-ms, as Azure sends":        {http.Header{"X-Ms-Retry-After-Ms": {"1500"}}, 1500 * time.Millisecond, true},
		"milliseconds go before whole seconds":       {http.Header{"Retry-After": {"0"}, "X-Ms-Retry-After-Ms": {"700"}}, 700 * time.Millisecond, true},
		"a gateway on Spring":                        {http.Header{"X-Rate-Limit-Retry-After-Seconds": {"9"}}, 9 * time.Second, true},
		"a reset after some seconds":                 {http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset-After": {"1.5"}, "X-Ratelimit-Reset": {"1795435210"}}, 1500 * time.Millisecond, true},
		"milliseconds, as BigCommerce sends":         {http.Header{"X-Rate-Limit-Time-Reset-Ms": {"1500"}}, 1500 * time.Millisecond, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, said := retryafter.Wait(test.header, now)
			if got != test.want || said != test.said {
				t.Errorf("Wait(%v) = %v, %v; want %v, %v", test.header, got, said, test.want, test.said)
			}
		})
	}
}

// What a server tells of its quotas on every reply is no wish to be left alone.
func TestAskedIsNoReset(t *testing.T) {
	quotas := http.Header{"Ratelimit": {`"a";r=0;t=30`}, "X-Ratelimit-Reset": {"40"}}
	if wait, said := retryafter.Asked(quotas, now); said {
		t.Errorf("resets ask for %v", wait)
	}
	quotas.Set("X-Ms-Retry-After-Ms", "1500")
	if wait, said := retryafter.Asked(quotas, now); !said || wait != 1500*time.Millisecond {
		t.Errorf("asked for %v, %v; want 1.5 s", wait, said)
	}
}

func TestSecondsNeverLeavesItsBounds(t *testing.T) {
	for _, s := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0, 1e300, 86400, 86399.9999} {
		if got := retryafter.Seconds(s); got < 0 || got > retryafter.Max {
			t.Errorf("Seconds(%v) = %v, out of bounds", s, got)
		}
	}
}

func FuzzWait(f *testing.F) {
	for _, seed := range []string{"30", "2.0", "-1", "Mon, 23 Nov 2026 12:00:45 GMT", `"burst";r=0;t=7, "daily";r=10;t=3600`, "1795435210", "1e999", ""} {
		f.Add(seed)
	}
	names := []string{"Retry-After", "X-Retry-After", "Retry-After-Ms", "Ratelimit", "Ratelimit-Reset", "X-Ratelimit-Reset", "X-Rate-Limit-Reset", "X-Rate-Limit-Time-Reset-Ms", "X-Ms-Retry-After-Ms", "X-Rate-Limit-Retry-After-Seconds", "X-Ratelimit-Reset-After"}
	f.Fuzz(func(t *testing.T, value string) {
		for _, name := range names {
			got, said := retryafter.Wait(http.Header{name: {value}}, now)
			if got < 0 || got > retryafter.Max || (!said && got != 0) {
				t.Errorf("%s: %q gave %v, %v", name, value, got, said)
			}
		}
	})
}
