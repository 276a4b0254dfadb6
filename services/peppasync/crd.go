package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	kyaml "sigs.k8s.io/yaml"

	crdfiles "github.com/peppasync/peppasync/services/api/crd"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/peppasync/internal/crd"
)

func newCRD() *cobra.Command {
	c := &cobra.Command{
		Use:   "crd",
		Short: "Check manifests as a cluster would, and its definitions, without a cluster",
		Long: `For the pipeline of a GitOps repository: says before a merge what the API server and
the operator would say after it. Nothing is connected to.`,
		Example: `  peppasync crd validate -f ./manifests
  peppasync crd diff -f ./manifests`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCRDValidate(), newCRDDiff())
	return c
}

// source are the flags that both commands have.
type source struct{ files, output string }

func (s *source) register(c *cobra.Command, what string) {
	c.Flags().StringVarP(&s.files, "files", "f", "", "folder of "+what+", with those below it; or one file, or - for the standard input (required)")
	c.Flags().StringVarP(&s.output, "output", "o", "text", "text, json or yaml")
	required(c, "files")
}

// print writes what was found in the form that was asked for.
func (s *source) print(out io.Writer, found any, text func(io.Writer) error) error {
	switch s.output {
	case "text":
		return text(out)
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(found)
	case "yaml":
		content, err := kyaml.Marshal(found)
		if err == nil {
			_, err = out.Write(content)
		}
		return err
	}
	return fmt.Errorf("--output is %q, it must be text, json or yaml", s.output)
}

func newCRDValidate() *cobra.Command {
	var from source
	c := &cobra.Command{
		Use:   "validate -f DIR",
		Short: "Check manifests as the API server and the operator would",
		Long: `Reads every .yaml, .yml and .json file of DIR and of the folders below it, and checks
each Connector, Flow, StockPool and NotificationPolicy by the schema and the rules of this
release's definitions, with the API server's own code, and then those of each namespace
together, as the operator does: references, expressions, stock. Manifests of other kinds are
counted and left alone.

One line a problem, with file, line and field. The exit code is 1 if there is any. An update
that the cluster would refuse because of what is there now, such as another system for a
Connector, is not seen from a folder.`,
		Example: `  peppasync crd validate -f ./manifests
  helm template ./shop | peppasync crd validate -f -
  peppasync crd validate -f ./manifests -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			definitions, err := crd.Load(crdfiles.Files)
			if err != nil {
				return err
			}
			report := definitions.Validate(c.Context(), from.files, c.InOrStdin(), systems.Set())
			if err := from.print(c.OutOrStdout(), report, func(out io.Writer) error { return printReport(out, report) }); err != nil {
				return err
			}
			if n := len(report.Problems); n > 0 {
				return fmt.Errorf("%d problem(s) in %d resource(s) of %d file(s)", n, report.Resources, report.Files)
			}
			return nil
		},
	}
	from.register(c, "manifests")
	return c
}

func sentence(p crd.Problem) string {
	where := p.File
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, p.Line)
	}
	if p.Field != "" {
		where += ": " + p.Field
	}
	return where + ": " + p.Message
}

func printReport(out io.Writer, r crd.Report) error {
	for _, problem := range r.Problems {
		if _, err := fmt.Fprintln(out, sentence(problem)); err != nil {
			return err
		}
	}
	for _, warning := range r.Warnings {
		if _, err := fmt.Fprintln(out, "warning: "+sentence(warning)); err != nil {
			return err
		}
	}
	line := ""
	if len(r.Problems) == 0 {
		line = fmt.Sprintf("%d resource(s) of %d file(s) are fine\n", r.Resources, r.Files)
	}
	var skipped []string
	for _, kind := range slices.Sorted(maps.Keys(r.Skipped)) {
		skipped = append(skipped, fmt.Sprintf("%d %s", r.Skipped[kind], kind))
	}
	if len(skipped) > 0 {
		line += "skipped: " + strings.Join(skipped, ", ") + "\n"
	}
	_, err := io.WriteString(out, line)
	return err
}

func newCRDDiff() *cobra.Command {
	var from source
	c := &cobra.Command{
		Use:   "diff -f DIR",
		Short: "Compare definitions with those of this release",
		Long: `Compares the CustomResourceDefinitions of DIR, as a repository renders them or a cluster
prints them, with those of this release, and says what applying this release's would change:

  Same      nothing
  Older     it lacks fields of this release
  Newer     it has fields that this release does not know
  Differs   both, or the same fields are judged in another way
  Missing   it is not there
  Unknown   this release has none of that name

A change is marked BREAKING where a resource that is let in now may be refused by this
release's definition, or lose what it says. The exit code is 1 unless all are the same.`,
		Example: `  peppasync crd diff -f ./manifests
  kubectl get crd -o yaml | peppasync crd diff -f -`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			definitions, err := crd.Load(crdfiles.Files)
			if err != nil {
				return err
			}
			found := definitions.Diff(from.files, c.InOrStdin())
			if err := from.print(c.OutOrStdout(), found, func(out io.Writer) error { return printDifferences(out, found) }); err != nil {
				return err
			}
			if !found.Same() {
				return errors.New("the definitions are not those of this release: apply its own before its operator starts")
			}
			return nil
		},
	}
	from.register(c, "definitions")
	return c
}

func printDifferences(out io.Writer, d crd.Differences) error {
	for _, problem := range d.Problems {
		if _, err := fmt.Fprintf(out, "%s:%d: %s\n", problem.File, problem.Line, problem.Message); err != nil {
			return err
		}
	}
	for _, definition := range d.Definitions {
		where := ""
		if definition.File != "" {
			where = fmt.Sprintf("  %s:%d", definition.File, definition.Line)
		}
		if _, err := fmt.Fprintf(out, "%-36s %-8s%s\n", definition.Name, definition.State, where); err != nil {
			return err
		}
		for _, change := range definition.Changes {
			line := fmt.Sprintf("  %-40s %s", change.Field, change.What)
			if change.Detail != "" {
				line += ": " + change.Detail
			}
			if change.Breaking {
				line += "  BREAKING"
			}
			if _, err := fmt.Fprintln(out, line); err != nil {
				return err
			}
		}
	}
	return nil
}
