package operator_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/peppasync/peppasync/services/internal/catalog/rulestest"
)

// mutant is a resource with one value taken away, or changed into what nobody would write.
type mutant struct {
	resource, change string
	manifest         map[string]any
}

// mutants changes each value of a resource's spec, one at a time.
func mutants(t *testing.T, book rulestest.Book, resource string) []mutant {
	t.Helper()
	var all []mutant
	add := func(path string, value any) {
		manifest := book.Manifest(t, resource, map[string]any{path: value})
		all = append(all, mutant{resource, fmt.Sprintf("%s=%v", path, value), manifest})
	}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		for _, odd := range []any{"", "x", int64(-1), int64(1) << 40, true, []any{}, map[string]any{}, map[string]any{"unknown": "x"}} {
			add(path, odd)
		}
		switch value := value.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(value)) {
				add(path+"."+name, nil)
				walk(path+"."+name, value[name])
			}
		case []any:
			add(path, append(slices.Clone(value), runtime.DeepCopyJSONValue(value[0])))
			add(path, append(slices.Clone(value), nil))
			for i, inner := range value {
				walk(fmt.Sprintf("%s.%d", path, i), inner)
			}
		case string:
			add(path, value+" ")
			add(path, strings.ToUpper(value))
			add(path, strings.Repeat("x", 20000))
		}
	}
	walk("spec", book.Resources[resource]["spec"])
	return all
}

// "peppasync crd validate" lets nothing through that a cluster refuses, nor refuses what it
// takes: asked about every resource of the file with every value of it spoiled.
func TestOfflineAndClusterAgree(t *testing.T) {
	t.Parallel()
	book := rulestest.Read(t, root)
	w := newWorld(t)
	w.admitted()
	names := slices.Sorted(maps.Keys(book.Resources))
	var all []mutant
	for _, name := range names {
		w.must(api.client.Create(t.Context(), w.object(book.Manifest(t, name))))
		all = append(all, mutants(t, book, name)...)
	}
	refused := offline(t, book, all)
	taken := 0
	for i, m := range all {
		object := w.object(m.manifest)
		err := strictly(t.Context(), object)
		if err == nil {
			t.Fatalf("%s %s: it is there already, and can be created", m.resource, m.change)
		}
		if strings.Contains(err.Error(), "already exists") {
			// The API server takes it by itself; a change of it asks the operator, too.
			err = w.change(t.Context(), object)
		}
		if err == nil {
			taken++
		}
		if said := refused[i]; (err != nil) != (len(said) > 0) {
			t.Errorf("%s %s: the cluster says %v, and offline it is %q", m.resource, m.change, err, said)
		}
	}
	t.Logf("%d changes, %d of them are taken", len(all), taken)
}

// early is said of what is not there yet: in a cluster, where one is applied after the other,
// that is a warning. What cannot be a name is refused there, too.
var early = regexp.MustCompile(`^there is no Connector "[^"]{1,60}",`)

// offline asks the program about each mutant beside the other resources, all at once: each
// has a namespace of its own.
func offline(t *testing.T, book rulestest.Book, all []mutant) map[int][]string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "peppasync")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../peppasync").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	folder := t.TempDir()
	for i, m := range all {
		items := []any{runtime.DeepCopyJSON(m.manifest)}
		for name := range book.Resources {
			if name != m.resource {
				items = append(items, book.Manifest(t, name))
			}
		}
		for _, item := range items {
			item.(map[string]any)["metadata"].(map[string]any)["namespace"] = fmt.Sprintf("n%d", i)
		}
		data, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.yaml", i)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// It ends with 1, because there are problems.
	out, err := exec.CommandContext(t.Context(), program, "crd", "validate", "-f", folder, "-o", "json").Output()
	var report struct {
		Problems []struct {
			File, Field, Message string
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	if err == nil || len(report.Problems) == 0 {
		t.Fatalf("it ends with %v and %d problems", err, len(report.Problems))
	}
	said := map[int][]string{}
	for _, p := range report.Problems {
		var i int
		if _, err := fmt.Sscanf(filepath.Base(p.File), "%d.yaml", &i); err != nil {
			t.Fatalf("%q is no file of this test: %v", p.File, err)
		}
		if !early.MatchString(p.Message) {
			said[i] = append(said[i], p.Field+": "+p.Message)
		}
	}
	return said
}
