// Package rulestest reads the cases of services/api/crd/testdata/rules.yaml, by which
// each judge of resources is tested: the API server with the operator behind it, and
// "peppasync crd validate" without a cluster.
package rulestest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// Book is the file: resources that are taken, and what becomes of each change of one.
type Book struct {
	// Resources are manifests by name, with apiVersion and metadata.name, without a namespace.
	Resources map[string]map[string]any `json:"resources"`
	Cases     []Case                    `json:"cases"`
}

// Case is one change of one resource, and what is said to it.
type Case struct {
	// Resource is the name of what is changed, and Set what: paths of keys and indices, and
	// what comes there; nil removes it.
	Resource string         `json:"resource"`
	Set      map[string]any `json:"set"`
	// Then is what an update sets once it is there.
	Then map[string]any `json:"then"`
	// Delete: it is deleted once it is there and has this status.
	Delete bool           `json:"delete"`
	Status map[string]any `json:"status"`
	// Refused is a part of the refusal, empty for what is taken.
	Refused string `json:"refused"`
	// By is "operator" where the API server by itself takes it, and its webhook does not.
	By string `json:"by"`
	// Offline is what "crd validate" says where that is another sentence.
	Offline string `json:"offline"`
}

// Transition reports whether it is about more than the resource as it is created.
func (c *Case) Transition() bool { return c.Then != nil || c.Delete }

// Name says which case it is.
func (c *Case) Name() string {
	name := []string{c.Resource}
	for _, change := range []map[string]any{c.Set, c.Then, c.Status} {
		for _, path := range slices.Sorted(maps.Keys(change)) {
			name = append(name, fmt.Sprintf("%s=%v", path, change[path]))
		}
	}
	return strings.Join(name, " ")
}

// Read reads the file; root is the folder of the repository.
func Read(t testing.TB, root string) Book {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "services", "api", "crd", "testdata", "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	sent, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		t.Fatal(err)
	}
	var book Book
	// Whole numbers stay whole, as in what kubectl sends.
	wrong, err := kjson.UnmarshalStrict(sent, &book)
	if err = errors.Join(append(wrong, err)...); err != nil {
		t.Fatal(err)
	}
	for name, manifest := range book.Resources {
		manifest["apiVersion"] = v1alpha1.GroupVersion.String()
		manifest["metadata"] = map[string]any{"name": name}
	}
	for i := range book.Cases {
		if book.Resources[book.Cases[i].Resource] == nil {
			t.Fatalf("case %d is about no resource of the file: %q", i, book.Cases[i].Resource)
		}
	}
	if len(book.Cases) == 0 {
		t.Fatal("there is no case")
	}
	return book
}

// Manifest returns a copy of a resource with changes made, one after the other.
func (b Book) Manifest(t interface {
	Helper()
	Fatalf(format string, arguments ...any)
}, name string, changes ...map[string]any) map[string]any {
	t.Helper()
	manifest := runtime.DeepCopyJSON(b.Resources[name])
	for _, change := range changes {
		var err error
		if manifest, err = Change(manifest, change); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return manifest
}

// Change returns a copy of a manifest with values set; an error where there is no such place.
func Change(manifest, set map[string]any) (map[string]any, error) {
	changed := runtime.DeepCopyJSON(manifest)
	for _, path := range slices.Sorted(maps.Keys(set)) {
		if err := put(changed, strings.Split(path, "."), set[path]); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return changed, nil
}

// put sets or removes what is at a path of keys and indices.
func put(in any, path []string, value any) error {
	step, last := path[0], len(path) == 1
	switch container := in.(type) {
	case map[string]any:
		switch {
		case last && value == nil:
			delete(container, step)
			return nil
		case last:
			container[step] = runtime.DeepCopyJSONValue(value)
			return nil
		case container[step] == nil:
			return fmt.Errorf("there is no %s to change", step)
		}
		return put(container[step], path[1:], value)
	case []any:
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(container) {
			return fmt.Errorf("there is no element %s", step)
		}
		if last {
			container[i] = runtime.DeepCopyJSONValue(value)
			return nil
		}
		return put(container[i], path[1:], value)
	}
	return fmt.Errorf("%v has no %s", in, step)
}
