package catalog

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// maxNodes bounds the values of one document with every alias written out, so
// that a few lines of aliases cannot stand for gigabytes.
const maxNodes = 50_000

// maxProblems bounds what is reported of one document: one that is of another
// kind altogether has a problem in every line, and a search for a near name with
// each.
const maxProblems = 100

// decoder reads the YAML nodes of one document into Go values by their types. It
// is strict: what a type does not have is a problem. It goes on after a problem,
// so that all are found at once.
type decoder struct {
	file     string
	places   map[string]place
	problems Problems
	nodes    int
	// open are the aliases being read, which must not contain themselves.
	open []*yaml.Node
}

// decodeDocument returns nil without a problem for an empty document.
func decodeDocument(file string, document *yaml.Node) (*Resource, Problems) {
	d := &decoder{file: file, places: make(map[string]place)}
	if document.Kind != yaml.DocumentNode || len(document.Content) == 0 {
		return nil, nil
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	d.places[""] = place{line: root.Line}
	root, ok := d.resolve(root, "")
	if !ok {
		return nil, d.problems
	}
	if root.Kind != yaml.MappingNode {
		d.reportf(root, "", "found %s, expected a resource with apiVersion, kind, metadata and spec", describe(root))
		return nil, d.problems
	}
	object := d.header(root)
	if object == nil {
		return nil, d.problems
	}
	d.object(root, object)
	resource := &Resource{Object: object, File: file, places: d.places, broken: len(d.problems) > 0}
	return resource, d.problems
}

// header reads apiVersion and kind, and returns an empty object of that kind.
func (d *decoder) header(root *yaml.Node) Object {
	wanted := v1alpha1.GroupVersion.String()
	version, versionNode := d.headerText(root, "apiVersion", wanted)
	kind, kindNode := d.headerText(root, "kind", choices(kindNames()))
	if versionNode != nil && version != wanted {
		d.reportf(versionNode, "apiVersion", "found %s, expected %s", describe(versionNode), wanted)
		return nil
	}
	if kindNode == nil || versionNode == nil {
		return nil
	}
	object := NewObject(kind)
	if object == nil {
		hint := ""
		if near := nearest(kind, kindNames()); near != "" {
			hint = "; did you mean " + near + "?"
		}
		d.reportf(kindNode, "kind", "found %s, expected %s%s", describe(kindNode), choices(kindNames()), hint)
	}
	return object
}

// headerText returns a nil node where the field is missing, which it reports.
func (d *decoder) headerText(root *yaml.Node, field, expected string) (string, *yaml.Node) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == field {
			value, ok := d.resolve(root.Content[i+1], field)
			if !ok {
				return "", nil
			}
			return value.Value, value
		}
	}
	d.reportf(root, field, "is missing, expected %s", expected)
	return "", nil
}

// object reads metadata and spec. A status, as "kubectl get -o yaml" prints it,
// is another's to write and is left out.
func (d *decoder) object(root *yaml.Node, object Object) {
	spec := reflect.ValueOf(object).Elem().FieldByName("Spec")
	fields := map[string]func(*yaml.Node){
		"apiVersion": func(*yaml.Node) {},
		"kind":       func(*yaml.Node) {},
		"status":     func(*yaml.Node) {},
		"metadata":   func(n *yaml.Node) { d.metadata(n, object) },
		"spec":       func(n *yaml.Node) { d.value(n, "spec", spec, "") },
	}
	d.mapping(root, "", func(name string, value *yaml.Node) bool {
		read, ok := fields[name]
		if ok {
			read(value)
		}
		return ok
	}, []string{"apiVersion", "kind", "metadata", "spec"}, map[string]string{
		"metadata": "{name: ...}",
		"spec":     "a map with " + strings.Join(jsonNames(spec.Type()), ", "),
	})
}

// metadata reads name and namespace, labels and annotations; what an API server
// adds to them is left out.
func (d *decoder) metadata(node *yaml.Node, object Object) {
	node, ok := d.resolve(node, "metadata")
	if !ok {
		return
	}
	if node.Kind != yaml.MappingNode {
		d.reportf(node, "metadata", "found %s, expected {name: ...}", describe(node))
		return
	}
	var meta struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace,omitempty"`
		Labels      map[string]string `json:"labels,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	served := jsonNames(reflect.TypeFor[metav1.ObjectMeta]())
	fields := fieldsOf(reflect.ValueOf(&meta).Elem())
	d.mapping(node, "metadata", func(name string, value *yaml.Node) bool {
		for _, field := range fields {
			if field.name == name {
				d.value(value, "metadata."+name, field.value, "")
				return true
			}
		}
		return slices.Contains(served, name)
	}, []string{"name", "namespace", "labels", "annotations"}, map[string]string{
		"name": "a name of lower-case letters, digits and -, such as netsuite",
	})
	object.SetName(meta.Name)
	object.SetNamespace(meta.Namespace)
	object.SetLabels(meta.Labels)
	object.SetAnnotations(meta.Annotations)
}

// mapping calls read for every key of a mapping; read returns false for a key
// that does not exist. It reports unknown, doubled and missing keys; required
// says what is expected of those that may not be missing.
func (d *decoder) mapping(node *yaml.Node, path string, read func(string, *yaml.Node) bool, known []string, required map[string]string) {
	seen := make(map[string]int, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content) && !d.full(); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.reportf(key, path, "found %s as a key, expected a field: %s", describe(key), choices(known))
			continue
		}
		if key.Tag == "!!merge" {
			d.reportf(key, path, "merge keys (<<) cannot be used here, expected the fields themselves")
			continue
		}
		field := join(path, key.Value)
		if first, ok := seen[key.Value]; ok {
			d.reportf(key, field, "is written twice, first in line %d: expected it once", first)
			continue
		}
		seen[key.Value] = key.Line
		d.places[field] = placeOf(key, value)
		// null is how YAML says "not written"; the API server drops it too.
		if wanted, ok := required[key.Value]; ok && value.Kind == yaml.ScalarNode && value.Tag == "!!null" {
			d.reportf(key, field, "found nothing, expected %s", wanted)
			continue
		}
		if !read(key.Value, value) {
			d.unknown(key, path, known)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(required)) {
		if _, ok := seen[name]; !ok {
			d.reportf(node, join(path, name), "is missing, expected %s", required[name])
		}
	}
}

func (d *decoder) unknown(key *yaml.Node, path string, known []string) {
	hint := ""
	if near := nearest(key.Value, known); near != "" {
		hint = "; did you mean " + near + "?"
	}
	where := "there is no such field"
	if path != "" {
		where += " in " + path
	}
	d.reportf(key, join(path, shorten(key.Value)), "%s, expected %s%s", where, choices(known), hint)
}

// resolve follows an alias and counts what is read; false where it was refused.
func (d *decoder) resolve(node *yaml.Node, path string) (*yaml.Node, bool) {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.reportf(node, path, "found more than %d values with all aliases written out, expected fewer", maxNodes)
		}
		return nil, false
	}
	if node.Kind != yaml.AliasNode {
		return node, true
	}
	if node.Alias == nil || slices.Contains(d.open, node.Alias) {
		d.reportf(node, path, "found an alias that contains itself, expected the value")
		return nil, false
	}
	return node.Alias, true
}

func (d *decoder) full() bool { return len(d.problems) > maxProblems }

func (d *decoder) reportf(node *yaml.Node, field, format string, arguments ...any) {
	if d.full() {
		return
	}
	if len(d.problems) == maxProblems {
		field, format, arguments = "", "more problems follow in this resource, mend those above first", nil
	}
	d.problems = append(d.problems, Problem{File: d.file, Line: node.Line, Field: field, Message: fmt.Sprintf(format, arguments...)})
}

func placeOf(key, value *yaml.Node) place {
	if value.Kind == yaml.ScalarNode {
		return place{line: value.Line, block: value.Style&yaml.LiteralStyle != 0}
	}
	return place{line: key.Line}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// describe says what a node is. What is inside a list or map is never repeated:
// a secret may have been pasted there.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch node.Tag {
	case "!!null":
		return "nothing"
	case "!!str":
		return fmt.Sprintf("%q", shorten(node.Value))
	}
	return shorten(node.Value)
}

func shorten(text string) string {
	const longest = 60
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "..."
}
