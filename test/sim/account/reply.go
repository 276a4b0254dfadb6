package account

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/test/sim/faults"
)

// JSON returns a reply with v as its body. v is always a value of the simulator's own, so a failure to encode is a defect
// of the simulator and answered as such.
func JSON(status int, contentType string, v any) Reply {
	body, err := json.Marshal(v)
	if err != nil {
		return Reply{Status: http.StatusInternalServerError, Body: []byte("simulator: " + err.Error())}
	}
	return Reply{Status: status, Header: http.Header{"Content-Type": {contentType}}, Body: body}
}

// HTML returns the page that a proxy in front of the system would send.
func HTML(status int) Reply { return htmlReply(status) }

func htmlReply(status int) Reply {
	page := fmt.Sprintf("<!DOCTYPE html><html><head><title>%d %s</title></head><body><h1>%[2]s</h1></body></html>\n",
		status, http.StatusText(status))
	return Reply{Status: status, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: []byte(page)}
}

func withRetryAfter(r Reply, fault *faults.Rule) Reply {
	value := fault.RetryAfter
	if fault.RetryDate > 0 {
		at := time.Now().Add(fault.RetryDate.Std())
		if whole := at.Truncate(time.Second); whole.Before(at) {
			at = whole.Add(time.Second)
		}
		value = at.UTC().Format(http.TimeFormat)
	}
	if value == "" {
		return r
	}
	r.Header = r.Header.Clone()
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	r.Header.Set("Retry-After", value)
	return r
}

// askedWait returns for how long a Retry-After asks, 0 for none that can be read.
func askedWait(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		return time.Duration(seconds * float64(time.Second))
	}
	if at, err := http.ParseTime(value); err == nil {
		return at.Sub(now)
	}
	return 0
}

func bytesReader(b []byte) io.Reader { return bytes.NewReader(b) }
