// Command apilint checks the types of the custom resources by the conventions of
// Kubernetes' own APIs, as kube-api-linter knows them, and that no time is a number: a
// time.Duration is one of nanoseconds in YAML. It runs from its own folder.
package main

import (
	"errors"
	"fmt"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/packages"
	"sigs.k8s.io/kube-api-linter/pkg/analysis/conditions"
	"sigs.k8s.io/kube-api-linter/pkg/analysis/registry"
	"sigs.k8s.io/kube-api-linter/pkg/config"

	_ "sigs.k8s.io/kube-api-linter/pkg/registration" // the linters, which register themselves
)

// api is the module of the custom resources, as seen from this one's folder.
const api = "../../services/api"

func main() {
	if err := run(os.Stdout, api, "./v1alpha1", exceptions); err != nil {
		fmt.Fprintf(os.Stderr, "apilint: %v\n", err)
		os.Exit(1)
	}
}

// finding is something against the conventions.
type finding struct{ linter, at, message string }

// run prints what is found in a package, and fails if there is something. An exception
// that nothing needs is a finding too.
func run(out io.Writer, folder, pattern string, except []exception) error {
	pkgs, err := packages.Load(&packages.Config{Mode: packages.LoadAllSyntax, Dir: folder}, pattern)
	if err != nil {
		return fmt.Errorf("load %s in %s: %w", pattern, folder, err)
	}
	if packages.PrintErrors(pkgs) > 0 {
		return fmt.Errorf("%s in %s does not compile", pattern, folder)
	}
	found, err := conventions(pkgs)
	if err != nil {
		return err
	}
	for _, pkg := range pkgs {
		found = append(found, numericTimes(pkg)...)
	}
	used := make([]bool, len(except))
	count := 0
	for _, f := range found {
		at := slices.IndexFunc(except, func(e exception) bool { return e.linter == f.linter && e.message.MatchString(f.message) })
		if at >= 0 {
			used[at] = true
			continue
		}
		count++
		fmt.Fprintf(out, "%s: %s (%s)\n", f.at, f.message, f.linter)
	}
	for i, e := range except {
		if !used[i] {
			count++
			fmt.Fprintf(out, "nothing needs the exception of %s for %q any more: remove it\n", e.linter, e.message)
		}
	}
	if count > 0 {
		return fmt.Errorf("%d findings: mend them, or except them in test/apilint/conventions.go with a reason", count)
	}
	return nil
}

// conventions returns what the linters find that are on.
func conventions(pkgs []*packages.Package) ([]finding, error) {
	var on []string
	for name := range registry.DefaultRegistry().AllLinters() {
		if off[name] == "" {
			on = append(on, name)
		}
	}
	slices.Sort(on)
	disable := slices.Sorted(maps.Keys(off))
	// A custom resource is neither patched by strategy nor sent as protobuf.
	settings := config.LintersConfig{"conditions": conditions.ConditionsConfig{
		UsePatchStrategy: conditions.ConditionsUsePatchStrategyForbid, UseProtobuf: conditions.ConditionsUseProtobufForbid,
	}}
	linters, err := registry.DefaultRegistry().InitializeLinters(config.Linters{Enable: on, Disable: disable}, settings)
	if err != nil {
		return nil, fmt.Errorf("start the linters: %w", err)
	}
	graph, err := checker.Analyze(linters, pkgs, nil)
	if err != nil {
		return nil, fmt.Errorf("run the linters: %w", err)
	}
	var found []finding
	var failed []error
	for _, action := range graph.Roots {
		if action.Err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", action.Analyzer.Name, action.Err))
		}
		for _, d := range action.Diagnostics {
			found = append(found, finding{action.Analyzer.Name, place(action.Package, d.Pos), d.Message})
		}
	}
	return found, errors.Join(failed...)
}

// numericTimes finds fields of JSON that hold a time.Duration.
func numericTimes(pkg *packages.Package) []finding {
	var found []finding
	scope := pkg.Types.Scope()
	for _, name := range scope.Names() {
		structure, is := scope.Lookup(name).Type().Underlying().(*types.Struct)
		if !is {
			continue
		}
		for i := range structure.NumFields() {
			field := structure.Field(i)
			if tag := reflect.StructTag(structure.Tag(i)).Get("json"); tag != "-" && isTime(field.Type()) {
				found = append(found, finding{
					"numericTimes", place(pkg, field.Pos()),
					fmt.Sprintf("field %s.%s is a number of nanoseconds in YAML: use metav1.Duration, which is written as 30s", name, field.Name()),
				})
			}
		}
	}
	return found
}

// isTime reports whether a value of this type is, or holds directly, a time.Duration.
func isTime(t types.Type) bool {
	switch t := types.Unalias(t).(type) {
	case *types.Pointer:
		return isTime(t.Elem())
	case *types.Slice:
		return isTime(t.Elem())
	case *types.Map:
		return isTime(t.Key()) || isTime(t.Elem())
	case *types.Named:
		object := t.Obj()
		return object.Name() == "Duration" && object.Pkg() != nil && object.Pkg().Path() == "time"
	}
	return false
}

// place says where something is, by the file's name alone.
func place(pkg *packages.Package, at token.Pos) string {
	position := pkg.Fset.Position(at)
	return fmt.Sprintf("%s:%d", filepath.Base(position.Filename), position.Line)
}
