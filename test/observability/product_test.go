package observability

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/runner/scene"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// soon is when what has to come has come, on a machine that others use too.
const soon = 60 * time.Second

// TestTheProductIsSeen runs each role as a process of its own, with rights on the bus of its
// own, beside the collector with the configuration of deploy/observability. Then one order's
// trace is whole behind the collector, and dashboards and alerts ask for nothing that is not
// served.
func TestTheProductIsSeen(t *testing.T) {
	backend := startBackend(t)
	otlp := startCollector(t, backend.address)
	stage, err := scene.Open(t.Context(), scene.Options{
		Script: scene.Saturday(), Binary: absolute(t, "bin/peppasync"), Manifests: absolute(t, "deploy/demo"), Folder: t.TempDir(),
		// It is asked for its orders soon: not in minutes.
		Overrides: runner.Overrides{"shopify": {"reconcile": map[string]any{"every": "5s", "overlap": "5s", "lookBack": "1h"}}},
		Apart:     true, Secured: true, Arguments: []string{"--otlp-endpoint", otlp + "/v1/traces", "--metrics-listen", "127.0.0.1:0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(stage.Log())
			t.Logf("the end of the product's log:\n%s", log[max(0, len(log)-8000):])
		}
		if err := stage.Close(); err != nil {
			t.Error(err)
		}
	})
	order, err := stage.World.Shop.SellOne(shopify.OrderSpec{Lines: []shopify.LineSpec{{SKU: scene.SKU, Quantity: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the ERP has the order", func() bool { return stage.World.ERP.Report().Orders == 1 })
	sayHowMuchMayBeStored(t, stage)
	// Somebody who does not know the secret.
	if status := post(t, stage.Product.WebhookURL("shopify"), "{}"); status != http.StatusUnauthorized {
		t.Fatalf("a webhook without a signature gets %d", status)
	}
	t.Run("one order is one trace", func(t *testing.T) { isOneTrace(t, backend, order.Name) })
	t.Run("every query finds its metrics", func(t *testing.T) { findsMetrics(t, stage.Log()) })
}

// sayHowMuchMayBeStored is what the operator does in a cluster: NATS does not tell its clients.
func sayHowMuchMayBeStored(t *testing.T, stage *scene.Stage) {
	t.Helper()
	keys := stage.Product.Data + ".security"
	command := exec.CommandContext(t.Context(), stage.Product.Binary, "apply", "-f", stage.Files(), "--store-bytes", strconv.Itoa(1<<30),
		"--nats", stage.Product.URL(), "--nats-ca", filepath.Join(keys, "ca", "ca.crt"), "--nats-nkey", filepath.Join(keys, "admin", "nkey"))
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
}

// isOneTrace follows the order back from the ERP's acceptance to the webhook.
func isOneTrace(t *testing.T, backend *backend, name string) {
	var chain []string
	want := []string{
		"throttle-dispatcher: PUT netsuite", "throttle-dispatcher: dispatch upsertSalesOrder",
		"logic-gate: logic-gate release", "logic-gate: logic-gate event", "ingest: POST /v1/webhooks/{connector}",
	}
	until(t, "the whole chain is behind the collector", func() bool {
		chain = backend.chain("PUT netsuite")
		return slices.Equal(chain, want)
	})
	t.Logf("one trace: %q", chain)
	// As the page "One order" looks it up.
	if found := backend.with("peppasync.order_name", name); len(found) == 0 || !slices.Contains(found, backend.traceOf("PUT netsuite")) {
		t.Errorf("by the name %q there are the traces %q, and the ERP accepted in %q", name, found, backend.traceOf("PUT netsuite"))
	}
}

// metric is what a role serves under one name.
type metric struct {
	labels map[string]bool
	values map[string]bool // label=value
}

var listening = regexp.MustCompile(`metrics=(http://[0-9.:]+/metrics)`)

// operators are the metrics of the operator, which runs on an API server and not here: its
// own tests hold that it serves them, by connector.
var operators = []string{"peppasync_connector_held", "peppasync_source_refused"}

// served reads every process, as Prometheus does: a histogram is three names.
func served(t *testing.T, log string) map[string]metric {
	t.Helper()
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]metric{"up": {labels: map[string]bool{}}} // Prometheus' own
	for _, name := range operators {
		add(all, name, map[string]string{"connector": ""})
	}
	for _, match := range listening.FindAllSubmatch(data, -1) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, string(match[1]), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		family := expfmt.NewTextParser(model.UTF8Validation)
		families, err := family.TextToMetricFamilies(bufio.NewReader(response.Body))
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range families {
			for _, sample := range f.GetMetric() {
				pairs := map[string]string{}
				for _, l := range sample.GetLabel() {
					pairs[l.GetName()] = l.GetValue()
				}
				if sample.GetHistogram() != nil {
					add(all, name+"_count", pairs)
					add(all, name+"_sum", pairs)
					pairs["le"] = ""
					add(all, name+"_bucket", pairs)
					continue
				}
				add(all, name, pairs)
			}
		}
	}
	return all
}

func add(all map[string]metric, name string, pairs map[string]string) {
	if all[name].labels == nil {
		all[name] = metric{labels: map[string]bool{}, values: map[string]bool{}}
	}
	for label, value := range pairs {
		all[name].labels[label] = true
		all[name].values[label+"="+value] = true
	}
}

// queries returns all that is asked of Prometheus, by who asks.
func queries(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, rule := range alerts(t) {
		all["alert "+name] = rule.Expr
	}
	for _, d := range Dashboards() {
		for _, p := range d.Panels {
			for i, q := range p.Queries {
				if p.Kind != "traces" {
					all[fmt.Sprintf("dashboard %s, %s, %d", d.Name, p.Title, i)] = q.Expr
				}
			}
		}
	}
	data, err := os.ReadFile(filepath.Join(folder, "grafana", "datasources.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range regexp.MustCompile(`(?m)^ +query: (.*)$`).FindAllStringSubmatch(string(data), -1) {
		all[fmt.Sprint("trace to metrics ", i)] = strings.ReplaceAll(line[1], "{$$__tags}", `{connector="netsuite"}`)
	}
	return all
}

// findsMetrics has what is asked for served, under that name, with these labels and values.
func findsMetrics(t *testing.T, log string) {
	asked := queries(t)
	var problems []string
	until(t, "every metric is served", func() bool {
		all := served(t, log)
		problems = nil
		for who, query := range asked {
			for _, problem := range lacks(t, all, query) {
				problems = append(problems, who+": "+problem)
			}
		}
		return len(problems) == 0
	}, func() { slices.Sort(problems); t.Log(strings.Join(problems, "\n")) })
}

// given are the labels that Prometheus adds.
var given = []string{"namespace", "pod", "role", "job", "instance"}

// lacks returns what a query asks for that is not there.
func lacks(t *testing.T, all map[string]metric, query string) []string {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var problems []string
	has := func(name, label string) {
		if !all[name].labels[label] && !slices.Contains(given, label) {
			problems = append(problems, fmt.Sprintf("%s has no label %s", name, label))
		}
	}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		selector, is := node.(*parser.VectorSelector)
		if !is {
			return nil
		}
		if _, there := all[selector.Name]; !there {
			problems = append(problems, "nobody serves "+selector.Name)
			return nil
		}
		for _, m := range selector.LabelMatchers {
			if m.Name == model.MetricNameLabel {
				continue
			}
			has(selector.Name, m.Name)
			// States come and go; who has an outcome serves all of them.
			matches := func(v string) bool { value, is := strings.CutPrefix(v, "outcome="); return is && m.Matches(value) }
			if m.Name == "outcome" && !slices.ContainsFunc(slices.Collect(maps.Keys(all[selector.Name].values)), matches) {
				problems = append(problems, fmt.Sprintf("%s has no outcome %s", selector.Name, m.Value))
			}
		}
		for _, above := range path {
			if aggregate, is := above.(*parser.AggregateExpr); is && !aggregate.Without {
				for _, label := range aggregate.Grouping {
					has(selector.Name, label)
				}
			}
		}
		return nil
	})
	return problems
}

func post(t *testing.T, address, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// until fails the test where the condition does not come about, after saying why.
func until(t *testing.T, what string, condition func() bool, why ...func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := runner.Until(ctx, 50*time.Millisecond, what, condition); err != nil {
		for _, say := range why {
			say()
		}
		t.Fatal(err)
	}
}
