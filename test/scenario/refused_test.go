package scenario

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/runner/scene"
)

// withoutScope is a way to a shop whose token may do all but read orders, while denied.
type withoutScope struct {
	shop   atomic.Pointer[url.URL]
	denied atomic.Bool
	// lists counts the lists of orders that were asked for.
	lists atomic.Int64
}

func (s *withoutScope) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	shop := s.shop.Load()
	if err != nil || shop == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if bytes.Contains(body, []byte("orders(first:")) {
		s.lists.Add(1)
		if s.denied.Load() {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"errors":[{"message":"Access denied for orders field.","extensions":{"code":"ACCESS_DENIED"}}]}`)
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	httputil.NewSingleHostReverseProxy(shop).ServeHTTP(w, r)
}

// TestAShopThatRefusesItsOrdersIsOneText, however often it is asked and though the product is
// killed in between; all else goes on. Each role has its own key at NATS, and needs nothing
// that this does not allow.
func TestAShopThatRefusesItsOrdersIsOneText(t *testing.T) {
	t.Parallel()
	way := &withoutScope{}
	way.denied.Store(true)
	server := httptest.NewServer(way)
	t.Cleanup(server.Close)
	stage := open(t, scene.Options{
		Script: scene.Saturday(), Binary: binary(t, true), Apart: true, Secured: true,
		Overrides: runner.Overrides{"shopify": {"endpoint": server.URL, "reconcile": map[string]any{"every": "5s", "overlap": "5s", "lookBack": "1h"}}},
	})
	shop, err := url.Parse(stage.World.Addresses().Shop)
	if err != nil {
		t.Fatal(err)
	}
	way.shop.Store(shop)
	texts := func() (refused int) {
		for _, text := range stage.World.Twilio.Report().Texts {
			if strings.HasPrefix(text.Body, "shopify refuses listOrders: the right is missing: Access denied for orders field") {
				refused++
			} else {
				t.Errorf("another text: %s", text.Body)
			}
		}
		return refused
	}
	until(t, time.Minute, "a text tells of it", func() bool { return texts() == 1 })
	until(t, time.Minute, "it is asked again", func() bool { return way.lists.Load() >= 3 })
	sell(t, stage)
	fed(t, stage, 1)
	if err := stage.Kill(); err != nil {
		t.Fatal(err)
	}
	asked := way.lists.Load()
	if err := stage.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	edit := func(from, to string) {
		t.Helper()
		file := filepath.Join(stage.Files(), "shopify.yaml")
		write(t, file, strings.Replace(read(t, file), from, to, 1))
		if err := stage.Product.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	edit("overlap: 5s", "overlap: 6s") // an edit is tried at once
	until(t, time.Minute, "the product that was killed asks again", func() bool { return way.lists.Load() > asked })
	way.denied.Store(false)
	const over = "what a source refused is not held any more"
	if strings.Contains(logOf(t, stage.Log()), over) {
		t.Error("the hold is gone while the shop refuses")
	}
	edit("overlap: 6s", "overlap: 7s")
	until(t, time.Minute, "the hold is gone when the shop answers", func() bool { return strings.Contains(logOf(t, stage.Log()), over) })
	if n := texts(); n != 1 {
		t.Errorf("%d texts, want one", n)
	}
	if strings.Contains(logOf(t, stage.Log()), "denies a subject") {
		t.Errorf("a role lacks a permission; see %s", stage.Log())
	}
}
