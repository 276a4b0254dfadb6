package operator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/operator"
)

var errDead = errors.New("it was killed")

// death ends an operator at one of its writes to the API server as kill -9 does: from then
// on nothing that it does reaches anybody, NATS included, not even that it gives its lease
// back.
type death struct {
	http.RoundTripper
	bus *bus.Bus

	mu sync.Mutex
	// left are the writes that it still makes; stored says whether the last one arrives.
	left   int
	stored bool
	struck chan struct{}
}

// isDead counts a write, and reports whether it is too late for it. last says that it is
// the one at which it ends.
func (d *death) isDead(r *http.Request) (dead, last bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left == 0 {
		return true, false
	}
	counts := r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/leases") && !strings.Contains(r.URL.Path, "/events")
	if !counts {
		return false, false
	}
	d.left--
	if d.left > 0 {
		return false, false
	}
	close(d.struck)
	return !d.stored, d.stored
}

func (d *death) RoundTrip(r *http.Request) (*http.Response, error) {
	dead, last := d.isDead(r)
	if dead {
		d.bus.Close()
		return nil, errDead
	}
	response, err := d.RoundTripper.RoundTrip(r)
	if last {
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		d.bus.Close()
		return nil, errDead
	}
	return response, err
}

// dies makes an operator end at its n-th write.
func (d *death) dies(n int, stored bool) func(*operator.Config) {
	return func(c *operator.Config) {
		d.bus, d.left, d.stored, d.struck = c.Bus, n, stored, make(chan struct{})
		c.REST.Wrap(func(next http.RoundTripper) http.RoundTripper { d.RoundTripper = next; return d })
	}
}

// killedAndKilledAgain runs operators that end at their first write, their second and so on,
// before it is stored and after by turns, until one has nothing more to write; then one that
// lives, until everything is as it should be.
func (w *world) killedAndKilledAgain(what string, right func(ctx context.Context) error) {
	w.t.Helper()
	kills := 0
	for n := 1; ; n++ {
		d := &death{}
		r := w.launch(d.dies((n+1)/2, n%2 == 0))
		settled := make(chan error, 1)
		ctx, cancel := context.WithCancel(w.t.Context())
		go func() { settled <- poll(ctx, right) }()
		var err error
		select {
		case <-d.struck:
			kills++
			cancel()
			<-settled
		case err = <-settled:
			cancel()
		}
		r.stop()
		if err != nil {
			w.t.Fatalf("%s: not right within %v after %d kills: %v", what, patience, kills, err)
		}
		// Its lease would be waited for; nobody else has it.
		lease := &coordinationv1.Lease{ObjectMeta: meta(w.namespace, operator.Name)}
		w.must(client.IgnoreNotFound(api.client.Delete(w.t.Context(), lease)))
		select {
		case <-d.struck:
		default:
			w.t.Logf("%s: %d kills", what, kills)
			return
		}
	}
}

// Whatever write an operator is killed at, the next one goes on from there: at a first
// install, after a change of everything that a change leads to, and where all is deleted.
func TestKilledBetweenAnyTwoWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.demo()
	w.killedAndKilledAgain("the first install", func(ctx context.Context) error { return w.isDemo(ctx, "netsuite") })

	c, err := w.connector(t.Context(), "netsuite")
	w.must(err)
	c.Spec.Auth.SecretRef.Name, c.Spec.Limits[0].RollingWindow.Calls = "netsuite-2", 777
	w.must(api.client.Update(t.Context(), c))
	w.killedAndKilledAgain("a change", func(ctx context.Context) error {
		if err := w.isDemo(ctx, "netsuite-2"); err != nil {
			return err
		}
		found, err := w.published(ctx, "netsuite")
		if err == nil && found.Spec.Limits[0].RollingWindow.Calls != 777 {
			err = errors.New("the catalog has the old limit")
		}
		return err
	})

	for _, file := range []string{"flow.yaml", "stock.yaml", "notify.yaml", "netsuite.yaml", "shopify.yaml", "twilio.yaml", "wms.yaml"} {
		for _, object := range w.read(file) {
			w.must(api.client.Delete(t.Context(), object))
		}
	}
	w.killedAndKilledAgain("the end", func(ctx context.Context) error {
		var left v1alpha1.ConnectorList
		if err := api.client.List(ctx, &left, client.InNamespace(w.namespace)); err != nil || len(left.Items) > 0 {
			return fmt.Errorf("%d Connectors are left: %w", len(left.Items), err)
		}
		names, err := w.names(ctx)
		if err == nil && len(names) > 0 {
			err = fmt.Errorf("the catalog holds %v", names)
		}
		return err
	})
}

// isDemo reports what is not yet as the demo has it, with the Secret that the dispatcher may
// read for the ERP.
func (w *world) isDemo(ctx context.Context, secret string) error {
	names, err := w.names(ctx)
	if err != nil || !slices.Equal(names, demoNames) {
		return fmt.Errorf("the catalog holds %v: %w", names, err)
	}
	for _, name := range []string{"netsuite", "shopify", "twilio", "wms"} {
		c, err := w.connector(ctx, name)
		if err != nil {
			return err
		}
		ready := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status != "True" || ready.ObservedGeneration != c.Generation || !slices.Contains(c.Finalizers, v1alpha1.FinalizerUndelivered) {
			return fmt.Errorf("Connector %s: %v, Ready %+v", name, c.Finalizers, ready)
		}
	}
	var flow v1alpha1.Flow
	if err := api.client.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: "orders"}, &flow); err != nil {
		return err
	}
	if !apimeta.IsStatusConditionTrue(flow.Status.Conditions, v1alpha1.ConditionReady) {
		return fmt.Errorf("the Flow: %+v", flow.Status)
	}
	var role rbacv1.Role
	if err := api.client.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: dispatcherRole}, &role); err != nil {
		return err
	}
	if len(role.Rules) != 1 || !slices.Contains(role.Rules[0].ResourceNames, secret) {
		return fmt.Errorf("the rules are %+v", role.Rules)
	}
	return nil
}

// published returns a Connector as the catalog has it.
func (w *world) published(ctx context.Context, name string) (*v1alpha1.Connector, error) {
	resources, err := catalog.Published(ctx, w.bus)
	if err != nil {
		return nil, err
	}
	for _, r := range resources {
		if c, ok := r.Object.(*v1alpha1.Connector); ok && c.Name == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("the catalog has no Connector %s", name)
}

// deaf lets an operator hear nothing of changes of Connectors once it is told so, as over a
// connection that is lost and was not missed yet.
type deaf struct {
	http.RoundTripper
	mu     sync.Mutex
	silent chan struct{}
}

func (d *deaf) hush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silent = make(chan struct{})
}

func (d *deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := d.RoundTripper.RoundTrip(r)
	if err == nil && r.URL.Query().Get("watch") != "" && strings.HasSuffix(r.URL.Path, "/connectors") {
		response.Body = &hushed{ReadCloser: response.Body, deaf: d, ended: r.Context().Done()}
	}
	return response, err
}

type hushed struct {
	io.ReadCloser
	deaf  *deaf
	ended <-chan struct{}
}

func (h *hushed) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	h.deaf.mu.Lock()
	silent := h.deaf.silent
	h.deaf.mu.Unlock()
	if silent != nil {
		<-h.ended
		return 0, errDead
	}
	return n, err
}

// Two operators write: one that leads, and has not heard of the newest change, and another,
// which led a moment ago or thinks that it does. The older catalog never replaces the newer.
func TestAnOlderCatalogNeverReplacesANewer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := &deaf{}
	w.start(func(c *operator.Config) {
		c.REST.Wrap(func(next http.RoundTripper) http.RoundTripper { d.RoundTripper = next; return d })
	})
	w.demo()
	w.demoTaken()
	d.hush()
	c, err := w.connector(t.Context(), "netsuite")
	w.must(err)
	c.Spec.Limits[0].RollingWindow.Calls = 777
	w.must(api.client.Update(t.Context(), c))
	resources, err := catalog.Published(t.Context(), w.bus)
	w.must(err)
	for _, r := range resources {
		if other, ok := r.Object.(*v1alpha1.Connector); ok && other.Name == "netsuite" {
			other.Spec = c.Spec
		}
	}
	w.must(catalog.Publish(t.Context(), w.bus, resources...))

	policy := w.read("notify.yaml")[0]
	policy.SetName("another")
	policy.SetResourceVersion("")
	w.must(api.client.Create(t.Context(), policy))
	w.until("the one that leads has published", func(ctx context.Context) error {
		names, err := w.names(ctx)
		if err == nil && !slices.Contains(names, "NotificationPolicy/another") {
			err = fmt.Errorf("it holds %v", names)
		}
		return err
	})
	found, err := w.published(t.Context(), "netsuite")
	w.must(err)
	if got := found.Spec.Limits[0].RollingWindow.Calls; got != 777 {
		t.Errorf("the catalog has %d calls: the newer one was replaced by what was before", got)
	}
}
