package operator_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/peppasync/peppasync/services/internal/catalog/rulestest"
)

var root = filepath.Join("..", "..")

// Each case of services/api/crd/testdata/rules.yaml, said to an API server with the policy
// beside it, and then to one with the operator's webhook too.
func TestCases(t *testing.T) { //nolint:tparallel // the cases share one namespace, and strike rules off one list
	t.Parallel()
	book := rulestest.Read(t, root)
	w := newWorld(t)
	w.enforced(book)
	unbroken, unpassed := ruleList(), ruleList()
	held, released := false, false
	for name := range book.Resources {
		unpassed = passed(unpassed, book.Manifest(t, name))
	}
	for i := range book.Cases {
		c := &book.Cases[i]
		t.Run(c.Name(), func(t *testing.T) {
			err := w.say(t, book, c)
			switch {
			case c.Refused == "" || c.By != "":
				if err != nil {
					t.Fatalf("the API server refuses it: %v", err)
				}
				unpassed = passed(unpassed, book.Manifest(t, c.Resource, c.Set))
			case err == nil || !strings.Contains(err.Error(), c.Refused):
				t.Fatalf("got %v, want it refused with %q", err, c.Refused)
			}
			held = held || c.Delete && err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy")
			released = released || c.Delete && err == nil
			kind, _ := book.Resources[c.Resource]["kind"].(string)
			unbroken = slices.DeleteFunc(unbroken, func(r rule) bool { return r.broke(kind, err) })
		})
	}
	for _, r := range unbroken {
		t.Errorf("no case breaks the rule of %s%s: %s", r.kind, r.path, r.message)
	}
	for _, r := range unpassed {
		t.Errorf("no case is let pass by the rule of %s%s: %s", r.kind, r.path, r.message)
	}
	if policies := w.validations(); len(policies) != 1 || !held || !released {
		t.Errorf("a case that the policy refuses: %v, and one that it lets pass: %v; each of its %d rules needs both", held, released, len(policies))
	}

	w.admitted()
	for _, name := range slices.Sorted(maps.Keys(book.Resources)) {
		w.must(api.client.Create(t.Context(), w.object(book.Manifest(t, name))))
	}
	for i := range book.Cases {
		c := &book.Cases[i]
		if c.Transition() || c.Refused != "" && c.By == "" {
			continue // said above
		}
		t.Run("operator: "+c.Name(), func(t *testing.T) {
			err := w.change(t.Context(), w.object(book.Manifest(t, c.Resource, c.Set)))
			if c.Refused == "" && err != nil || c.Refused != "" && (err == nil || !strings.Contains(err.Error(), c.Refused)) {
				t.Errorf("got %v, want %q", err, c.Refused)
			}
		})
	}
}

// say plays a case to the API server, and leaves nothing behind.
func (w *world) say(t *testing.T, book rulestest.Book, c *rulestest.Case) error {
	t.Helper()
	object := w.object(book.Manifest(t, c.Resource, c.Set))
	if !c.Transition() {
		return strictly(t.Context(), object)
	}
	if err := api.client.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	remove := object.DeepCopy()
	defer func() {
		remove.Object["status"] = map[string]any{}
		_ = api.client.Status().Update(t.Context(), remove)
		if err := client.IgnoreNotFound(api.client.Delete(t.Context(), remove)); err != nil {
			t.Errorf("it cannot be taken away: %v", err)
		}
	}()
	if !c.Delete {
		changed := w.object(book.Manifest(t, c.Resource, c.Set, c.Then))
		changed.SetResourceVersion(object.GetResourceVersion())
		return client.WithFieldValidation(api.client, "Strict").Update(t.Context(), changed, client.DryRunAll)
	}
	if c.Status != nil {
		object.Object["status"] = runtime.DeepCopyJSON(c.Status)
		if err := api.client.Status().Update(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		remove.SetResourceVersion(object.GetResourceVersion())
	}
	return api.client.Delete(t.Context(), object, client.DryRunAll)
}

// change says an update of what is there, without keeping it; again, where the operator wrote
// its status or finalizer meanwhile.
func (w *world) change(ctx context.Context, object *unstructured.Unstructured) error {
	for {
		there := &unstructured.Unstructured{}
		there.SetGroupVersionKind(object.GroupVersionKind())
		if err := api.client.Get(ctx, client.ObjectKeyFromObject(object), there); err != nil {
			return err
		}
		changed := object.DeepCopy()
		changed.SetResourceVersion(there.GetResourceVersion())
		changed.SetFinalizers(there.GetFinalizers())
		err := client.WithFieldValidation(api.client, "Strict").Update(ctx, changed, client.DryRunAll)
		if !apierrors.IsConflict(err) {
			return err
		}
	}
}

func (w *world) object(manifest map[string]any) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: manifest}
	object.SetNamespace(w.namespace)
	return object
}

// enforced waits until the policy is asked, which a new one is not at once.
func (w *world) enforced(book rulestest.Book) {
	w.t.Helper()
	owed := rulestest.Case{Resource: "erp", Set: map[string]any{"metadata.name": "owed"}, Delete: true, Status: map[string]any{"undelivered": int64(1)}}
	w.until("the policy holds a Connector", func(context.Context) error {
		if err := w.say(w.t, book, &owed); err == nil {
			return errors.New("it can be deleted")
		}
		return nil
	})
}

// validations are the rules of the policies that README.md shows.
func (w *world) validations() []admissionregistrationv1.Validation {
	w.t.Helper()
	var all []admissionregistrationv1.Validation
	for _, document := range w.documents("README.md") {
		if document.GetKind() != "ValidatingAdmissionPolicy" {
			continue
		}
		policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		w.must(runtime.DefaultUnstructuredConverter.FromUnstructured(document.Object, policy))
		all = append(all, policy.Spec.Validations...)
	}
	return all
}

// passed takes from a list the rules that a resource, which is taken, was judged by: those
// of a place that it has.
func passed(rules []rule, manifest map[string]any) []rule {
	for _, definition := range definitions() {
		if definition.Spec.Names.Kind != manifest["kind"] {
			continue
		}
		judged := map[string]bool{}
		var walk func(s *apiextensionsv1.JSONSchemaProps, path string, value any)
		walk = func(s *apiextensionsv1.JSONSchemaProps, path string, value any) {
			judged[path] = true
			switch value := value.(type) {
			case map[string]any:
				for name, inner := range value {
					if property, ok := s.Properties[name]; ok {
						walk(&property, path+"."+name, inner)
					}
				}
			case []any:
				for _, inner := range value {
					walk(s.Items.Schema, path+"[]", inner)
				}
			}
		}
		walk(definition.Spec.Versions[0].Schema.OpenAPIV3Schema, "", manifest)
		rules = slices.DeleteFunc(rules, func(r rule) bool { return r.kind == manifest["kind"] && judged[r.path] })
	}
	return rules
}

// strictly applies without keeping, and refuses unknown fields, as kubectl does.
func strictly(ctx context.Context, object *unstructured.Unstructured) error {
	return client.WithFieldValidation(api.client, "Strict").Create(ctx, object.DeepCopy(), client.DryRunAll)
}

// rule is one of x-kubernetes-validations.
type rule struct{ kind, path, message string }

func ruleList() []rule {
	var all []rule
	for _, definition := range definitions() {
		var walk func(s *apiextensionsv1.JSONSchemaProps, path string)
		walk = func(s *apiextensionsv1.JSONSchemaProps, path string) {
			for _, r := range s.XValidations {
				all = append(all, rule{definition.Spec.Names.Kind, path, r.Message})
			}
			for name, property := range s.Properties {
				walk(&property, path+"."+name)
			}
			if s.Items != nil && s.Items.Schema != nil {
				walk(s.Items.Schema, path+"[]")
			}
		}
		walk(definition.Spec.Versions[0].Schema.OpenAPIV3Schema, "")
	}
	return all
}

var index = regexp.MustCompile(`\[[^\]]*\]`)

// broke reports whether an error is of this rule.
func (r rule) broke(kind string, err error) bool {
	var status apierrors.APIStatus
	if kind != r.kind || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1Cause) bool {
		return strings.TrimPrefix(index.ReplaceAllString(c.Field, "[]"), "<nil>") == strings.TrimPrefix(r.path, ".") && strings.Contains(c.Message, r.message)
	})
}
