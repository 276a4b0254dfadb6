package webhook

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// nowhere is where events end that are only measured.
type nowhere struct{}

func (nowhere) Commit(time.Time, ...[]byte) error { return nil }

// quiet is a ResponseWriter that keeps nothing.
type quiet struct{ header http.Header }

func (q quiet) Header() http.Header         { return q.header }
func (q quiet) WriteHeader(int)             {}
func (q quiet) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkServeHTTP is what the door does with a webhook of 4 KiB, without net/http
// and without the disk.
func BenchmarkServeHTTP(b *testing.B) {
	h := handler(nowhere{})
	line := []byte(`{"id":14000000000,"sku":"VIRAL-1","title":"Gebäck, süß","quantity":1,"price":"19.90","taxable":true,"note":null},`)
	body := append(append([]byte(`{"lines":[`), bytes.Repeat(line, 4096/len(line))...), `{}]}`...)
	r, w, reader := delivery(b.Context(), "w", body), quiet{http.Header{}}, new(bytes.Reader)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		reader.Reset(body)
		r.Body = io.NopCloser(reader)
		r.Header["X-Shopify-Webhook-Id"] = []string{strconv.Itoa(i)}
		h.ServeHTTP(w, r)
	}
	if stored, _ := h.config.Keeper.Stored(); stored < uint64(b.N) {
		b.Errorf("%d of %d are stored", stored, b.N)
	}
}
