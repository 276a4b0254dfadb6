package crd

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	kyaml "sigs.k8s.io/yaml"

	"github.com/peppasync/peppasync/services/internal/catalog"
)

// State says what a definition of a folder is beside that of this release.
type State string

// The states. A definition that lacks something of this release is older, one that has
// what this release has not is newer, and one of which both is so differs.
const (
	Same    State = "Same"
	Older   State = "Older"
	Newer   State = "Newer"
	Differs State = "Differs"
	Missing State = "Missing"
	Unknown State = "Unknown"
)

// Comparison is one definition beside that of this release.
type Comparison struct {
	Name  string `json:"name"`
	File  string `json:"file,omitempty"`
	Line  int    `json:"line,omitempty"`
	State State  `json:"state"`
	// Breaking: applying this release's may have resources refused that are let in
	// now, or drop what they say.
	Breaking bool     `json:"breaking"`
	Changes  []Change `json:"changes,omitempty"`
}

// Differences is what Diff found.
type Differences struct {
	Definitions []Comparison `json:"definitions"`
	Problems    []Problem    `json:"problems,omitempty"`
}

// Same reports whether nothing has to be applied.
func (d Differences) Same() bool {
	return len(d.Problems) == 0 && !slices.ContainsFunc(d.Definitions, func(c Comparison) bool { return c.State != Same })
}

// Diff compares the definitions of a folder, as a repository renders them or a cluster
// prints them, with those of this release. Changes are what applying this release's
// would change.
func (d *Definitions) Diff(path string, stdin io.Reader) Differences {
	documents, _, problems := read(path, stdin)
	found := make(map[string]document)
	parsed := make(map[string]*apiextensionsv1.CustomResourceDefinition)
	for _, document := range documents {
		kind := document.kind()
		if kind.Group != apiextensionsv1.GroupName || kind.Kind != "CustomResourceDefinition" {
			continue
		}
		definition, problem := document.definition()
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		if definition.Spec.Group != group {
			continue
		}
		if first, twice := found[definition.Name]; twice {
			problems = append(problems, catalog.Problem{File: document.file, Line: document.line("metadata.name"), Message: fmt.Sprintf(
				"%s is there twice, first in %s:%d: expected it once", definition.Name, first.file, first.line("metadata.name"))})
			continue
		}
		found[definition.Name], parsed[definition.Name] = document, definition
	}
	result := Differences{}
	for _, ours := range d.definitions {
		theirs, ok := parsed[ours.Name]
		if !ok {
			result.Definitions = append(result.Definitions, Comparison{Name: ours.Name, State: Missing})
			continue
		}
		comparison := compare(theirs, ours)
		comparison.File, comparison.Line = found[ours.Name].file, found[ours.Name].line("metadata.name")
		result.Definitions = append(result.Definitions, comparison)
		delete(parsed, ours.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(parsed)) {
		result.Definitions = append(result.Definitions, Comparison{
			Name: name, File: found[name].file, Line: found[name].line("metadata.name"), State: Unknown,
		})
	}
	result.Problems = sorted(problems)
	return result
}

func (d document) definition() (*apiextensionsv1.CustomResourceDefinition, *catalog.Problem) {
	content, err := kyaml.Marshal(d.value)
	if err == nil {
		var definition *apiextensionsv1.CustomResourceDefinition
		if definition, err = parseDefinition(content); err == nil {
			return definition, nil
		}
	}
	return nil, &catalog.Problem{File: d.file, Line: d.line(""), Message: "this CustomResourceDefinition cannot be read: " + err.Error()}
}

func compare(theirs, ours *apiextensionsv1.CustomResourceDefinition) Comparison {
	c := Comparison{Name: ours.Name, State: Same}
	if reflect.DeepEqual(theirs.Spec, ours.Spec) {
		return c
	}
	c.Changes = changes(theirs, ours)
	lacks, has := false, false
	for _, change := range c.Changes {
		c.Breaking = c.Breaking || change.Breaking
		lacks = lacks || change.What == added
		has = has || change.What == removed
	}
	switch {
	case lacks && !has:
		c.State = Older
	case has && !lacks:
		c.State = Newer
	default:
		c.State = Differs
	}
	return c
}
