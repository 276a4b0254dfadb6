package crd_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	crdfiles "github.com/peppasync/peppasync/services/api/crd"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/peppasync/internal/crd"
)

const connector = `apiVersion: peppasync.io/v1alpha1
kind: Connector
metadata: {name: erp}
spec:
  system: NetSuite
  endpoint: https://123456.suitetalk.api.netsuite.com
  auth: {secretRef: {name: erp}}
  limits: [{name: per-minute, rollingWindow: {calls: 100, per: 1m}}]
`

const flow = `apiVersion: peppasync.io/v1alpha1
kind: Flow
metadata: {name: orders}
spec:
  from: [{connector: desk, topics: [orders/create]}]
  deliver:
  - {name: create, connector: erp, operation: upsertSalesOrder, mapping: '{"entity": order.id}'}
`

const desk = `apiVersion: peppasync.io/v1alpha1
kind: Connector
metadata: {name: desk}
spec: {system: GRPC, webhook: {secretRef: {name: desk}}}
`

func load(t *testing.T) *crd.Definitions {
	t.Helper()
	definitions, err := crd.Load(crdfiles.Files)
	if err != nil {
		t.Fatal(err)
	}
	return definitions
}

// folder writes files and returns where.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func validate(t *testing.T, root string) (crd.Report, []string) {
	t.Helper()
	report := load(t).Validate(t.Context(), root, nil, systems.Set())
	lines := make([]string, 0, len(report.Problems))
	for _, p := range report.Problems {
		file, err := filepath.Rel(root, p.File)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Join([]string{file, strconv.Itoa(p.Line), p.Field, p.Message}, " | "))
	}
	return report, lines
}

func TestValidateAllTogether(t *testing.T) {
	root := folder(t, map[string]string{
		"erp/connector.yaml":      connector + "---\n# a comment alone\n---\n" + desk,
		"flows/deep/flow.yml":     "# above\n---\n" + flow,
		"other.yaml":              "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n---\napiVersion: v1\nkind: ConfigMap\n",
		"values.yaml":             "- a list\n",
		".git/hidden.yaml":        "kind: [",
		"staging/namespaced.yaml": strings.Replace(connector, "name: erp", "name: erp, namespace: staging", 1),
		"README.md":               "no: [",
		"list.json":               `{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Secret"}]}`,
	})
	report, lines := validate(t, root)
	if len(lines) > 0 {
		t.Errorf("found\n%s", strings.Join(lines, "\n"))
	}
	if report.Resources != 4 || report.Files != 6 {
		t.Errorf("%d resources of %d files, want 4 of 6", report.Resources, report.Files)
	}
	want := map[string]int{"Deployment.apps": 1, "ConfigMap": 1, "Secret": 1}
	if diff := cmp.Diff(want, report.Skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}

func TestValidateRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		content string
		want    []string
	}{
		"a reference to what is not there": {
			connector + "---\n" + flow,
			[]string{`f.yaml | 14 | spec.from[0].connector | there is no Connector "desk", expected one of erp`},
		},
		"a rule in CEL, which the API server asks": {
			strings.Replace(connector, "  auth: {secretRef: {name: erp}}\n", "", 1),
			[]string{"f.yaml | 4 | spec | auth.secretRef.name is needed: only system HTTP can do without signing in"},
		},
		"a bound of the schema": {
			strings.Replace(connector, "calls: 100", "calls: 0", 1),
			[]string{"f.yaml | 8 | spec.limits[0].rollingWindow.calls | "},
		},
		"a type": {
			strings.Replace(connector, "calls: 100", `calls: "100"`, 1),
			[]string{"f.yaml | 8 | spec.limits[0].rollingWindow.calls | "},
		},
		"a field that is not": {
			connector + "  pasued: true\n",
			[]string{"f.yaml | 9 | spec.pasued | "},
		},
		"a kind that is not": {
			strings.Replace(connector, "kind: Connector", "kind: Conector", 1),
			[]string{"f.yaml | 2 | kind | there is no Conector in peppasync.io/v1alpha1, expected Connector, Flow, NotificationPolicy, StockPool"},
		},
		"a word that kubectl reads as a boolean": {
			strings.Replace(connector, "name: erp}\n", "name: erp, labels: {tier: on}}\n", 1),
			[]string{"f.yaml | 3 | metadata"},
		},
		"a template of a chart": {
			"a: 1\n---\nname: {{ .Values.name }}: x\n",
			[]string{"f.yaml | 2 |  | this document is no YAML"},
		},
		"an expression of another type": {
			connector + "---\n" + desk + "---\n" + strings.Replace(flow, "order.id", "order.id + 1", 1),
			[]string{"f.yaml | 21 | spec.deliver[0].mapping | "},
		},
		"nothing": {
			"a: 1\n", []string{". | 0 |  | found no resource of peppasync.io"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, lines := validate(t, folder(t, map[string]string{"f.yaml": test.content}))
			for _, want := range test.want {
				found := false
				for _, line := range lines {
					found = found || strings.HasPrefix(line, want)
				}
				if !found {
					t.Errorf("nothing begins with %q in\n%s", want, strings.Join(lines, "\n"))
				}
			}
			if len(lines) < len(test.want) {
				t.Errorf("%d problems", len(lines))
			}
		})
	}
}

// What this release ships is let in by its own definitions.
func TestDemoAndExamples(t *testing.T) {
	for _, path := range []string{"../../../../deploy/demo", "../../../../deploy/examples"} {
		report := load(t).Validate(t.Context(), path, nil, systems.Set())
		for _, problem := range report.Problems {
			t.Errorf("%s:%d: %s: %s", problem.File, problem.Line, problem.Field, problem.Message)
		}
	}
}

func TestStandardInput(t *testing.T) {
	report := load(t).Validate(t.Context(), "-", strings.NewReader("\n\n"+strings.Replace(connector, "calls: 100", "calls: 0", 1)), systems.Set())
	if len(report.Problems) == 0 || report.Problems[0].File != "stdin" || report.Problems[0].Line != 10 {
		t.Errorf("found %v", report.Problems)
	}
}
