package operator_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/operator"
)

const (
	ingestRole     = "peppasync-ingest-secrets"
	dispatcherRole = "peppasync-throttle-dispatcher-secrets"
	webhookSecret  = "peppasync-operator-webhook"
)

// world is a namespace as the chart makes it, with a NATS of its own.
type world struct {
	t         *testing.T
	namespace string
	nats      *bustest.Server
	bus       *bus.Bus
	topology  bus.Topology
	// dispatchers is where the operator asks; a place where nobody answers unless set.
	dispatchers []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, topology: bus.Topology{Replicas: 1, IngestShards: 1, OrderShards: 2}, dispatchers: []string{"127.0.0.1:1"}}
	w.nats = bustest.NewServer(t, bustest.WithTopology(w.topology), bustest.WithTCP())
	w.bus = w.nats.Bus(t)
	namespace := &corev1.Namespace{}
	namespace.GenerateName = "shop-"
	w.must(api.client.Create(t.Context(), namespace))
	w.namespace = namespace.Name
	w.manifests("README.md", "Role", "ClusterRole", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
	w.bind()
	for _, name := range []string{ingestRole, dispatcherRole} {
		w.must(api.client.Create(t.Context(), &rbacv1.Role{ObjectMeta: meta(w.namespace, name)}))
	}
	w.must(api.client.Create(t.Context(), &corev1.Secret{ObjectMeta: meta(w.namespace, webhookSecret)}))
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// manifests makes what README.md shows, of some kinds.
func (w *world) manifests(file string, kinds ...string) {
	w.t.Helper()
	for _, object := range w.documents(file) {
		if slices.Contains(kinds, object.GetKind()) {
			w.create(object)
		}
	}
}

// create makes what may outlive the namespace, and removes it after the test.
func (w *world) create(object *unstructured.Unstructured) {
	w.t.Helper()
	w.must(api.client.Create(w.t.Context(), object))
	if object.GetNamespace() == "" {
		w.t.Cleanup(func() { _ = api.client.Delete(context.Background(), object) })
	}
}

func (w *world) documents(file string) []*unstructured.Unstructured {
	w.t.Helper()
	data, err := os.ReadFile(file)
	w.must(err)
	var documents []*unstructured.Unstructured
	for i, block := range strings.Split(string(data), "```") {
		text, isYAML := strings.CutPrefix(block, "yaml\n")
		if i%2 == 0 || !isYAML {
			continue
		}
		for document := range strings.SplitSeq(strings.ReplaceAll(text, "NAMESPACE", w.namespace), "\n---\n") {
			object := &unstructured.Unstructured{}
			w.must(yaml.UnmarshalStrict([]byte(document), &object.Object))
			documents = append(documents, object)
		}
	}
	if len(documents) == 0 {
		w.t.Fatalf("%s shows no manifest", file)
	}
	return documents
}

// bind gives the operator's account the rights that README.md lists, and no others.
func (w *world) bind() {
	account := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: "peppasync-operator"}}
	cluster := "peppasync-operator-" + w.namespace
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta("", cluster), Subjects: account,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: cluster},
	}
	w.must(api.client.Create(w.t.Context(), binding))
	w.t.Cleanup(func() { _ = api.client.Delete(context.Background(), binding) })
	w.must(api.client.Create(w.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta(w.namespace, "peppasync-operator"), Subjects: account,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "peppasync-operator"},
	}))
}

// admission installs the webhooks that README.md shows, at an address instead of a Service:
// no Service leads anywhere on an API server alone.
func (w *world) admission(address string) {
	w.t.Helper()
	for _, object := range w.documents("README.md") {
		if object.GetKind() != "ValidatingWebhookConfiguration" {
			continue
		}
		hooks, _, err := unstructured.NestedSlice(object.Object, "webhooks")
		w.must(err)
		for _, hook := range hooks {
			hook.(map[string]any)["clientConfig"] = map[string]any{"url": "https://" + address + operator.AdmissionPath}
		}
		w.must(unstructured.SetNestedSlice(object.Object, hooks, "webhooks"))
		w.create(object)
	}
}

// replica is a running operator.
type replica struct {
	admission string
	stop      func()
	// done is closed when it has ended, ended is how then.
	done  <-chan struct{}
	ended error
}

// start runs an operator as its account, with what is changed of its configuration.
func (w *world) start(changes ...func(*operator.Config)) *replica {
	w.t.Helper()
	r := w.launch(changes...)
	stop := r.stop
	r.stop = func() {
		stop()
		if err := r.ended; err != nil {
			w.t.Errorf("the operator ended with %v", err)
		}
		r.stop = func() {}
	}
	w.t.Cleanup(func() { r.stop() })
	return r
}

// launch is start without a word about how it ends.
func (w *world) launch(changes ...func(*operator.Config)) *replica {
	w.t.Helper()
	listener, err := new(net.ListenConfig).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	w.must(err)
	config := rest.CopyConfig(api.config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + w.namespace + ":peppasync-operator",
		Groups:   []string{"system:serviceaccounts", "system:authenticated"},
	}
	// What it logs is of use where a test fails.
	log := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	settings := operator.Config{
		Namespace: w.namespace, REST: config, Bus: w.nats.Connect(w.t, bus.Options{Name: operator.BusName, Logger: log}),
		Topology: w.topology, Dispatchers: w.dispatchers,
		IngestRole: ingestRole, DispatcherRole: dispatcherRole,
		Admission: listener, AdmissionHosts: []string{"127.0.0.1"}, AdmissionSecret: webhookSecret,
		AdmissionConfiguration: "peppasync-" + w.namespace, ReservedSecrets: []string{"peppasync-nats-*"},
		StatusEvery: 100 * time.Millisecond, Logger: log,
	}
	for _, change := range changes {
		change(&settings)
	}
	r := &replica{admission: listener.Addr().String(), done: done}
	go func() {
		defer close(done)
		r.ended = operator.Run(ctx, settings)
	}()
	r.stop = func() {
		cancel()
		<-done
	}
	return r
}

// admitted starts an operator and waits until its admission is asked.
func (w *world) admitted() *replica {
	w.t.Helper()
	r := w.start()
	w.admission(r.admission)
	w.until("admission refuses what is wrong", func(ctx context.Context) error {
		wrong := w.read("netsuite.yaml")[0].(*v1alpha1.Connector)
		wrong.Spec.Endpoint = "http://erp.example.com" // no marker says that
		err := api.client.Create(ctx, wrong, client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "expected https") {
			return fmt.Errorf("admission is not asked yet: %w", err)
		}
		return nil
	})
	return r
}

func (w *world) until(what string, ask func(ctx context.Context) error) {
	w.t.Helper()
	if err := poll(w.t.Context(), ask); err != nil {
		w.t.Fatalf("%s: not within %v: %v", what, patience, err)
	}
}

// read returns the resources of a file of the demo, in the world's namespace.
func (w *world) read(file string) []client.Object {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "deploy", "demo", file))
	w.must(err)
	var objects []client.Object
	for document := range strings.SplitSeq(string(data), "\n---\n") {
		objects = append(objects, w.parse(document))
	}
	return objects
}

func (w *world) parse(document string) client.Object {
	w.t.Helper()
	var head struct {
		Kind string `json:"kind"`
	}
	w.must(yaml.Unmarshal([]byte(document), &head))
	object := map[string]client.Object{
		"Connector": &v1alpha1.Connector{}, "Flow": &v1alpha1.Flow{}, "StockPool": &v1alpha1.StockPool{}, "NotificationPolicy": &v1alpha1.NotificationPolicy{},
	}[head.Kind]
	if object == nil {
		w.t.Fatalf("no kind in %q", document)
	}
	w.must(yaml.UnmarshalStrict([]byte(document), object))
	object.SetNamespace(w.namespace)
	return object
}

// demo applies the demo, in the order of its files.
func (w *world) demo() {
	w.t.Helper()
	for _, file := range []string{"flow.yaml", "netsuite.yaml", "notify.yaml", "shopify.yaml", "stock.yaml", "twilio.yaml", "wms.yaml"} {
		for _, object := range w.read(file) {
			w.must(api.client.Create(w.t.Context(), object))
		}
	}
}

// names returns what is in the catalog, as Kind/name.
func (w *world) names(ctx context.Context) ([]string, error) {
	resources, err := catalog.Published(ctx, w.bus)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, r := range resources {
		names[r.File] = true
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// connector returns a Connector as it is now.
func (w *world) connector(ctx context.Context, name string) (*v1alpha1.Connector, error) {
	c := &v1alpha1.Connector{}
	return c, api.client.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, c)
}

// unguarded takes away the policy, and what admission says about writing.
func (w *world) unguarded() {
	w.t.Helper()
	for _, object := range w.documents("README.md") {
		switch object.GetKind() {
		case "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration":
			w.must(client.IgnoreNotFound(api.client.Delete(w.t.Context(), object)))
		}
	}
}

// pointAdmission moves the webhooks to another replica, as a Service does.
func (w *world) pointAdmission(address string) {
	w.t.Helper()
	w.until("admission is asked elsewhere", func(ctx context.Context) error {
		var configuration admissionregistrationv1.ValidatingWebhookConfiguration
		if err := api.client.Get(ctx, client.ObjectKey{Name: "peppasync-" + w.namespace}, &configuration); err != nil {
			return err
		}
		url := "https://" + address + operator.AdmissionPath
		for i := range configuration.Webhooks {
			configuration.Webhooks[i].ClientConfig.URL = &url
		}
		return api.client.Update(ctx, &configuration)
	})
}

// metav1Cause is one reason of an API error.
type metav1Cause = metav1.StatusCause

// typed returns a resource as the Go type of its kind.
func typed(t *testing.T, from *unstructured.Unstructured) catalog.Object {
	t.Helper()
	object := map[string]catalog.Object{
		"Connector": &v1alpha1.Connector{}, "Flow": &v1alpha1.Flow{}, "StockPool": &v1alpha1.StockPool{}, "NotificationPolicy": &v1alpha1.NotificationPolicy{},
	}[from.GetKind()]
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(from.Object, object); err != nil {
		t.Fatal(err)
	}
	return object
}

func specOf(object catalog.Object) any {
	switch o := object.(type) {
	case *v1alpha1.Connector:
		return o.Spec
	case *v1alpha1.Flow:
		return o.Spec
	case *v1alpha1.StockPool:
		return o.Spec
	case *v1alpha1.NotificationPolicy:
		return o.Spec
	}
	return nil
}
