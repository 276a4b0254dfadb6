package catalog_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// whole returns files without a mistake: every kind, and nearly every field.
func whole(t testing.TB) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "whole", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in testdata/whole: %v", err)
	}
	files := make(map[string]string, len(paths))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = string(data)
	}
	return files
}

// folder writes files into a new folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// edit is one change of a file: the first old becomes new. A file of another
// name is made.
type edit struct{ file, old, new string }

func edited(t testing.TB, edits ...edit) map[string]string {
	t.Helper()
	files := whole(t)
	for _, e := range edits {
		if e.old != "" && !strings.Contains(files[e.file], e.old) {
			t.Fatalf("%s does not hold %q", e.file, e.old)
		}
		if e.old == "" {
			files[e.file] = e.new
			continue
		}
		files[e.file] = strings.Replace(files[e.file], e.old, e.new, 1)
	}
	return files
}

// check loads and compiles a folder and returns every problem, one a line, with
// the names of its files alone.
func check(t testing.TB, dir string) []string {
	t.Helper()
	resources, problems := catalog.LoadDir(dir)
	snapshot, more := catalog.Compile(resources, systems.Set())
	all := slices.Concat(problems, more)
	if (snapshot == nil) != (len(all) > 0) {
		t.Errorf("a snapshot is %v with %d problems", snapshot != nil, len(all))
	}
	lines := []string{}
	for _, problem := range all {
		if strings.Contains(problem.Error(), "\n") {
			t.Errorf("a problem is more than a line: %q", problem.Error())
		}
		lines = append(lines, strings.ReplaceAll(problem.Error(), dir+"/", ""))
	}
	return lines
}

func TestFilesWithoutAMistakeHaveNoProblem(t *testing.T) {
	if got := check(t, folder(t, whole(t))); len(got) > 0 {
		t.Errorf("found %s", strings.Join(got, "\n"))
	}
}

// Where, which field, what was found, what is expected: the whole text, because
// it is all that a person has.
func TestEachMistakeInYAMLSaysWhereAndWhatIsExpected(t *testing.T) {
	tests := map[string]struct {
		edit edit
		want []string
	}{
		"a field that does not exist": {edit{"erp.yaml", "timeout:", "timeuot:"}, []string{
			`erp.yaml:22: spec.timeuot: there is no such field in spec, expected system, endpoint, auth, webhook, reconcile, limits, pacing, lanes, timeout, commitHorizon, retry, maintenance, outage, paused, shopify, http or twilio; did you mean timeout?`,
		}},
		"a field in the wrong case": {edit{"erp.yaml", "maxAttempts: 12", "maxattempts: 12"}, []string{
			`erp.yaml:23: spec.retry.maxattempts: there is no such field in spec.retry, expected maxAttempts or maxAge; did you mean maxAttempts?`,
		}},
		"a field like no other": {edit{"shop.yaml", "  shopify:", "  zzzzzzzz: 1\n  shopify:"}, []string{
			`shop.yaml:18: spec.zzzzzzzz: there is no such field in spec, expected system, endpoint, auth, webhook, reconcile, limits, pacing, lanes, timeout, commitHorizon, retry, maintenance, outage, paused, shopify, http or twilio`,
		}},
		"a field of the whole that does not exist": {edit{"erp.yaml", "spec:", "specs:"}, []string{
			`erp.yaml:1: spec: is missing, expected a map with system, endpoint, auth, webhook, reconcile, limits, pacing, lanes, timeout, commitHorizon, retry, maintenance, outage, paused, shopify, http, twilio`,
			`erp.yaml:5: specs: there is no such field, expected apiVersion, kind, metadata or spec; did you mean spec?`,
		}},
		"a field that is missing": {edit{"erp.yaml", "  endpoint: https://123456.suitetalk.api.netsuite.com\n", ""}, []string{
			`erp.yaml:5: spec.endpoint: is missing, expected a URL, such as https://123456.suitetalk.api.netsuite.com`,
		}},
		"a spec that is missing": {edit{"x.yaml", "", "apiVersion: peppasync.io/v1alpha1\nkind: StockPool\nmetadata: {name: x}\n"}, []string{
			`x.yaml:1: spec: is missing, expected a map with mode, skus, source, channels, buffer, lane`,
		}},
		"a name that is missing": {edit{"stock.yaml", "  name: main\n", ""}, []string{
			`stock.yaml:4: metadata.name: is missing, expected a name of lower-case letters, digits and -, such as netsuite`,
		}},
		"metadata that is missing": {edit{"stock.yaml", "metadata:\n  name: main\n  namespace: peppasync\n  labels: {team: operations}\n  annotations: {note: \"the web shop's\"}\n", ""}, []string{
			`stock.yaml:1: metadata: is missing, expected {name: ...}`,
		}},
		"metadata that is text": {edit{"erp.yaml", "metadata:\n  name: erp", "metadata: erp"}, []string{
			`erp.yaml:3: metadata: found "erp", expected {name: ...}`,
		}},
		"a label that is a number": {edit{"stock.yaml", "team: operations", "team: 5"}, []string{
			`stock.yaml:6: metadata.labels.team: found 5, which is no text, expected text: put it in quotes`,
		}},
		"labels that are a list": {edit{"stock.yaml", "{team: operations}", "[team]"}, []string{
			`stock.yaml:6: metadata.labels: found a list, expected a map from text to text`,
		}},
		"nothing where something must be": {edit{"erp.yaml", "endpoint: https://123456.suitetalk.api.netsuite.com", "endpoint:"}, []string{
			`erp.yaml:7: spec.endpoint: is missing, expected a URL, such as https://123456.suitetalk.api.netsuite.com`,
		}},
		"nothing in a list": {edit{"stock.yaml", "[DESK-1, VIRAL-1]", "[DESK-1, null]"}, []string{
			`stock.yaml:10: spec.skus[1]: found nothing, expected a value`,
		}},
		"a field twice": {edit{"erp.yaml", "  pacing: Even", "  pacing: Even\n  pacing: Burst"}, []string{
			`erp.yaml:19: spec.pacing: is written twice, first in line 18: expected it once`,
		}},
		"text for a number": {edit{"erp.yaml", "calls: 100", "calls: many"}, []string{
			`erp.yaml:12: spec.limits[0].rollingWindow.calls: found "many", expected a whole number of calls, such as 100`,
		}},
		"a number in quotes": {edit{"erp.yaml", "calls: 100", `calls: "100"`}, []string{
			`erp.yaml:12: spec.limits[0].rollingWindow.calls: found "100", expected a whole number of calls, such as 100`,
		}},
		"a fraction for a whole number": {edit{"erp.yaml", "calls: 100", "calls: 1.5"}, []string{
			`erp.yaml:12: spec.limits[0].rollingWindow.calls: found 1.5, expected a whole number of calls, such as 100`,
		}},
		"an octal number": {edit{"erp.yaml", "calls: 100", "calls: 0100"}, []string{
			`erp.yaml:12: spec.limits[0].rollingWindow.calls: found 0100, expected a whole number of calls, such as 100`,
		}},
		"a number that no int holds": {edit{"erp.yaml", "calls: 100", "calls: 100000000000000000000"}, []string{
			`erp.yaml:12: spec.limits[0].rollingWindow.calls: found 100000000000000000000, expected a whole number of calls, such as 100`,
		}},
		"a number that its field does not hold": {edit{"erp.yaml", "weight: 7", "weight: 3000000000"}, []string{
			`erp.yaml:20: spec.lanes[0].weight: found 3000000000, expected a whole number, such as 7`,
		}},
		"a number for text": {edit{"stock.yaml", `location: "1"`, "location: 1"}, []string{
			`stock.yaml:13: spec.source.location: found 1, which is no text, expected text, such as "1": put it in quotes`,
		}},
		"a date for text": {edit{"shop.yaml", `apiVersion: "2026-10"`, "apiVersion: 2026-10-01"}, []string{
			`shop.yaml:19: spec.shopify.apiVersion: found 2026-10-01, which is no text, expected text, such as "2026-10": put it in quotes`,
		}},
		"a map for text": {edit{"stock.yaml", `location: "1"`, "location: {id: 1}"}, []string{
			`stock.yaml:13: spec.source.location: found a map, expected text, such as "1"`,
		}},
		"text for a map": {edit{"erp.yaml", "rollingWindow: {calls: 100, per: 1m}", "rollingWindow: 100/1m"}, []string{
			`erp.yaml:12: spec.limits[0].rollingWindow: found a single value, expected a map with calls, per`,
		}},
		"a list for a map": {edit{"erp.yaml", "retry: {maxAttempts: 12, maxAge: 72h}", "retry: [12, 72h]"}, []string{
			`erp.yaml:23: spec.retry: found a list, expected a map with maxAttempts, maxAge`,
		}},
		"text for a list": {edit{"flow.yaml", "after: [warehouse]", "after: warehouse"}, []string{
			`flow.yaml:23: spec.deliver[1].after: found "warehouse", expected a list, such as [warehouse]`,
		}},
		"a time without its unit": {edit{"erp.yaml", "timeout: 30s", "timeout: 30"}, []string{
			`erp.yaml:22: spec.timeout: found 30, expected a time with its unit, such as 30s`,
		}},
		"a time in days": {edit{"erp.yaml", "maxAge: 72h", "maxAge: 3d"}, []string{
			`erp.yaml:23: spec.retry.maxAge: found "3d", expected a time with its unit, such as 72h`,
		}},
		"a bool in words": {edit{"erp.yaml", "paused: false", "paused: no"}, []string{
			`erp.yaml:24: spec.paused: found "no", expected true or false`,
		}},
		"a choice with a typo": {edit{"erp.yaml", "system: NetSuite", "system: NetSiute"}, []string{
			`erp.yaml:6: spec.system: found "NetSiute", expected Shopify, WooCommerce, BigCommerce, NetSuite, HTTP, Twilio, Stripe, StandardWebhooks, CloudEvents or GRPC; did you mean NetSuite?`,
		}},
		"a choice that is none": {edit{"erp.yaml", "pacing: Even", "pacing: [Even]"}, []string{
			`erp.yaml:18: spec.pacing: found a list, expected Even or Burst`,
		}},
		"headroom that is a list": {edit{"erp.yaml", "headroom: 1", "headroom: [1]"}, []string{
			`erp.yaml:13: spec.limits[0].headroom: found a list, expected a whole number of calls, such as 1, or a share, such as "2%"`,
		}},
		"headroom that is a fraction": {edit{"erp.yaml", "headroom: 1", "headroom: 0.5"}, []string{
			`erp.yaml:13: spec.limits[0].headroom: found 0.5, expected a whole number of calls, such as 1, or a share, such as "2%"`,
		}},
		"headroom that no number holds": {edit{"erp.yaml", "headroom: 1", "headroom: 3000000000"}, []string{
			`erp.yaml:13: spec.limits[0].headroom: found 3000000000, expected a whole number of calls, such as 1, or a share, such as "2%"`,
		}},
		"a key that is a map": {edit{"erp.yaml", "  pacing: Even", "  {a: b}: Even"}, []string{
			`erp.yaml:18: spec: found a map as a key, expected a field: system, endpoint, auth, webhook, reconcile, limits, pacing, lanes, timeout, commitHorizon, retry, maintenance, outage, paused, shopify, http or twilio`,
		}},
		"another apiVersion": {edit{"erp.yaml", "peppasync.io/v1alpha1", "peppasync.io/v1"}, []string{
			`erp.yaml:1: apiVersion: found "peppasync.io/v1", expected peppasync.io/v1alpha1`,
		}},
		"no apiVersion": {edit{"erp.yaml", "apiVersion: peppasync.io/v1alpha1\n", ""}, []string{
			`erp.yaml:1: apiVersion: is missing, expected peppasync.io/v1alpha1`,
		}},
		"a kind with a typo": {edit{"erp.yaml", "kind: Connector", "kind: Conector"}, []string{
			`erp.yaml:2: kind: found "Conector", expected Connector, Flow, StockPool or NotificationPolicy; did you mean Connector?`,
		}},
		"a kind of another product": {edit{"x.yaml", "", "apiVersion: peppasync.io/v1alpha1\nkind: ConfigMap\n"}, []string{
			`x.yaml:2: kind: found "ConfigMap", expected Connector, Flow, StockPool or NotificationPolicy`,
		}},
		"neither apiVersion nor kind": {edit{"x.yaml", "", "metadata: {name: x}\n"}, []string{
			`x.yaml:1: apiVersion: is missing, expected peppasync.io/v1alpha1`,
			`x.yaml:1: kind: is missing, expected Connector, Flow, StockPool or NotificationPolicy`,
		}},
		"a list of resources": {edit{"x.yaml", "", "- a\n- b\n"}, []string{
			`x.yaml:1: found a list, expected a resource with apiVersion, kind, metadata and spec`,
		}},
		"a text": {edit{"x.yaml", "", "hello\n"}, []string{
			`x.yaml:1: found "hello", expected a resource with apiVersion, kind, metadata and spec`,
		}},
		"the second of two documents": {edit{"texts.yaml", "groupBy: Hold", "groupBy: Holds"}, []string{
			`texts.yaml:26: spec.groupBy: found "Holds", expected Hold; did you mean Hold?`,
		}},
		"a merge key": {edit{"erp.yaml", "rollingWindow: {calls: 100, per: 1m}", "rollingWindow: {<<: {calls: 100}, per: 1m}"}, []string{
			`erp.yaml:12: spec.limits[0].rollingWindow: merge keys (<<) cannot be used here, expected the fields themselves`,
			`erp.yaml:12: spec.limits[0].rollingWindow.calls: is missing, expected a whole number of calls, such as 100`,
		}},
		"an alias that contains itself": {edit{"stock.yaml", "skus: [DESK-1, VIRAL-1]", "skus: &a [DESK-1, *a]"}, []string{
			`stock.yaml:10: spec.skus[1]: found a list, expected text, such as DESK-1`,
		}},
		"an anchor that is not there": {edit{"stock.yaml", "[DESK-1, VIRAL-1]", "*skus"}, []string{
			`stock.yaml:10: found text that is not YAML (unknown anchor 'skus' referenced), expected &skus above it, or quotes around a text that begins with *`,
		}},
		"a tab": {edit{"erp.yaml", "  timeout", "\ttimeout"}, []string{
			`erp.yaml:22: found text that is not YAML (a tab before the text), expected key: value, with indentation by spaces`,
		}},
		"a colon too many": {edit{"erp.yaml", "timeout: 30s", "timeout: 30s: x"}, []string{
			`erp.yaml:22: found text that is not YAML (mapping values are not allowed in this context), expected key: value, with indentation by spaces`,
		}},
		"a bracket that stays open": {edit{"stock.yaml", "[DESK-1, VIRAL-1]", "[DESK-1"}, []string{
			`stock.yaml:10: found text that is not YAML in what begins here (did not find expected ',' or ']'), expected key: value, with indentation by spaces`,
		}},
		"bytes that are no text": {edit{"x.yaml", "", "a: \xff\xfe\n"}, []string{
			`x.yaml:1: found bytes that are not UTF-8, expected text in UTF-8`,
		}},
		"a control character": {edit{"x.yaml", "", "a: \x01\n"}, []string{
			`x.yaml:1: found the control character U+0001, expected text`,
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := check(t, folder(t, edited(t, test.edit)))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
