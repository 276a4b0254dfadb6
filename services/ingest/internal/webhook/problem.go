package webhook

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// problem is an answer other than 2xx: problem details of RFC 9457.
type problem struct {
	status int
	// kind is the last part of the type, the same for the same cause.
	kind, detail string
	// retryAfter is when to come again, for 503 only.
	retryAfter time.Duration
}

const (
	// problemBase is not meant to be opened: it makes types unique (RFC 9457
	// section 3.1.1).
	problemBase = "https://peppasync.io/problems/"

	// soon is for what passes by itself within seconds; later is for what waits
	// for a person or for room on a disk.
	soon  = 2 * time.Second
	later = 30 * time.Second
)

func (p problem) write(w http.ResponseWriter) {
	body, _ := json.Marshal(struct { //nolint:errchkjson // strings and a number always encode
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{problemBase + p.kind, http.StatusText(p.status), p.status, p.detail})
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if p.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(p.retryAfter/time.Second)))
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(body) // nobody is left to tell
}

func unavailable(kind, detail string, retryAfter time.Duration) *problem {
	return &problem{status: http.StatusServiceUnavailable, kind: kind, detail: detail, retryAfter: retryAfter}
}
