package crd

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/json"
	"pgregory.net/rapid"

	crdfiles "github.com/peppasync/peppasync/services/api/crd"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/catalog/rulestest"
)

var repository = filepath.Join("..", "..", "..", "..")

// checker is what both tests below need of testing.T.
type checker interface {
	Helper()
	Context() context.Context
	Fatalf(format string, arguments ...any)
}

// converted takes manifests both ways: those that the definitions let in as an API server
// keeps them and the operator reads them, and the same text as the file loader reads it.
// What comes of either is a catalog or problems in words, and it is the same catalog.
// It reports whether there was one.
func converted(t checker, definitions *Definitions, documents []document) bool {
	t.Helper()
	var cluster, files []catalog.Resource
	for _, d := range documents {
		admitter := definitions.admitters[d.kind()]
		if admitter == nil {
			continue
		}
		kept, _ := admitter.filled(d)
		name := kept.GetKind() + "/" + kept.GetName()
		double := slices.ContainsFunc(cluster, func(r catalog.Resource) bool { return r.File == name })
		if problems := admitter.admit(t.Context(), d); double || len(problems) > 0 {
			continue
		}
		object := catalog.NewObject(kept.GetKind())
		decode(t, kept.Object, object)
		cluster = append(cluster, catalog.Resource{Object: object, File: name})

		sent := maps.Clone(d.value)
		metadata, _ := sent["metadata"].(map[string]any)
		metadata = maps.Clone(metadata)
		metadata["namespace"] = kept.GetNamespace()
		sent["metadata"] = metadata
		var node yaml.Node
		if err := yaml.Unmarshal(text(t, sent), &node); err != nil {
			return false // JSON may hold control characters, YAML may not
		}
		resource, problems := catalog.DecodeDocument(name, &node)
		if len(problems) > 0 {
			t.Fatalf("the definitions let in what no file may say: %v", problems)
		}
		files = append(files, *resource)
	}
	snapshot, problems := catalog.Compile(cluster, systems.Set())
	if (snapshot == nil) != (len(problems) > 0) {
		t.Fatalf("a catalog: %v, and problems: %v", snapshot != nil, problems)
	}
	worded(t, problems)
	byFile, more := catalog.Compile(files, systems.Set())
	if (byFile == nil) != (snapshot == nil) {
		t.Fatalf("from the cluster: %v\nfrom a file: %v", problems, more)
	}
	if snapshot == nil {
		return false
	}
	one, err := catalog.Encode(cluster)
	if err != nil {
		t.Fatalf("from the cluster: %v", err)
	}
	other, err := catalog.Encode(files)
	if err != nil || !bytes.Equal(one, other) {
		t.Fatalf("error %v, from the cluster\n%s\nfrom a file\n%s", err, one, other)
	}
	return true
}

func worded(t checker, problems catalog.Problems) {
	t.Helper()
	for _, problem := range problems {
		if text := problem.Error(); problem.Message == "" || strings.ContainsAny(text, "\n\r") || len(text) > 4<<10 {
			t.Fatalf("the problem does not fit into a line: %q", text)
		}
	}
}

func text(t checker, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatalf("%v: %v", value, err)
	}
	return data
}

// decode reads as the operator's cache does: an object that it cannot read stops all of that kind.
func decode(t checker, value any, into catalog.Object) {
	t.Helper()
	if err := json.Unmarshal(text(t, value), into); err != nil {
		t.Fatalf("the definitions let in what the operator cannot read: %v: %s", err, text(t, value))
	}
}

// change is one of a case, or something odd at some place of the spec.
func change(t *rapid.T, book rulestest.Book, name string, manifest map[string]any) map[string]any {
	var ofCases []map[string]any
	for i := range book.Cases {
		if c := &book.Cases[i]; c.Resource == name && c.Set != nil {
			ofCases = append(ofCases, c.Set)
		}
	}
	if rapid.Bool().Draw(t, "of a case") {
		return rapid.SampledFrom(ofCases).Draw(t, "set")
	}
	var paths []string
	var walk func(path string, value any)
	walk = func(path string, value any) {
		paths = append(paths, path)
		switch value := value.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(value)) {
				walk(path+"."+key, value[key])
			}
		case []any:
			for i, inner := range value {
				walk(fmt.Sprintf("%s.%d", path, i), inner)
			}
		}
	}
	walk("spec", manifest["spec"])
	odd := rapid.OneOf(
		rapid.Just[any](nil), rapid.Just[any](true), rapid.Just[any](map[string]any{}), rapid.Just[any]([]any{}), rapid.Just[any]([]any{nil}),
		rapid.Map(rapid.Int64Range(-2, 1<<40), func(i int64) any { return i }),
		rapid.Map(rapid.SampledFrom([]string{"", "0s", "1h0m0s", "90m", "1e3s", ".5h", "1_0", "5%", "on", "null", "~", "2027-01-01", "a\u2028b", "{externalId}"}), func(s string) any { return s }),
		rapid.Map(rapid.String(), func(s string) any { return s }),
	).Draw(t, "odd")
	return map[string]any{rapid.SampledFrom(paths).Draw(t, "path"): odd}
}

// The same resources give the same catalog, whether the operator reads them from a cluster or
// a program from a file.
func TestConversionsAreOne(t *testing.T) {
	t.Parallel()
	book := rulestest.Read(t, repository)
	definitions, err := Load(crdfiles.Files)
	if err != nil {
		t.Fatal(err)
	}
	catalogs := 0
	rapid.Check(t, func(t *rapid.T) {
		var documents []document
		changed := rapid.SliceOfNDistinct(rapid.SampledFrom(slices.Sorted(maps.Keys(book.Resources))), 1, 3, rapid.ID[string]).Draw(t, "changed")
		for _, name := range slices.Sorted(maps.Keys(book.Resources)) {
			manifest := book.Manifest(t, name)
			if slices.Contains(changed, name) {
				for range rapid.IntRange(1, 3).Draw(t, "changes") {
					next, err := rulestest.Change(manifest, change(t, book, name, manifest))
					if err != nil {
						t.Skip("it is about what another took away")
					}
					manifest = next
				}
			}
			documents = append(documents, document{file: name, node: &yaml.Node{Kind: yaml.DocumentNode}, value: manifest})
		}
		if converted(t, definitions, documents) {
			catalogs++
		}
	})
	if catalogs == 0 {
		t.Error("no catalog came of anything")
	}
}

// FuzzConversion: whatever a definition lets in becomes a catalog, or there are problems in
// words; and it is what a file would become.
func FuzzConversion(f *testing.F) {
	definitions, err := Load(crdfiles.Files)
	if err != nil {
		f.Fatal(err)
	}
	for _, pattern := range []string{"deploy/demo/*.yaml", "deploy/examples/*.yaml", "services/internal/catalog/testdata/whole/*.yaml"} {
		paths, err := filepath.Glob(filepath.Join(repository, filepath.FromSlash(pattern)))
		if err != nil || len(paths) == 0 {
			f.Fatalf("%s: %d files, error %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	book := rulestest.Read(f, repository)
	for name := range book.Resources {
		f.Add(text(f, book.Manifest(f, name)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		documents, problems := split("a.yaml", data)
		if len(problems) > 0 || len(documents) > 16 {
			return
		}
		converted(t, definitions, documents)
	})
}
