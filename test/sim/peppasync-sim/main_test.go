package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run executes one command line and returns what it printed.
func run(ctx context.Context, stdin string, args ...string) (string, error) {
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	http.DefaultClient.CloseIdleConnections()
	return out.String(), err
}

// serve runs the serve command until the test ends and returns the addresses that it printed.
func serve(t *testing.T, args ...string) sim.Addresses {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	root := newRoot()
	root.SetOut(writer)
	root.SetArgs(append([]string{"serve", "-o", "json"}, args...))
	ended := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(ctx)
		writer.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	var a sim.Addresses
	if err := json.NewDecoder(reader).Decode(&a); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, reader)
	return a
}

func TestServeDriveReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sim.yaml")
	config := "shop: {firstOrderNumber: 1, items: [{sku: VIRAL, available: 10}]}\nerp: {items: [{sku: VIRAL, onHand: 10}], limits: [{name: per-minute, calls: 100, per: 1m}]}\n"
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	a := serve(t, "--config", path)
	for _, step := range []struct {
		args  []string
		stdin string
		want  string
	}{
		{[]string{"sell", "--sku", "VIRAL", "--count", "3", "--configuration", "2=CFG-A1", "--wait"}, "", `"sold": 3`},
		{[]string{"receipt", "--sku", "VIRAL", "--quantity", "5"}, "", ""},
		{[]string{"maintenance", "--duration", "1ms"}, "", ""},
		{[]string{"configuration", "CFG-A1"}, "", ""},
		{[]string{"faults", "--system", "wms", "-"}, `[{"kind":"slow","delay":"1ms"}]`, ""},
		{[]string{"mishaps", "--system", "woocommerce", "--late", "0.5", "--late-by", "10s", "--topic", "order.updated"}, "", ""},
		{[]string{"report"}, "", "woocommerce       0 sold, 0 captured, 0 deliveries, 0 failures, 0 dropped, 0 missed, 0 polls"},
		{[]string{"report"}, "", "at most 0 calls in any 1m0s, limit 100"},
		{[]string{"report", "-o", "yaml"}, "", "sold: 3"},
		{[]string{"report", "-o", "json"}, "", `"ERPStock"`},
	} {
		out, err := run(t.Context(), step.stdin, append(step.args, "--control", a.Control)...)
		if step.want == `"ERPStock"` { // the JSON form is the report itself
			var r sim.Report
			if err := json.Unmarshal([]byte(out), &r); err != nil || r.Sold != 3 || r.ERPStock[0].OnHand != 15 {
				t.Errorf("report %s, %v", out, err)
			}
			continue
		}
		if err != nil || !strings.Contains(out, step.want) {
			t.Errorf("%v = %q, %v; want %q", step.args, out, err, step.want)
		}
	}
}

func TestMistakesAreExplained(t *testing.T) {
	a := serve(t)
	for _, step := range []struct {
		want string
		args []string
	}{
		{"no item with the sku", []string{"sell", "--sku", "GHOST", "--control", a.Control}},
		{"want ORDERNUMBER=NAME", []string{"sell", "--sku", "X", "--configuration", "CFG", "--control", a.Control}},
		{"want table, json or yaml", []string{"report", "-o", "xml", "--control", a.Control}},
		{"the systems are", []string{"maintenance", "--system", "bank", "--control", a.Control}},
		{"is `peppasync-sim serve` running there?", []string{"report", "--control", "http://127.0.0.1:1"}},
		{"not a URL", []string{"report", "--control", "http://%zz"}},
		{"want a share between 0 and 1", []string{"mishaps", "--drop", "2", "--control", a.Control}},
		{"is not JSON", []string{"faults", "-", "--control", a.Control}},
		{"no such file", []string{"serve", "--config", "nowhere.yaml"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if _, err := run(ctx, "nonsense", step.args...); err == nil || !strings.Contains(err.Error(), step.want) {
			t.Errorf("%v = %v, want %q", step.args, err, step.want)
		}
		cancel()
	}
}
