// Package simtest is what the tests of the simulated shops have alike: a receiver of their webhooks, and calls of their APIs
// over HTTP. Only tests import it.
package simtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// Receiver takes webhooks and keeps what a test reads of them.
type Receiver[H any] struct {
	*httptest.Server
	mu    sync.Mutex
	hooks []H
}

// NewReceiver returns a receiver that ends with the test. read makes a webhook of a request; answer, if given, answers the
// n-th one, from 1, and nothing is 200.
func NewReceiver[H any](t testing.TB, read func(header http.Header, body string) H, answer func(n int, h H, w http.ResponseWriter)) *Receiver[H] {
	t.Helper()
	r := &Receiver[H]{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		h := read(request.Header, string(body))
		if n := r.keep(h); answer != nil {
			answer(n, h, w)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *Receiver[H]) keep(h H) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hooks = append(r.hooks, h)
	return len(r.hooks)
}

// All returns the webhooks that have come, in their order.
func (r *Receiver[H]) All() []H {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.hooks)
}

// Status is an answer of nothing but a status; nil for none.
func Status[H any](of func(n int) int) func(int, H, http.ResponseWriter) {
	if of == nil {
		return nil
	}
	return func(n int, _ H, w http.ResponseWriter) { w.WriteHeader(of(n)) }
}

// Call makes one request, with a body of JSON unless that is nil, wants the status, reads the reply into the answer if there
// is one, and returns the reply's header.
func Call(t testing.TB, method, target string, header http.Header, body any, want int, answer any) http.Header {
	t.Helper()
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		payload = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, target, payload)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != want {
		t.Fatalf("%s %s = %d %s, want %d", method, target, response.StatusCode, data, want)
	}
	if answer != nil {
		if err := json.Unmarshal(data, answer); err != nil {
			t.Fatalf("%s %s: %v in %s", method, target, err, data)
		}
	}
	return response.Header
}

// Within ends the test where a wait takes longer than anything here may.
func Within(t testing.TB, wait func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := wait(ctx); err != nil {
		t.Fatal(err)
	}
}
