package crd_test

import (
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog/rulestest"
)

// The verdict on each case is that of the API server and the operator, whose own tests play
// the same cases, and so is the sentence but where the file says another.
func TestValidateAsTheAPIServer(t *testing.T) {
	t.Parallel()
	book := rulestest.Read(t, filepath.Join("..", "..", "..", ".."))
	definitions := load(t)
	for i := range book.Cases {
		c := &book.Cases[i]
		if c.Transition() {
			continue // what was before is in no folder
		}
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"changed.yaml": manifest(t, book.Manifest(t, c.Resource, c.Set))}
			for name := range book.Resources {
				if name != c.Resource { // what it names is there
					files[name+".yaml"] = manifest(t, book.Manifest(t, name))
				}
			}
			report := definitions.Validate(t.Context(), folder(t, files), nil, systems.Set())
			want := c.Refused
			if c.Offline != "" {
				want = c.Offline
			}
			said := want == ""
			for _, problem := range report.Problems {
				if filepath.Base(problem.File) != "changed.yaml" && want == "" {
					t.Errorf("%s is refused: %s: %s", filepath.Base(problem.File), problem.Field, problem.Message)
				}
				said = said || strings.Contains(problem.Message, want)
			}
			if !said || want == "" && len(report.Problems) > 0 {
				t.Errorf("want %q, found %+v", want, report.Problems)
			}
		})
	}
}

func manifest(t *testing.T, object map[string]any) string {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
