package crd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	kyaml "sigs.k8s.io/yaml"

	"github.com/peppasync/peppasync/services/internal/catalog"
)

// maxFile is above what a file of manifests is, and below what fills the memory of a
// pipeline's machine.
const maxFile = 16 << 20

// document is one manifest.
type document struct {
	file string
	// node is the text with its lines, and value what kubectl would send of it.
	node  *yaml.Node
	value map[string]any
}

func (d document) text(field string) string {
	text, _ := d.value[field].(string)
	return text
}

func (d document) kind() schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(d.text("apiVersion"), d.text("kind"))
}

// read reads the manifests of a folder and of those below it, of one file, or of the
// standard input where path is "-". What cannot be read as YAML is a problem: it would
// not be applied either.
func read(path string, stdin io.Reader) (documents []document, files int, problems []catalog.Problem) {
	take := func(name string, data []byte, err error) {
		files++
		if err == nil && len(data) > maxFile {
			err = fmt.Errorf("it has more than %d bytes, expected fewer: split it", maxFile)
		}
		if err != nil {
			problems = append(problems, catalog.Problem{File: name, Message: "cannot be read: " + err.Error()})
			return
		}
		found, more := split(name, data)
		documents, problems = append(documents, found...), append(problems, more...)
	}
	if path == "-" {
		data, err := io.ReadAll(io.LimitReader(stdin, maxFile+1))
		take("stdin", data, err)
		return documents, files, problems
	}
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != path && strings.HasPrefix(entry.Name(), "."):
			// .git, and the folders in which a ConfigMap keeps what it mounts.
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir() || name != path && !manifest(entry.Name()):
			return nil
		}
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
			return err // to open a named pipe waits for who writes to it
		}
		data, err := os.ReadFile(name) //nolint:gosec // who may write to the folder may as well write the manifests
		take(name, data, err)
		return nil
	})
	if err != nil {
		problems = append(problems, catalog.Problem{File: path, Message: fmt.Sprintf("cannot be read (%v), expected a folder or a file of manifests", err)})
	}
	return documents, files, problems
}

func manifest(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// separator is a line between two documents, as kubectl knows it.
var separator = regexp.MustCompile(`(?m)^---`)

// split reads the documents of one file. A list, as kubectl prints it, counts as what
// is in it.
func split(file string, data []byte) ([]document, []catalog.Problem) {
	var documents []document
	var problems []catalog.Problem
	start, line := 0, 0
	ends := separator.FindAllIndex(data, -1)
	ends = append(ends, []int{len(data), len(data)})
	for _, end := range ends {
		part := data[start:end[0]]
		found, problem := parse(file, part, line)
		if problem != nil {
			// A chart's template has one in nearly every document: one line is enough.
			return documents, append(problems, *problem)
		}
		documents = append(documents, found...)
		line += bytes.Count(data[start:end[1]], []byte("\n"))
		start = end[1]
	}
	return documents, problems
}

// parse reads one document that begins after so many lines.
func parse(file string, data []byte, lines int) ([]document, *catalog.Problem) {
	var node yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&node)
	if errors.Is(err, io.EOF) {
		return nil, nil // comments at most
	}
	var sent []byte
	if err == nil {
		shift(&node, lines)
		// kubectl's own way: YAML 1.1, where on and yes are true.
		sent, err = kyaml.YAMLToJSON(data)
	}
	if err != nil {
		return nil, &catalog.Problem{File: file, Line: lines + 1, Message: fmt.Sprintf(
			"this document is no YAML (%s); of a chart's templates, check what \"helm template\" makes of them", strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	var value any
	if err := json.Unmarshal(sent, &value); err != nil {
		return nil, &catalog.Problem{File: file, Line: lines + 1, Message: "this document cannot be read: " + err.Error()}
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, nil // values of a chart and the like: no manifest
	}
	return expand(document{file: file, node: &node, value: object}), nil
}

// expand returns the items of a list, and everything else as it is.
func expand(d document) []document {
	items, ok := d.value["items"].([]any)
	if !ok || !strings.HasSuffix(d.text("kind"), "List") {
		return []document{d}
	}
	nodes := child(d.node.Content[0], "items")
	var documents []document
	for i, item := range items {
		object, ok := item.(map[string]any)
		if !ok || nodes == nil || i >= len(nodes.Content) {
			continue
		}
		whole := &yaml.Node{Kind: yaml.DocumentNode, Line: nodes.Content[i].Line, Content: []*yaml.Node{nodes.Content[i]}}
		documents = append(documents, document{file: d.file, node: whole, value: object})
	}
	return documents
}

func shift(node *yaml.Node, lines int) {
	node.Line += lines
	for _, inner := range node.Content {
		shift(inner, lines)
	}
}

func child(node *yaml.Node, name string) *yaml.Node {
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

// steps are the parts of a field's path: names, indexes and keys.
var steps = regexp.MustCompile(`[^.\[\]]+`)

// line returns the line of a field, or of the nearest around it that is written.
func (d document) line(field string) int {
	node := d.node
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	line := node.Line
	for _, step := range steps.FindAllString(field, -1) {
		if node.Kind == yaml.AliasNode && node.Alias != nil {
			node = node.Alias
		}
		var next *yaml.Node
		switch node.Kind {
		case yaml.SequenceNode:
			if i, err := index(step); err == nil && i < len(node.Content) {
				next = node.Content[i]
				line = next.Line
			}
		case yaml.MappingNode:
			for i := 0; i+1 < len(node.Content); i += 2 {
				if node.Content[i].Value == step {
					next, line = node.Content[i+1], node.Content[i].Line
				}
			}
		}
		if next == nil {
			return line
		}
		node = next
	}
	return line
}
