// Package retryafter reads how long a reply asks its caller to wait, in all the
// spellings that are in use: Retry-After with seconds, decimals or a date, its
// variants under other names, and the RateLimit fields of the IETF draft and of
// its forerunners. What is malformed is ignored, as the draft asks.
//
// A point in time is counted from the reply's own Date where it has one: what is
// asked for is a span, and the other side's clock may be minutes off.
package retryafter

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Max is the longest wait that is believed. A longer one is more likely a date
// in another unit than a wish, and an operator should see the system tried
// again within a day.
const Max = 24 * time.Hour

// epochFloor tells a point in time from a span: no reset is 31 years away, and
// no epoch second of this century is smaller. From millisFloor on it is in
// milliseconds: in seconds it would be the year 5138.
const (
	epochFloor  = 1e9
	millisFloor = 1e11
)

// longestGuess bounds the reset of a quota that has room left: the reply refused for
// another reason, of which that reset says little.
const longestGuess = time.Minute

// header is one spelling: the field and the way to read its value.
type header struct {
	name string
	read func(value string, now time.Time) (time.Duration, bool)
	// left is the field beside it that says how much is left of the quota that it
	// resets; empty for what is a wish to wait, or says that itself.
	left string
	// list: several lines of it are one list (RFC 9110 section 5.3).
	list bool
}

// headers in the order of precedence: Retry-After goes before RateLimit
// (draft-ietf-httpapi-ratelimit-headers-11), both before the older fields. Where a
// sender has it in milliseconds too, whole seconds are those rounded, down to 0 even.
var headers = []header{
	{name: "Retry-After-Ms", read: milliseconds},
	{name: "X-Ms-Retry-After-Ms", read: milliseconds}, // Azure
	{name: "Retry-After", read: secondsOrDate},
	{name: "X-Retry-After", read: secondsOrDate},
	{name: "X-Rate-Limit-Retry-After-Seconds", read: secondsOrDate}, // gateways on Spring
	{name: "RateLimit", read: rateLimit, list: true},
	{name: "RateLimit-Reset", read: deltaOrEpoch, left: "RateLimit-Remaining"},
	{name: "X-RateLimit-Reset-After", read: secondsOrDate, left: "X-RateLimit-Remaining"},
	{name: "X-RateLimit-Reset", read: deltaOrEpoch, left: "X-RateLimit-Remaining"},
	{name: "X-Rate-Limit-Reset", read: deltaOrEpoch, left: "X-Rate-Limit-Remaining"},
	{name: "X-Rate-Limit-Time-Reset-Ms", read: milliseconds, left: "X-Rate-Limit-Requests-Left"},
}

// Wait returns how long a throttled or unavailable reply asks to wait, counted
// from now (when the reply was in), and whether it says so at all. It is never
// negative and never above Max. Ask only for replies that refuse: on others the
// RateLimit fields say when a window ends, which is no wish to wait. On these too,
// where the quota that ends then has room left, it is not why the reply refused.
func Wait(h http.Header, now time.Time) (time.Duration, bool) {
	for _, spelling := range headers {
		if spelling.left != "" {
			if left, ok := number(strings.TrimSpace(h.Get(spelling.left))); ok && left > 0 {
				continue
			}
		}
		if wait, ok := spelling.wait(h, now); ok {
			return wait, true
		}
	}
	return 0, false
}

// Asked is Wait by those fields alone that say nothing but how long to wait. A reply
// that does not refuse for its pace may tell of quotas as all others of its server do.
func Asked(h http.Header, now time.Time) (time.Duration, bool) {
	for _, spelling := range headers {
		if wait, ok := spelling.wait(h, now); ok && spelling.left == "" && !spelling.list {
			return wait, true
		}
	}
	return 0, false
}

// Field returns what one of the fields that Wait knows says, whatever is left; false
// for others.
func Field(h http.Header, name string, now time.Time) (time.Duration, bool) {
	for _, spelling := range headers {
		if strings.EqualFold(spelling.name, name) {
			return spelling.wait(h, now)
		}
	}
	return 0, false
}

func (s header) wait(h http.Header, now time.Time) (time.Duration, bool) {
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	values := h.Values(s.name)
	if s.list {
		values = []string{strings.Join(values, ",")}
	}
	for _, value := range values {
		if wait, ok := s.read(strings.TrimSpace(value), now); ok {
			return min(max(wait, 0), Max), true
		}
	}
	return 0, false
}

// Seconds returns s seconds as a duration, rounded up to a millisecond so that
// a wait is never shorter than asked for, between 0 and Max. Not a number is 0.
func Seconds(s float64) time.Duration {
	if !(s > 0) {
		return 0
	}
	if s >= Max.Seconds() {
		return Max
	}
	return time.Duration(math.Ceil(s*1000)) * time.Millisecond
}

func number(value string) (float64, bool) {
	// ParseFloat takes more than a header may hold: hex, "inf", "nan", "1_0".
	for _, r := range value {
		if (r < '0' || r > '9') && r != '.' && r != '-' {
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, false
	}
	return f, true
}

// secondsOrDate reads RFC 9110 section 10.2.3, and decimals, which Shopify sends.
func secondsOrDate(value string, now time.Time) (time.Duration, bool) {
	if f, ok := number(value); ok {
		return Seconds(f), true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return until(at, now), true
}

func milliseconds(value string, _ time.Time) (time.Duration, bool) {
	f, ok := number(value)
	if !ok {
		return 0, false
	}
	return Seconds(f / 1000), true
}

// deltaOrEpoch reads a reset that some senders give as seconds from now and
// others as a point in time.
func deltaOrEpoch(value string, now time.Time) (time.Duration, bool) {
	f, ok := number(value)
	if !ok {
		return 0, false
	}
	switch {
	case f > millisFloor*1000:
		return 0, false // in no unit that anybody sends
	case f > millisFloor:
		return until(time.UnixMilli(int64(f)), now), true
	case f > epochFloor:
		return until(time.UnixMilli(int64(f*1000)), now), true
	}
	return Seconds(f), true
}

func until(at, now time.Time) time.Duration {
	return Seconds(at.Sub(now).Seconds())
}

// rateLimit reads `"burst";r=0;t=30, "daily";r=10;t=3600`: the longest t among
// the policies that have nothing left, or the shortest t where all have some
// (the reply refused all the same, so the soonest change is the best guess, if it is
// soon).
func rateLimit(value string, _ time.Time) (time.Duration, bool) {
	var exhausted, soonest time.Duration
	var sawExhausted, sawAny bool
	if !strings.Contains(value, `"`) && strings.Contains(value, "reset=") {
		value = strings.ReplaceAll(value, ",", ";") // draft 7: one quota, in members of its own
	}
	for item := range strings.SplitSeq(value, ",") {
		left, reset, ok := rateLimitItem(item)
		if !ok {
			continue
		}
		if left <= 0 {
			exhausted, sawExhausted = max(exhausted, reset), true
		}
		if !sawAny || reset < soonest {
			soonest, sawAny = reset, true
		}
	}
	if sawExhausted {
		return exhausted, true
	}
	if soonest > longestGuess {
		return 0, false
	}
	return soonest, sawAny
}

// rateLimitItem returns r and t of one list member; false where t is missing.
func rateLimitItem(item string) (left float64, reset time.Duration, ok bool) {
	left = math.Inf(1)
	for parameter := range strings.SplitSeq(item, ";") {
		name, value, found := strings.Cut(strings.TrimSpace(parameter), "=")
		f, isNumber := number(strings.TrimSpace(value))
		if !found || !isNumber {
			continue
		}
		switch strings.TrimSpace(name) {
		case "r", "remaining":
			left = f
		case "t", "reset":
			reset, ok = Seconds(f), true
		}
	}
	return left, reset, ok
}
