package crd

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// Report says what was looked at and what is wrong with it.
type Report struct {
	Files     int `json:"files"`
	Resources int `json:"resources"`
	// Skipped counts the manifests of other kinds, which others check.
	Skipped  map[string]int `json:"skipped,omitempty"`
	Problems []Problem      `json:"problems"`
	// Warnings may be mistakes; a cluster takes the manifests all the same.
	Warnings []Problem `json:"warnings,omitempty"`
}

// Problem is one thing to mend.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

// Validate judges the manifests of a folder, a file or the standard input ("-"): each as
// the API server would when it is created, and those of a namespace together, as the
// operator would.
func (d *Definitions) Validate(ctx context.Context, path string, stdin io.Reader, systems connectors.Set) Report {
	documents, files, problems := read(path, stdin)
	report := Report{Files: files, Skipped: make(map[string]int)}
	together := make(map[string][]catalog.Resource)
	for _, document := range documents {
		kind := document.kind()
		if kind.Group != group {
			report.Skipped[skipped(document)]++
			continue
		}
		report.Resources++
		admitter, ok := d.admitters[kind]
		if !ok {
			problems = append(problems, catalog.Problem{File: document.file, Line: document.line("kind"), Field: "kind", Message: fmt.Sprintf(
				"there is no %s in %s, expected %s of %s/v1alpha1", kind.Kind, kind.GroupVersion(), d.kinds(), group)})
			continue
		}
		refused := admitter.admit(ctx, document)
		resource, more := catalog.DecodeDocument(document.file, document.node)
		problems = append(problems, merge(more, refused)...)
		if resource != nil {
			namespace := resource.Object.GetNamespace()
			together[namespace] = append(together[namespace], *resource)
		}
	}
	var advice []catalog.Problem
	for _, namespace := range slices.Sorted(maps.Keys(together)) {
		_, more := catalog.Compile(together[namespace], systems)
		problems = merge(more, problems)
		advice = append(advice, catalog.Advice(together[namespace], systems)...)
	}
	if report.Resources == 0 && len(problems) == 0 {
		problems = append(problems, catalog.Problem{
			File: path, Message: "found no resource of " + group + ", expected at least one: is this the folder that you mean?",
		})
	}
	report.Problems = sorted(problems)
	if len(advice) > 0 {
		report.Warnings = sorted(advice)
	}
	return report
}

// merge puts the problems that two judges found together. Where both refuse one
// field, the catalog's sentence stays: it says what to write instead.
func merge(catalogs, servers []catalog.Problem) []catalog.Problem {
	type place struct {
		file, field string
		line        int
	}
	said := make(map[place]bool, len(catalogs))
	for _, problem := range catalogs {
		said[place{problem.File, problem.Field, problem.Line}] = true
	}
	merged := slices.Clone(catalogs)
	for _, problem := range servers {
		if !said[place{problem.File, problem.Field, problem.Line}] {
			merged = append(merged, problem)
		}
	}
	return merged
}

func sorted(problems []catalog.Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b catalog.Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field))
	})
	list := make([]Problem, 0, len(problems))
	for _, problem := range slices.Compact(problems) {
		list = append(list, Problem(problem))
	}
	return list
}

// skipped names a manifest's kind, as kubectl api-resources does.
func skipped(d document) string {
	kind := d.kind()
	switch {
	case kind.Kind == "":
		return "no manifest"
	case kind.Group == "":
		return kind.Kind
	}
	return kind.Kind + "." + kind.Group
}
