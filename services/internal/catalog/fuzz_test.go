package catalog

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/expr"
)

// seeds adds the files that are in order, whole and each in halves.
func seeds(f *testing.F) {
	f.Helper()
	for _, pattern := range []string{
		filepath.Join("testdata", "whole", "*.yaml"),
		filepath.Join("..", "..", "..", "deploy", "demo", "*.yaml"),
		filepath.Join("..", "..", "..", "deploy", "examples", "*.yaml"),
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatalf("%s: %d files, error %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
			f.Add(data[:len(data)/2])
		}
	}
}

// newExpressions is made once: it takes longer than all the rest.
func newExpressions(f *testing.F) *expr.Compiler {
	f.Helper()
	expressions, err := expr.NewCompiler()
	if err != nil {
		f.Fatal(err)
	}
	return expressions
}

// FuzzLoad: whatever a file holds, it loads and compiles, or there is a problem
// that names the file and fits into a line. What compiles is carried by the
// document without a change.
func FuzzLoad(f *testing.F) {
	seeds(f)
	expressions := newExpressions(f)
	for _, text := range []string{
		"", "---\n...\n---", "apiVersion: &a peppasync.io/v1alpha1\nkind: *a\n", "a: &a [*a]\n", "{{{", "- - -", "? a\n: b", "%YAML 1.3\n---\n",
		"apiVersion: peppasync.io/v1alpha1\nkind: Connector\nmetadata: {name: !!str 5}\nspec: {limits: [~], headroom: .inf}\n",
		"apiVersion: peppasync.io/v1alpha1\nkind: Flow\nmetadata: {name: a}\nspec: {from: [], deliver: [{}], when: \"" + strings.Repeat("(", 200) + "\"}\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const path = "a.yaml"
		resources, problems := load("dir", []file{{path: path, data: data}})
		if len(resources) == 0 {
			if len(problems) != 1 {
				t.Fatalf("no resource, and problems: %v", problems)
			}
			return
		}
		snapshot, more := compile(resources, systems.Set(), expressions)
		problems = append(problems, more...)
		if (snapshot == nil) == (len(problems) == 0) {
			t.Fatalf("a snapshot: %v, problems: %v", snapshot != nil, problems)
		}
		for _, problem := range problems {
			if problem.File != path && problem.File != "dir" || problem.Line < 0 || problem.Line > 1+bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r"))+
				bytes.Count(data, []byte("\u0085"))+bytes.Count(data, []byte("\u2028"))+bytes.Count(data, []byte("\u2029")) {
				t.Errorf("the problem is at %s:%d: %s", problem.File, problem.Line, problem.Message)
			}
			if text := problem.Error(); strings.ContainsAny(text, "\n\r") || len(text) > 4<<10 {
				t.Errorf("the problem does not fit into a line: %q", text)
			}
		}
		if snapshot == nil {
			return
		}
		document, err := Encode(resources)
		if err != nil {
			t.Fatal(err)
		}
		carries(t, document, expressions)
	})
}

// FuzzDecode: whatever a document holds, it is refused or judged.
func FuzzDecode(f *testing.F) {
	resources, problems := LoadDir(filepath.Join("testdata", "whole"))
	if len(problems) > 0 {
		f.Fatal(problems)
	}
	document, err := Encode(resources)
	if err != nil {
		f.Fatal(err)
	}
	expressions := newExpressions(f)
	f.Add(document)
	f.Add(document[:len(document)/2])
	for _, text := range []string{`{"format":1}`, `{"format":2}`, `{"format":1e9}`, `{"format":1,"connectors":[{"spec":{"limits":[null]}}]}`, "null", ""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		resources, err := Decode(data)
		if err != nil {
			return
		}
		snapshot, problems := compile(resources, systems.Set(), expressions)
		if (snapshot == nil) == (len(problems) == 0) {
			t.Fatalf("a snapshot: %v, problems: %v", snapshot != nil, problems)
		}
		if snapshot == nil {
			return
		}
		again, err := Encode(resources)
		if err != nil {
			t.Fatal(err)
		}
		carries(t, again, expressions)
	})
}

// carries checks that a document compiles, and is the same when it is read and
// written again.
func carries(t *testing.T, document []byte, expressions *expr.Compiler) {
	t.Helper()
	resources, err := Decode(document)
	if err != nil {
		t.Fatalf("%v: %s", err, document)
	}
	if _, problems := compile(resources, systems.Set(), expressions); len(problems) > 0 {
		t.Fatalf("it compiles as files and not as a document: %v", problems)
	}
	again, err := Encode(resources)
	if err != nil || !bytes.Equal(document, again) {
		t.Fatalf("error %v, the document changes from\n%s\nto\n%s", err, document, again)
	}
}
