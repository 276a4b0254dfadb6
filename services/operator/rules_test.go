package operator_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/catalog/rulestest"
)

// What the API server fills in is what a file loader fills in.
func TestDefaultsAreThoseOfFiles(t *testing.T) {
	t.Parallel()
	namespace := &corev1.Namespace{}
	namespace.GenerateName = "defaults-"
	if err := api.client.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	book := rulestest.Read(t, root)
	for name := range book.Resources {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read := func(from *unstructured.Unstructured) any {
				t.Helper()
				object := typed(t, from)
				object.SetDefaults()
				return specOf(object)
			}
			object := &unstructured.Unstructured{Object: book.Manifest(t, name)}
			object.SetNamespace(namespace.Name)
			want := read(object)
			if err := api.client.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, read(object)); diff != "" {
				t.Errorf("(-by file +by API server):\n%s", diff)
			}
		})
	}
}

// No figure of the status is a float, and no time a number.
func TestSchemaHasNoFloats(t *testing.T) {
	t.Parallel()
	for _, definition := range definitions() {
		var walk func(s *apiextensionsv1.JSONSchemaProps, path string)
		walk = func(s *apiextensionsv1.JSONSchemaProps, path string) {
			if s.Type == "number" {
				t.Errorf("%s%s is a float", definition.Name, path)
			}
			if s.Type == "integer" && regexp.MustCompile(`(?i)(seconds|millis|minutes|duration|timeout)$`).MatchString(path) {
				t.Errorf("%s%s is a time without a unit", definition.Name, path)
			}
			for name, property := range s.Properties {
				if !regexp.MustCompile(`^[a-z][A-Za-z0-9]*$`).MatchString(name) {
					t.Errorf("%s%s.%s is no name of a field", definition.Name, path, name)
				}
				walk(&property, path+"."+name)
			}
			if s.Items != nil && s.Items.Schema != nil {
				if s.XListType == nil && s.Items.Schema.Type == "object" {
					t.Errorf("%s%s is a list of objects, and nothing says how it is merged", definition.Name, path)
				}
				walk(s.Items.Schema, path+"[]")
			}
		}
		schema := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
		walk(schema, "")
		if definition.Spec.Versions[0].Subresources == nil || definition.Spec.Versions[0].Subresources.Status == nil {
			t.Errorf("%s has no status of its own", definition.Name)
		}
	}
}

// The columns of kubectl get connectors, in the order of the figures that matter.
func TestColumns(t *testing.T) {
	t.Parallel()
	for _, definition := range definitions() {
		if definition.Spec.Names.Kind != v1alpha1.KindConnector {
			continue
		}
		var columns []string
		for _, column := range definition.Spec.Versions[0].AdditionalPrinterColumns {
			if column.Priority == 0 {
				columns = append(columns, strings.ToUpper(column.Name))
			}
		}
		if got, want := fmt.Sprint(columns), "[SYSTEM LIMIT PACE QUEUE HELD ETA READY AGE]"; got != want {
			t.Errorf("columns are %s, want %s", got, want)
		}
	}
}
