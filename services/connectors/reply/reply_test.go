package reply_test

import (
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMissing(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	tests := map[string]struct {
		reply connectors.Reply
		want  fault.Verdict
	}{
		"connection refused is an outage, and without effect": {
			connectors.Reply{Err: refused},
			fault.Verdict{Class: fault.Transient, Outage: true, Cause: fault.Cause{Code: "not-sent", Detail: "dial tcp: connect: connection refused"}},
		},
		"an unknown host is an outage": {
			connectors.Reply{Err: &net.DNSError{Err: "no such host", Name: "erp.example"}},
			fault.Verdict{Class: fault.Transient, Outage: true, Cause: fault.Cause{Code: "not-sent", Detail: "lookup erp.example: no such host"}},
		},
		"given up before it was written": {
			connectors.Reply{Err: errors.New("send time has passed")},
			fault.Verdict{Class: fault.Transient, Cause: fault.Cause{Code: "not-sent", Detail: "send time has passed"}},
		},
		"cut after it was written": {
			connectors.Reply{Err: errors.New("EOF"), Written: true},
			fault.Verdict{Class: fault.Unknown, Cause: fault.Cause{Code: "no-reply", Detail: "EOF"}},
		},
		"nothing known at all": {
			connectors.Reply{Written: true},
			fault.Verdict{Class: fault.Unknown, Cause: fault.Cause{Code: "no-reply", Detail: "no reply came"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, missing := reply.Missing(test.reply)
			if !missing {
				t.Fatal("Missing says that there is a reply")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
	if _, missing := reply.Missing(connectors.Reply{Status: 500}); missing {
		t.Error("a reply with a status is called missing")
	}
}

func TestByStatus(t *testing.T) {
	type row struct {
		status int
		effect connectors.Effect
		want   fault.Class
		outage bool
	}
	rows := []row{
		{200, connectors.EffectOnce, fault.OK, false},
		{204, connectors.EffectIdempotent, fault.OK, false},
		{302, connectors.EffectIdempotent, fault.Unknown, true},
		{302, connectors.EffectNone, fault.Transient, true},
		{308, connectors.EffectIdempotent, fault.Permanent, false},
		{400, connectors.EffectOnce, fault.Permanent, false},
		{401, connectors.EffectOnce, fault.Auth, false},
		{403, connectors.EffectNone, fault.Auth, false},
		{404, connectors.EffectOnce, fault.Permanent, false},
		{408, connectors.EffectOnce, fault.Throttled, false},
		{425, connectors.EffectOnce, fault.Throttled, false},
		{429, connectors.EffectOnce, fault.Throttled, false},
		{500, connectors.EffectOnce, fault.Unknown, false},
		{500, connectors.EffectIdempotent, fault.Unknown, false},
		{500, connectors.EffectNone, fault.Transient, false},
		{501, connectors.EffectNone, fault.Permanent, false},
		{502, connectors.EffectIdempotent, fault.Unknown, true},
		{503, connectors.EffectOnce, fault.Transient, true},
		{504, connectors.EffectNone, fault.Transient, true},
		{799, connectors.EffectNone, fault.Unknown, false},
	}
	for _, r := range rows {
		got := reply.ByStatus(connectors.Reply{Status: r.status, Written: true}, r.effect)
		if got.Class != r.want || got.Outage != r.outage {
			t.Errorf("status %d, effect %d: %s, outage %v; want %s, %v", r.status, r.effect, got.Class, got.Outage, r.want, r.outage)
		}
	}
}

func TestWaitOnlyWhereThereIsSomethingToWaitFor(t *testing.T) {
	h := http.Header{"Retry-After": {"7"}}
	for class := fault.Unknown; class <= fault.Conflict; class++ {
		want := time.Duration(0)
		if class == fault.Throttled || class == fault.Transient || class == fault.Unknown {
			want = 7 * time.Second
		}
		if got, said := reply.WaitOf(connectors.Reply{Status: 429, Header: h}, class); got != want || said != (want > 0) {
			t.Errorf("%s: wait %v, said %v; want %v", class, got, said, want)
		}
	}
}

// To ask for no wait is another thing than to ask for none.
func TestNoWaitIsSaid(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]bool{"0": true, "Mon, 23 Nov 2026 11:59:00 GMT": true, "-3": true, "": false, "soon": false} {
		got := reply.ByStatus(connectors.Reply{Status: 429, Header: http.Header{"Retry-After": {value}}, Written: true, At: at}, connectors.EffectOnce)
		if got.Wait != 0 || got.WaitSaid != want {
			t.Errorf("Retry-After %q: wait %v, said %v; want 0, %v", value, got.Wait, got.WaitSaid, want)
		}
	}
}

func TestExcerpt(t *testing.T) {
	page := []byte("<!DOCTYPE html><html><head><title>503 Service Unavailable</title></head><body><h1>Back at\n  noon</h1></body></html>")
	if got, want := reply.Excerpt(nil, page), "503 Service Unavailable Back at noon"; got != want {
		t.Errorf("Excerpt of a page = %q, want %q", got, want)
	}
	long := reply.Excerpt(nil, []byte(strings.Repeat("ä", 5000)))
	if len(long) > 300 || !utf8.ValidString(long) {
		t.Errorf("Excerpt of a long body has %d bytes, valid %v", len(long), utf8.ValidString(long))
	}
}

func TestSlug(t *testing.T) {
	for code, want := range map[string]string{
		"CHANGE_FROM_QUANTITY_STALE": "change-from-quantity-stale",
		"unknown-configuration":      "unknown-configuration",
		"  ":                         "other",
		"__A__b":                     "a-b",
	} {
		if got := reply.Slug(code, "other"); got != want {
			t.Errorf("Slug(%q) = %q, want %q", code, got, want)
		}
	}
	if got := reply.Slug(strings.Repeat("X_", 500), ""); len(got) > 64 {
		t.Errorf("a slug of %d bytes", len(got))
	}
}

func TestLastOfLocation(t *testing.T) {
	for location, want := range map[string]string{
		"https://1.suitetalk.api.netsuite.com/services/rest/record/v1/salesOrder/77": "77",
		"/orders/a%20b?x=1": "a b",
		"":                  "",
		"/":                 "",
		"https://host":      "",
		"::":                "",
	} {
		if got := reply.LastOfLocation(http.Header{"Location": {location}}); got != want {
			t.Errorf("LastOfLocation(%q) = %q, want %q", location, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("<html>")
	f.Add("\xff\x00 ok")
	f.Fuzz(func(t *testing.T, text string) {
		for _, got := range []string{reply.Shorten(text), reply.Excerpt(nil, []byte(text)), reply.Slug(text, "x")} {
			if len(got) > 300 || !utf8.ValidString(got) {
				t.Errorf("%q became %q", text, got)
			}
		}
	})
}
