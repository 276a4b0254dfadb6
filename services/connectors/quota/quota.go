// Package quota reads what a reply says of the account's quota: how large it is,
// how much of it is left, and when it is whole again. It knows the fields of the
// IETF draft, of its forerunners, and those of vendors. What is malformed or
// absurd is left out, as the draft asks: a figure may be wrong, never nonsense.
package quota

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/connectors/retryafter"
)

// Bounds of what is believed. No account has a quota of a billion calls that it
// would tell on every reply; a number above it is one in another unit.
const (
	mostCalls = 1_000_000_000
	// longestPer is a quota's longest window: a month, and a day for time zones.
	longestPer = 32 * 24 * time.Hour
	// mostFigures of one reply are read, so that no reply makes work without end.
	mostFigures = 16
)

// Figure is what one reply says of one quota. Its numbers are the server's word.
type Figure struct {
	// Name tells the quotas of one account apart: the fields it came in, and the
	// policy where there is one.
	Name string
	// Limit is how many calls the whole quota has; 0 where that was not said.
	Limit int64
	// Remaining is how many calls are left. 0 <= Remaining, and not above Limit
	// where that was said.
	Remaining int64
	// Per is the length of the quota's window; 0 where it was not said.
	Per time.Duration
	// ResetsAt is when more is left again; zero where it was not said.
	ResetsAt time.Time
	// Bucket: what was used comes back all the time, or calls cost more than one. So
	// Limit - Remaining is not how many calls were made in any window.
	Bucket bool
	// Capacity is what the bucket holds, and Available what there is room for: in points
	// where Points, else in calls. 0 where it is none.
	Capacity, Available int64
	Points              bool
}

// Used is how many calls of the quota's window the server counts; false where the
// figure does not say.
func (f Figure) Used() (int64, bool) {
	return f.Limit - f.Remaining, f.Limit > 0 && !f.Bucket
}

// valid drops what is absurd.
func (f Figure) valid() bool {
	return f.Remaining >= 0 && f.Remaining <= mostCalls && f.Limit >= 0 && f.Limit <= mostCalls && f.Per >= 0 && f.Per <= longestPer &&
		(f.Limit == 0 || f.Remaining <= f.Limit)
}

// Read returns the figures of a reply's fields; now is when the reply was in.
func Read(h http.Header, now time.Time) []Figure {
	figures := rateLimit(h, now)
	for _, f := range families {
		if figure, ok := f.read(h, now); ok {
			figures = append(figures, figure)
		}
	}
	if figure, ok := callLimit(h.Get("X-Shopify-Shop-Api-Call-Limit")); ok {
		figures = append(figures, figure)
	}
	return figures
}

// family is one set of fields, each with one number.
type family struct {
	name                         string
	limit, remaining, reset, per string
}

var families = []family{
	{name: "ratelimit", limit: "RateLimit-Limit", remaining: "RateLimit-Remaining", reset: "RateLimit-Reset"},
	{name: "x-ratelimit", limit: "X-RateLimit-Limit", remaining: "X-RateLimit-Remaining", reset: "X-RateLimit-Reset"},
	// ShipStation
	{name: "x-rate-limit", limit: "X-Rate-Limit-Limit", remaining: "X-Rate-Limit-Remaining", reset: "X-Rate-Limit-Reset"},
	// BigCommerce
	{
		name: "x-rate-limit-requests", limit: "X-Rate-Limit-Requests-Quota", remaining: "X-Rate-Limit-Requests-Left",
		reset: "X-Rate-Limit-Time-Reset-Ms", per: "X-Rate-Limit-Time-Window-Ms",
	},
	// ShipBob
	{name: "x-remaining-calls", remaining: "X-Remaining-Calls", reset: "X-Retry-After"},
}

// read returns the family's figure; false without a readable count of what is
// left. A limit or reset that cannot be read is as good as none.
func (f family) read(h http.Header, now time.Time) (Figure, bool) {
	remaining, ok := whole(h.Get(f.remaining))
	if !ok {
		return Figure{}, false
	}
	figure := Figure{Name: f.name, Remaining: remaining}
	// Older drafts write the window behind the limit: "100, 100;w=60".
	limit, rest, _ := strings.Cut(field(h, f.limit), ";")
	limit, _, _ = strings.Cut(limit, ",")
	figure.Limit, _ = whole(limit)
	if _, w, found := strings.Cut(";"+rest, ";w="); found && !strings.Contains(rest, ",") {
		figure.Per = seconds(w)
	}
	if ms, ok := whole(field(h, f.per)); ok && ms <= longestPer.Milliseconds() {
		figure.Per = time.Duration(ms) * time.Millisecond
	}
	if wait, ok := retryafter.Field(h, f.reset, now); ok {
		figure.ResetsAt = now.Add(wait)
	}
	return figure, figure.valid()
}

func field(h http.Header, name string) string {
	if name == "" {
		return ""
	}
	return h.Get(name)
}

// callLimit reads Shopify's "39/40": what is in the bucket, and its size.
func callLimit(value string) (Figure, bool) {
	used, size, found := strings.Cut(value, "/")
	u, ok := whole(used)
	limit, known := whole(size)
	if !found || !ok || !known || limit == 0 {
		return Figure{}, false
	}
	figure := Figure{Name: "call-limit", Limit: limit, Remaining: max(limit-u, 0), Bucket: true}
	figure.Capacity, figure.Available = figure.Limit, figure.Remaining
	return figure, figure.valid()
}

// Bucket returns the figure of a bucket of points, for a system whose replies tell
// it in the body: size and available now, restored per second, of which a call like
// the last one takes cost. False where the numbers make no sense.
func Bucket(name string, size, available, restored, cost float64, now time.Time) (Figure, bool) {
	cost = max(cost, 1)
	for _, f := range []float64{size, available, restored, cost} {
		if math.IsNaN(f) || math.Abs(f) > mostCalls {
			return Figure{}, false
		}
	}
	if size < cost || available > size {
		return Figure{}, false
	}
	figure := Figure{Name: name, Limit: int64(size / cost), Remaining: int64(max(available, 0) / cost), Bucket: true}
	figure.Capacity, figure.Available, figure.Points = int64(size), int64(max(available, 0)), true
	if figure.Remaining == 0 && restored > 0 {
		figure.ResetsAt = now.Add(retryafter.Seconds((cost - available) / restored))
	}
	return figure, figure.valid()
}

// whole reads a number of calls. Some senders write decimals ("59.0").
func whole(text string) (int64, bool) {
	text = strings.TrimSpace(text)
	if before, zeros, found := strings.Cut(text, "."); found && strings.Trim(zeros, "0") == "" {
		text = before
	}
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false // no sign, no underscore
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n <= mostCalls
}

// seconds is a window's length; 0 for what is none.
func seconds(text string) time.Duration {
	n, ok := whole(text)
	if !ok || n > int64(longestPer/time.Second) {
		return 0
	}
	return time.Duration(n) * time.Second
}
