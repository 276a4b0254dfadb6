package crd_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	crdfiles "github.com/peppasync/peppasync/services/api/crd"
	"github.com/peppasync/peppasync/services/peppasync/internal/crd"
)

// shipped returns the definitions of this release as files.
func shipped(t *testing.T) map[string]string {
	t.Helper()
	files := make(map[string]string)
	names, err := fs.Glob(crdfiles.Files, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := fs.ReadFile(crdfiles.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(content)
	}
	return files
}

const flows = "peppasync.io_flows.yaml"

func TestDiff(t *testing.T) {
	replace := func(old, next string) func(map[string]string) {
		return func(files map[string]string) {
			if !strings.Contains(files[flows], old) {
				t.Fatalf("%s has no %q", flows, old)
			}
			files[flows] = strings.Replace(files[flows], old, next, 1)
		}
	}
	for name, test := range map[string]struct {
		change func(map[string]string)
		state  crd.State
		want   []crd.Change
	}{
		"the same":               {func(map[string]string) {}, crd.Same, nil},
		"as a cluster prints it": {replace("spec:\n  group", "status: {storedVersions: [v1alpha1]}\nspec:\n  conversion: {strategy: None}\n  group"), crd.Same, nil},
		"not there":              {func(files map[string]string) { delete(files, flows) }, crd.Missing, nil},
		"a field that this one has": {replace("                    lane:\n", "                    lanes:\n"), crd.Differs, []crd.Change{
			{Field: "spec.deliver[].lanes", What: "removed", Detail: "what a resource says of it is refused", Breaking: true},
			{Field: "spec.deliver[].lane", What: "added"},
		}},
		"a bound that this one tightens": {replace("maxItems: 32", "maxItems: 64"), crd.Differs, nil},
		"a rule that is new here":        {replace("the name of a Flow is", "the name of a Flow was"), crd.Differs, nil},
	} {
		t.Run(name, func(t *testing.T) {
			files := shipped(t)
			test.change(files)
			found := load(t).Diff(folder(t, files), nil)
			if len(found.Problems) > 0 {
				t.Fatal(found.Problems)
			}
			if found.Same() != (test.state == crd.Same) {
				t.Errorf("the same: %v", found.Same())
			}
			for _, definition := range found.Definitions {
				want := crd.Same
				if definition.Name == "flows.peppasync.io" {
					want = test.state
				}
				if definition.State != want {
					t.Errorf("%s is %s, want %s: %v", definition.Name, definition.State, want, definition.Changes)
				}
				if definition.Name == "flows.peppasync.io" && test.want != nil {
					if diff := cmp.Diff(test.want, definition.Changes); diff != "" {
						t.Errorf("changes (-want +got):\n%s", diff)
					}
				}
			}
		})
	}
}

func TestDiffSaysWhatBreaks(t *testing.T) {
	const before = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: flows.peppasync.io}
spec:
  group: peppasync.io
  names: {kind: Flow, plural: flows, singular: flow, listKind: FlowList}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [from]
            properties:
              from: {type: array, maxItems: 4, items: {type: string}}
              count: {type: integer, minimum: 0, maximum: 5}
              mode: {type: string, enum: [A, B]}
              old: {type: string}
              kind: {type: string}
`
	after := strings.NewReplacer(
		"required: [from]", "required: [from, count]",
		"maxItems: 4", "maxItems: 8",
		"minimum: 0", "minimum: 1", "maximum: 5", "maximum: 9",
		"[A, B]", "[B, C]",
		"              old: {type: string}\n", "",
		"kind: {type: string}\n", "kind: {type: integer}\n              fresh: {type: string, default: x}\n",
	).Replace(before)
	releases, err := crd.Load(fstest.MapFS{"flows.yaml": {Data: []byte(after)}})
	if err != nil {
		t.Fatal(err)
	}
	found := releases.Diff(folder(t, map[string]string{"a.yaml": before, "gone.yaml": strings.ReplaceAll(before, "flows.", "streams.")}), nil)
	if len(found.Definitions) != 2 || found.Definitions[1].State != crd.Unknown {
		t.Fatalf("found %+v", found.Definitions)
	}
	want := []crd.Change{
		{Field: "spec.count", What: "narrowed", Detail: "needed from now on", Breaking: true},
		{Field: "spec.count", What: "narrowed", Detail: "minimum 1", Breaking: true},
		{Field: "spec.count", What: "widened", Detail: "maximum 9"},
		{Field: "spec.from", What: "widened", Detail: "maxItems 8"},
		{Field: "spec.kind", What: "changed", Detail: "from string to integer", Breaking: true},
		{Field: "spec.mode", What: "narrowed", Detail: `not "A" any more`, Breaking: true},
		{Field: "spec.mode", What: "widened", Detail: `"C" too`},
		{Field: "spec.old", What: "removed", Detail: "what a resource says of it is refused", Breaking: true},
		{Field: "spec.fresh", What: "added"},
	}
	if diff := cmp.Diff(want, found.Definitions[0].Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if !found.Definitions[0].Breaking || found.Definitions[0].State != crd.Differs {
		t.Errorf("it is %s, breaking: %v", found.Definitions[0].State, found.Definitions[0].Breaking)
	}
}
