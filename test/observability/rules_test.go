package observability

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

// alerts returns the rules, as Prometheus reads them.
func alerts(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(filepath.Join(folder, "prometheus", "rules.yml"), false, model.UTF8Validation,
		parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.FailNow()
	}
	all := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			all[rule.Alert] = rule
		}
	}
	return all
}

// Who is woken by an alert reads in it what it means and what to do.
func TestAlertsExplainThemselves(t *testing.T) {
	for name, rule := range alerts(t) {
		for _, annotation := range []string{"summary", "meaning", "action"} {
			if rule.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", name, annotation)
			}
		}
		if severity := rule.Labels["severity"]; severity != "warning" && severity != "critical" {
			t.Errorf("%s has severity %q", name, severity)
		}
	}
}

// alertCases have a minute between samples, in Prometheus' notation: 0x10 is eleven times 0,
// 0+5x10 grows by 5. All are judged at each minute.
var alertCases = map[string]struct {
	calm, broken string
	// fires at minute at, and not in the one before, for these labels.
	at   int
	want string
}{
	"PeppasyncOrdersHeld": {
		calm:   `peppasync_deliveries_total{namespace="shop",connector="erp",outcome="held"} 3x40` + "\n" + `peppasync_deliveries_total{namespace="shop",connector="erp",outcome="delivered"} 0+9x40`,
		broken: `peppasync_deliveries_total{namespace="shop",connector="erp",outcome="held"} 0x5 1x40`, at: 6, want: `connector="erp", namespace="shop"`,
	},
	"PeppasyncEventsHeld": {
		calm: `peppasync_gate_held_total{namespace="shop"} 2x40`, broken: `peppasync_gate_held_total{namespace="shop"} 0x5 1x40`, at: 6, want: `namespace="shop"`,
	},
	"PeppasyncHeldForLong": {
		// Somebody lets one go; there are none for a while; those are not four hours old;
		// another operator leads, and there are fewer.
		calm: heldAt("erp", "a", "5x120 4x300") + heldAt("wms", "a", "1x100 0x5 1x200") + heldAt("tms", "a", "0x60 3x300") +
			heldAt("crm", "a", "2x40 stale") + heldAt("crm", "b", "_x42 2x100 1x200"),
		// More of them, from an operator that led later.
		broken: heldAt("erp", "a", "5x100 stale") + heldAt("erp", "b", "_x101 5x60 7x300") + heldAt("wms", "b", "_x101 0x300"),
		at:     240, want: `connector="erp", namespace="shop"`,
	},
	"PeppasyncQueueGrows": {
		// Over the bound, and worked off.
		calm:   `peppasync_eta_seconds{namespace="shop",connector="erp"} 9000-60x40` + "\n" + `peppasync_queue_waiting{namespace="shop",connector="erp",lane="bulk"} 9000-60x40`,
		broken: `peppasync_eta_seconds{namespace="shop",connector="erp"} 5000+60x40` + "\n" + `peppasync_queue_waiting{namespace="shop",connector="erp",lane="bulk"} 5000+60x40`,
		at:     25, want: `connector="erp", namespace="shop"`,
	},
	"PeppasyncConnectorDown": {
		calm:   `peppasync_connector_state{namespace="shop",connector="erp",state="down"} 1x8 stale _x4 1x8 stale` + "\n" + `peppasync_connector_state{namespace="shop",connector="erp",state="running"} _x9 1x4 stale`,
		broken: `peppasync_connector_state{namespace="shop",connector="erp",state="down"} 1x40`, at: 10, want: `connector="erp", namespace="shop"`,
	},
	"PeppasyncSignInRefused": {
		calm:   `peppasync_connector_state{namespace="shop",connector="erp",state="running"} 1x40`,
		broken: `peppasync_connector_state{namespace="shop",connector="erp",state="waiting-for-credentials"} 1x40`, at: 2, want: `connector="erp", namespace="shop"`,
	},
	"PeppasyncStockOutOfStep": {
		calm:   `peppasync_stock_out_of_step{namespace="shop",pool="main",connector="shopify"} 0 3x10 0x3 2x10`,
		broken: `peppasync_stock_out_of_step{namespace="shop",pool="main",connector="shopify"} 1x40`, at: 15, want: `connector="shopify", namespace="shop", pool="main"`,
	},
	"PeppasyncWebhooksPostponed": {
		calm:   `peppasync_ingest_refusals_total{namespace="shop",outcome="postponed"} 7x40` + "\n" + `peppasync_ingest_refusals_total{namespace="shop",outcome="refused"} 0+9x40`,
		broken: `peppasync_ingest_refusals_total{namespace="shop",outcome="postponed"} 0+1x40`, at: 6, want: `namespace="shop"`,
	},
	"PeppasyncWebhooksRefused": {
		calm:   webhooks("taken", 100) + webhooks("refused", 5),
		broken: webhooks("taken", 100) + webhooks("refused", 20), at: 11, want: `namespace="shop"`,
	},
	"PeppasyncSourceRefused": {
		// The operator that led first is gone, and what it said with it.
		calm: `peppasync_source_refused{namespace="shop",connector="shopify",pod="a"} 0x4 1x3 stale` + "\n" +
			`peppasync_source_refused{namespace="shop",connector="shopify",pod="b"} _x9 0x30`,
		broken: `peppasync_source_refused{namespace="shop",connector="shopify",pod="a"} 1x3 stale` + "\n" +
			`peppasync_source_refused{namespace="shop",connector="shopify",pod="b"} _x4 2x30` + "\n" +
			`peppasync_source_refused{namespace="shop",connector="erp",pod="b"} 0x40`, at: 5, want: `connector="shopify", namespace="shop"`,
	},
	"PeppasyncSourceSilent": {
		// One replica knows of a newer comparison than the other.
		calm:   ago("ingest-0", "300x100") + ago("ingest-1", "300+60x100"),
		broken: ago("ingest-0", "300+60x100") + ago("ingest-1", "600+60x100"), at: 61, want: `connector="shopify", namespace="shop"`,
	},
	"PeppasyncWebhooksMissed": {
		calm:   `peppasync_source_orders_missing_total{namespace="shop",connector="shopify"} 0x10 3x40`,
		broken: `peppasync_source_orders_missing_total{namespace="shop",connector="shopify"} 0x10 30x40`, at: 11, want: `connector="shopify", namespace="shop"`,
	},
	"PeppasyncReadingBehind": {
		calm:   `peppasync_gate_waiting{namespace="shop",stream="INGEST_0",pod="a"} 5000x4 10x40`,
		broken: `peppasync_gate_waiting{namespace="shop",stream="INGEST_0",pod="a"} 5000x40` + "\n" + `peppasync_gate_waiting{namespace="shop",stream="INGEST_0",pod="b"} 5000x40`,
		at:     5, want: `namespace="shop", stream="INGEST_0"`,
	},
	"PeppasyncLimitBroken": {
		calm:   largest(100) + limitOf(100),
		broken: largest(101) + limitOf(100), at: 0, want: `connector="erp", limit="window", namespace="shop"`,
	},
	"PeppasyncLeasesLost": {
		calm:   `peppasync_leases_lost_total{namespace="shop",pod="a"} 4x40`,
		broken: `peppasync_leases_lost_total{namespace="shop",pod="a"} 0x5 3x40`, at: 6, want: `namespace="shop"`,
	},
	"PeppasyncStoreNearlyFull": {
		calm: store(60), broken: store(80), at: 10, want: `namespace="shop"`,
	},
	"PeppasyncRoleDown": {
		calm:   `up{job="peppasync",namespace="shop",pod="a",role="ingest"} 1x10 0x4 1x20`,
		broken: `up{job="peppasync",namespace="shop",pod="a",role="ingest"} 0x40`, at: 5, want: `job="peppasync", namespace="shop", pod="a", role="ingest"`,
	},
	"PeppasyncNotSeen": {
		calm: `up{job="peppasync",namespace="shop",pod="a",role="ingest"} 0x40`, broken: `up{job="prometheus"} 1x40`, at: 10, want: `job="peppasync"`,
	},
}

func heldAt(connector, pod, values string) string {
	return fmt.Sprintf("peppasync_connector_held{namespace=\"shop\",connector=%q,pod=%q} %s\n", connector, pod, values)
}

func webhooks(outcome string, perMinute int) string {
	return fmt.Sprintf("peppasync_ingest_webhook_seconds_count{namespace=\"shop\",outcome=%q} 0+%dx40\n", outcome, perMinute)
}

func ago(pod, values string) string {
	return fmt.Sprintf("peppasync_source_compared_ago_seconds{namespace=\"shop\",connector=\"shopify\",pod=%q} %s\n", pod, values)
}

func largest(calls int) string {
	return fmt.Sprintf("peppasync_limit_largest_window_count{namespace=\"shop\",connector=\"erp\",limit=\"window\"} %dx40\n", calls)
}

func limitOf(calls int) string {
	return fmt.Sprintf("peppasync_limit_calls{namespace=\"shop\",connector=\"erp\",limit=\"window\"} %dx40\n", calls)
}

func store(bytes int) string {
	return fmt.Sprintf("peppasync_store_bytes{namespace=\"shop\",pod=\"a\"} %dx40\npeppasync_store_limit_bytes{namespace=\"shop\",pod=\"a\"} 100x40\n", bytes)
}

// Each alert fires when it should, for whom it should, and not in what looks like it.
func TestAlerts(t *testing.T) {
	all := alerts(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c, ok := alertCases[name]
		if !ok {
			t.Errorf("%s has no case", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			rule := all[name]
			for minute, firing := range fired(t, rule, c.calm, max(40, c.at+40)) {
				if len(firing) > 0 {
					t.Fatalf("it fires in the calm at minute %d: %v", minute, firing)
				}
			}
			byMinute := fired(t, rule, c.broken, c.at+1)
			if c.at > 0 && len(byMinute[c.at-1]) > 0 {
				t.Errorf("it fires at minute %d: %v", c.at-1, byMinute[c.at-1])
			}
			who, err := parser.NewParser(parser.Options{}).ParseMetric("{" + c.want + "}")
			if err != nil {
				t.Fatal(err)
			}
			want := labels.NewBuilder(who).Set("alertname", name).Set("severity", rule.Labels["severity"]).Labels().String()
			if got := byMinute[c.at]; len(got) != 1 || got[0] != want {
				t.Errorf("at minute %d it fires %v, want %s", c.at, got, want)
			}
		})
	}
	for name := range alertCases {
		if _, ok := all[name]; !ok {
			t.Errorf("there is no alert %s", name)
		}
	}
}

// fired returns the labels of what fires, minute by minute.
func fired(t *testing.T, rule rulefmt.Rule, series string, minutes int) [][]string {
	t.Helper()
	load := "load 1m\n"
	for line := range strings.Lines(series) {
		load += "  " + strings.TrimSpace(line) + "\n"
	}
	storage := promqltest.LoadedStorage(t, load)
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr)
	if err != nil {
		t.Fatal(err)
	}
	alerting := rules.NewAlertingRule(rule.Alert, expr, time.Duration(rule.For), 0, labels.FromMap(rule.Labels), labels.FromMap(rule.Annotations),
		labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
	var all [][]string
	for minute := range minutes {
		at := time.Unix(0, 0).Add(time.Duration(minute) * time.Minute)
		if _, err := alerting.Eval(t.Context(), 0, at, rules.EngineQueryFunc(engine, storage), nil, 0); err != nil {
			t.Fatal(err)
		}
		var firing []string
		for _, a := range alerting.ActiveAlerts() {
			if a.State != rules.StateFiring {
				continue
			}
			firing = append(firing, a.Labels.String())
			for _, text := range a.Annotations.Map() {
				if strings.Contains(text, "<no value>") || strings.Contains(text, "error expanding") {
					t.Errorf("%s says %q", rule.Alert, text)
				}
			}
		}
		slices.Sort(firing)
		all = append(all, firing)
	}
	return all
}
