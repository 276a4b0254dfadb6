package catalog_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// A person who mends one file at a time is told of all of them at once, and not
// of what only follows from a mistake that is told already.
func TestAllProblemsAreToldAtOnce(t *testing.T) {
	tests := map[string]struct {
		edits []edit
		want  []string
	}{
		"in several files, several in one, in YAML and in meaning": {
			[]edit{
				{"erp.yaml", "pacing: Even", "pacing: Evn"},
				{"erp.yaml", "calls: 100", "calls: many"},
				{"flow.yaml", "lane: express", "lane: slow"},
				{"stock.yaml", "buffer: 5", "buffer: -1"},
				{"stock.yaml", "connector: shop", "connector: nobody"},
				{"texts.yaml", "AC0", "XX0"},
				{"wms.yaml", "apiVersion: peppasync.io/v1alpha1\n", ""},
			},
			// Whether erp has a lane "slow" cannot be told, and wms has a name.
			[]string{
				`erp.yaml:12: spec.limits[0].rollingWindow.calls: found "many", expected a whole number of calls, such as 100`,
				`erp.yaml:18: spec.pacing: found "Evn", expected Even or Burst; did you mean Even?`,
				`wms.yaml:1: apiVersion: is missing, expected peppasync.io/v1alpha1`,
				`stock.yaml:18: spec.buffer: found -1, expected a whole number from 0 to 1000000000`,
				`texts.yaml:14: spec.twilio.accountSID: found "XX00000000000000000000000000000001", expected AC and 32 hexadecimal digits`,
			},
		},
		"a file that is not YAML may hold what others name": {
			[]edit{{"wms.yaml", "kind: Connector", "kind: Connector: x"}, {"stock.yaml", "buffer: 5", "buffer: -1"}},
			[]string{
				`wms.yaml:2: found text that is not YAML (mapping values are not allowed in this context), expected key: value, with indentation by spaces`,
				`stock.yaml:18: spec.buffer: found -1, expected a whole number from 0 to 1000000000`,
			},
		},
		"a resource that is broken is there all the same": {
			[]edit{{"wms.yaml", "calls: 3000", "calls: x"}, {"x.yaml", "", "apiVersion: peppasync.io/v1alpha1\nkind: Connector\nmetadata: {name: wms}\nspec: 1\n"}},
			[]string{
				`wms.yaml:10: spec.limits[0].rollingWindow.calls: found "x", expected a whole number of calls, such as 100`,
				`x.yaml:4: spec: found a single value, expected a map with system, endpoint, auth, webhook, reconcile, limits, pacing, lanes, timeout, commitHorizon, retry, maintenance, outage, paused, shopify, http, twilio`,
				`x.yaml:3: metadata.name: the Connector "wms" is written twice, first in wms.yaml:4, expected one of each name`,
			},
		},
		"lines count on over the documents of a file": {
			[]edit{{"texts.yaml", "+15550100001", "1"}, {"texts.yaml", "+15550100002", "2"}},
			[]string{
				`texts.yaml:15: spec.twilio.from: found "1", expected a phone number in E.164 form, in quotes, such as "+15550100002"`,
				`texts.yaml:25: spec.to[0]: found "2", expected a phone number in E.164 form, in quotes, such as "+15550100002"`,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, check(t, folder(t, edited(t, test.edits...)))); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnExpressionsProblemIsAtItsLine(t *testing.T) {
	const condition = `order.financial_status == "paid"`
	for name, test := range map[string]struct {
		written string
		line    int
	}{
		"on the line of its field": {"order.staus == \"paid\"", 9},
		"in quotes":                {"'order.staus == \"paid\"'", 9},
		"kept line for line":       {"|\n    true &&\n    order.staus == \"paid\"", 11},
		// Which line of the file is which of the text cannot be known.
		"folded": {">\n    true &&\n    order.staus == \"paid\"", 9},
	} {
		t.Run(name, func(t *testing.T) {
			got := check(t, folder(t, edited(t, edit{"flow.yaml", condition, test.written})))
			want := fmt.Sprintf("flow.yaml:%d: spec.when: there is no field \"staus\"", test.line)
			if len(got) != 1 || !strings.HasPrefix(got[0], want) {
				t.Errorf("found %q, want %s...", got, want)
			}
		})
	}
}

func TestFoldersAsTheyAre(t *testing.T) {
	resource := func(name string) string {
		return "apiVersion: peppasync.io/v1alpha1\nkind: Connector\nmetadata: {name: " + name + "}\n" +
			"spec: {system: HTTP, endpoint: 'http://x', limits: [{name: a, concurrency: {calls: 1}}], " +
			"http: {operations: [{name: put, method: PUT, path: '/{externalId}', effect: Idempotent}]}}\n"
	}
	const tooLarge = 1<<20 + 1
	tests := map[string]struct {
		make func(t *testing.T, dir string)
		want []string // the problems, or the names where there are none
	}{
		"an empty folder": {func(*testing.T, string) {}, []string{
			"DIR: found no resource, expected at least one .yaml file with a Connector",
		}},
		"a folder of empty files": {func(t *testing.T, dir string) { write(t, dir+"/a.yaml", "# nothing yet\n---\n---\n") }, []string{
			"DIR: found no resource, expected at least one .yaml file with a Connector",
		}},
		"no folder": {func(t *testing.T, dir string) { remove(t, dir) }, []string{
			"DIR: cannot be read (no such file or directory), expected a folder with .yaml files",
		}},
		"a file in its place": {func(t *testing.T, dir string) { remove(t, dir); write(t, dir, "a: 1") }, []string{
			"DIR: cannot be read (not a directory), expected a folder with .yaml files",
		}},
		"other files": {func(t *testing.T, dir string) {
			for _, name := range []string{".a.yaml", ".hidden.yml", "README.md", "a.yaml~", "a.yaml.swp", "a.json", "yaml", "#a.yaml#"} {
				write(t, filepath.Join(dir, name), "\x00 not YAML: [")
			}
			write(t, dir+"/a.yaml", resource("a"))
			write(t, dir+"/b.yml", resource("b"))
			if err := os.MkdirAll(dir+"/below", 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, dir+"/below/c.yaml", "[")
		}, []string{"a", "b"}},
		"a mounted ConfigMap": {func(t *testing.T, dir string) {
			if err := os.Mkdir(dir+"/..2026_11_23", 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, dir+"/..2026_11_23/a.yaml", resource("a"))
			link(t, "..2026_11_23", dir+"/..data")
			link(t, "..data/a.yaml", dir+"/a.yaml")
		}, []string{"a"}},
		"a link to nowhere": {func(t *testing.T, dir string) { link(t, "nowhere", dir+"/a.yaml") }, []string{
			"DIR/a.yaml: cannot be read: no such file or directory",
		}},
		"a link to itself": {func(t *testing.T, dir string) { link(t, "a.yaml", dir+"/a.yaml") }, []string{
			"DIR/a.yaml: cannot be read: too many levels of symbolic links",
		}},
		"a folder with a file's name": {func(t *testing.T, dir string) {
			if err := os.Mkdir(dir+"/a.yaml", 0o700); err != nil {
				t.Fatal(err)
			}
		}, []string{"DIR/a.yaml: found something that is no regular file, expected YAML text"}},
		"a pipe that nobody writes to": {func(t *testing.T, dir string) {
			if err := syscall.Mkfifo(dir+"/a.yaml", 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"DIR/a.yaml: found something that is no regular file, expected YAML text"}},
		"a file that is too large": {func(t *testing.T, dir string) {
			write(t, dir+"/a.yaml", strings.Repeat("#", tooLarge))
		}, []string{"DIR/a.yaml: found more than 1048576 bytes, expected fewer: split the file"}},
		"a file that is just not too large": {func(t *testing.T, dir string) {
			text := resource("a")
			write(t, dir+"/a.yaml", text+strings.Repeat("#", tooLarge-1-len(text)))
		}, []string{"a"}},
		"more files than one reads": {func(t *testing.T, dir string) {
			for i := range 1001 {
				write(t, fmt.Sprintf("%s/%d.yaml", dir, i), "")
			}
		}, []string{"DIR: found more than 1000 files, expected fewer: put several resources into one file, with --- between them"}},
		"a file from another system": {func(t *testing.T, dir string) {
			write(t, dir+"/a.yaml", "\ufeff"+strings.ReplaceAll(resource("a"), "\n", "\r\n"))
		}, []string{"a"}},
		"a file in UTF-16": {func(t *testing.T, dir string) {
			write(t, dir+"/a.yaml", "\xff\xfea\x00:\x00 \x001\x00")
		}, []string{"DIR/a.yaml:1: found bytes that are not UTF-8, expected text in UTF-8"}},
		"what an API server adds": {func(t *testing.T, dir string) {
			write(t, dir+"/a.yaml", strings.Replace(resource("a"), "{name: a}", "{name: a, uid: x, resourceVersion: '5', managedFields: [{}], generation: 3}", 1)+
				"status: {conditions: [{type: Ready}], anything: at all}\n")
		}, []string{"a"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "files")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			test.make(t, dir)
			resources, problems := catalog.LoadDir(dir)
			got := []string{}
			for _, problem := range problems {
				got = append(got, strings.ReplaceAll(problem.Error(), dir, "DIR"))
			}
			for i := range resources {
				if len(problems) == 0 {
					got = append(got, resources[i].Object.GetName())
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			if snapshot, _ := catalog.Compile(resources, systems.Set()); (snapshot == nil) != (len(problems) > 0) && len(resources) > 0 {
				t.Errorf("compiled: %v, with %d problems", snapshot != nil, len(problems))
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// A few lines of aliases stand for gigabytes; a large file may have a mistake in
// each line. Neither may cost more than a moment, or fill the log.
func TestWhatIsMeantToOverwhelmIsBounded(t *testing.T) {
	const head = "apiVersion: peppasync.io/v1alpha1\nkind: StockPool\nmetadata: {name: x}\n"
	laughs := "x0: &x0 [" + strings.Repeat("ha, ", 10) + "]\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("x%d: &x%d [%s*x%d]\n", i, i, strings.Repeat(fmt.Sprintf("*x%d, ", i-1), 9), i-1)
	}
	tests := map[string]string{
		"aliases of aliases, in a field that does not exist": head + laughs,
		"aliases of aliases, in a field that is left out":    head + "status:\n  " + strings.ReplaceAll(laughs, "\n", "\n  ") + "\nspec: {}\n",
		"aliases of aliases, in a list of text":              head + laughs + "spec: {skus: *x11}\n",
		"an alias of a text, very often":                     head + "spec:\n  mode: &a Shared\n  skus: [" + strings.Repeat("*a, ", 200_000) + "]\n",
		"an alias of a map, very often":                      head + "spec:\n  source: &a {connector: e, location: x}\n  channels: [" + strings.Repeat("*a, ", 200_000) + "]\n",
		"a map that holds itself":                            head + "spec: &a {source: *a, channels: [*a, *a], x: *a}\n",
		"a list that holds itself":                           head + "spec: {skus: &a [*a, *a], channels: &b [*b, [*b]]}\n",
		"the deepest nesting":                                head + "spec: {skus: " + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + "}\n",
		"deeper than YAML allows":                            strings.Repeat("[", 500_000),
		"unknown fields, a great many":                       head + unknownFields(60_000),
		"documents, a great many":                            strings.Repeat("a\n---\n", 100_000),
		"one field, very often":                              head + strings.Repeat("spec: 1\n", 100_000),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"a.yaml": text})
			begin := time.Now()
			resources, problems := catalog.LoadDir(dir)
			// It takes a tenth of a second; what grows with the square takes longer.
			if took := time.Since(begin); took > 8*time.Second {
				t.Errorf("it took %v", took)
			}
			if len(problems) == 0 {
				t.Fatalf("%d resources and no problem", len(resources))
			}
			if documents := 1 + strings.Count(text, "\n---"); len(problems) > 101*documents {
				t.Errorf("%d problems in %d documents", len(problems), documents)
			}
			if tooMany := "found more than 50000 values with all aliases written out"; strings.Contains(name, "very often") &&
				!strings.Contains(name, "field") && !strings.Contains(problems.Error(), tooMany) {
				t.Errorf("found %v, want %q", problems, tooMany)
			}
			if text := problems.Error(); len(text) > 64<<10 {
				t.Errorf("the text of %d problems has %d bytes", len(problems), len(text))
			}
		})
	}
}

func unknownFields(n int) string {
	var b bytes.Buffer
	b.WriteString("spec:\n")
	for i := range n {
		fmt.Fprintf(&b, "  skuz%d: 1\n", i)
	}
	return b.String()
}

// The names of the files decide the order, so that a text is the same each time.
func TestProblemsAreInTheOrderOfTheFiles(t *testing.T) {
	got := check(t, folder(t, map[string]string{"b.yaml": "x", "a.yaml": "x", "c.yml": "x\n---\ny"}))
	want := []string{"a.yaml:1", "b.yaml:1", "c.yml:1", "c.yml:3"}
	places := make([]string, len(got))
	for i, line := range got {
		places[i], _, _ = strings.Cut(line, ": ")
	}
	if !slices.Equal(places, want) {
		t.Errorf("found %v, want %v", places, want)
	}
}
