package throttledispatcher_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/secrets"
)

// vault holds one token, which the test changes.
type vault struct {
	mu    sync.Mutex
	token string
}

func (v *vault) set(token string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.token = token
}

// Secret is part of secrets.Resolver.
func (v *vault) Secret(_ context.Context, name string) (map[string]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.token == "" {
		return nil, fmt.Errorf("%q: %w", name, secrets.ErrNotFound)
	}
	return map[string]string{"token": v.token}, nil
}

// signedIn is a world whose account wants a token.
func signedIn(t *testing.T, token string) (*world, *vault) {
	t.Helper()
	w, v := newWorld(t, 40, time.Second), &vault{token: token}
	w.secrets = v
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
		spec.Auth = &v1alpha1.Authentication{SecretRef: v1alpha1.SecretReference{Name: "wms"}}
	})
	w.account.answer(func(_ http.ResponseWriter, r *http.Request, _ string) int {
		if r.Header.Get("Authorization") != "Bearer good" {
			return http.StatusUnauthorized
		}
		return http.StatusCreated
	})
	return w, v
}

// Without its secret a connector keeps everything, claims nothing and says so
// once; it goes on by itself when the secret is there.
func TestMissingSecretIsAPause(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w, v := signedIn(t, "")
	w.start()
	const orders = 10
	for i := range orders {
		w.want(i, "")
	}
	w.eventually("a line in the log", func() bool { return len(w.log.with("no credentials")) > 0 })
	// Nothing is claimed, so an order that changes is sent as it is then.
	w.store(3, "changed meanwhile")
	during(2500 * time.Millisecond)
	if n := len(w.account.seen()); n != 0 {
		t.Errorf("%d calls without credentials", n)
	}
	lines := w.log.with("no credentials")
	if len(lines) != 1 || !strings.Contains(lines[0], `secret \"wms\"`) && !strings.Contains(lines[0], `secret "wms"`) {
		t.Errorf("want one line that names the secret, got %q", lines)
	}
	v.set("good")
	there := time.Now()
	w.delivered(orders)
	if late := w.account.seen()[0].at.Sub(there); late > 1500*time.Millisecond {
		t.Errorf("first call %v after the secret was there", late)
	}
	if got := w.account.on("/orders/shopify-3"); len(got) != 1 || !strings.Contains(got[0].body, "changed meanwhile") {
		t.Errorf("order 3 was sent as %v", got)
	}
}

// Credentials that are refused pause the connector; it is asked again now and
// then, and at once when they change.
func TestRefusedCredentialsArePause(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w, v := signedIn(t, "bad")
	w.start()
	const orders = 10
	for i := range orders {
		w.want(i, "")
	}
	w.eventually("a line in the log", func() bool { return len(w.log.with("refused the credentials")) > 0 })
	during(3 * time.Second)
	// What went out together was refused together, and then one at a time, ever
	// more rarely.
	tried := len(w.account.seen())
	if tried > 20 {
		t.Errorf("%d calls with credentials that are refused", tried)
	}
	v.set("good")
	there := time.Now()
	w.delivered(orders)
	for _, call := range w.account.seen() {
		if call.status == http.StatusCreated {
			if late := call.at.Sub(there); late > 1500*time.Millisecond {
				t.Errorf("first accepted call %v after the secret was changed", late)
			}
			break
		}
	}
	if n := len(w.log.with("refused the credentials")); n != 1 {
		t.Errorf("%d lines in the log for one pause", n)
	}
}

// One order that is always refused, while all others pass, goes to the Error Hold
// instead of pausing the connector for ever.
func TestOrderThatAloneIsForbiddenIsHeld(t *testing.T) {
	t.Parallel()
	w, _ := signedIn(t, "good")
	w.account.answer(func(_ http.ResponseWriter, r *http.Request, _ string) int {
		if strings.HasSuffix(r.URL.Path, "-4") {
			return http.StatusForbidden
		}
		return http.StatusCreated
	})
	w.start()
	const orders = 60
	for i := range orders {
		w.want(i, "")
	}
	started := time.Now()
	results := w.results(orders)
	for key, result := range results {
		want := dispatchv1.Outcome_OUTCOME_DELIVERED
		if key == keyOf(4) {
			want = dispatchv1.Outcome_OUTCOME_HELD
		}
		if result.GetOutcome() != want {
			t.Errorf("%s: %v because of %v, want %v", key, result.GetOutcome(), result.GetCause(), want)
		}
	}
	t.Logf("%d orders took %v, with %d calls", orders, time.Since(started), len(w.account.seen()))
}
