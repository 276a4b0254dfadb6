package webhook

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/services/ingest/internal/keep"
)

// problemBase is not meant to be opened: it makes types unique (RFC 9457 section 3.1.1).
const problemBase = "https://peppasync.io/problems/"

// write answers with problem details of RFC 9457.
func write(w http.ResponseWriter, p *keep.Problem) {
	body, _ := json.Marshal(struct { //nolint:errchkjson // strings and a number always encode
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{problemBase + p.Kind, http.StatusText(p.Status), p.Status, p.Detail})
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if p.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(p.RetryAfter/time.Second)))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // nobody is left to tell
}
