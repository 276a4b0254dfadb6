package observability

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var write = flag.Bool("write", false, "write the dashboards into deploy/observability")

const root = "../.."

var folder = filepath.Join(root, "deploy", "observability")

// The pages in deploy/observability are those of the table. After a change of it,
// "go test -run Dashboards . -write" writes them.
func TestDashboardsAreWritten(t *testing.T) {
	for _, d := range Dashboards() {
		want, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(folder, "grafana", "dashboards", d.Name+".json")
		if *write {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the table says: write it anew, as the comment of this test says", file)
		}
	}
}

// A person reads a page from left to right.
func TestPanelsFitTheirRows(t *testing.T) {
	for _, d := range Dashboards() {
		width := 0
		for _, p := range d.Panels {
			if p.Title == "" || p.Meaning == "" || len(p.Queries) == 0 {
				t.Errorf("%s: panel %q lacks a title, a meaning or a query", d.Name, p.Title)
			}
			if width += p.Width; width > 24 {
				t.Errorf("%s: the row before %q has a gap", d.Name, p.Title)
			}
			width %= 24
		}
	}
}
