package scene

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/netsuite"
)

// TestElsewhere does to a world behind its control server what the acts of a scene do, and
// has the judge see the same as in the world's own process.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	engine := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer engine.Close()
	script := Saturday().Scaled(20)
	config := script.world()
	config.Shop.Target = engine.URL
	world, err := sim.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	stage := Join(script, world.Addresses().Control, func() (int64, error) { return 7 << 20, nil })
	for _, act := range Acts() {
		if err := act.Do(t.Context(), stage); err != nil {
			t.Fatalf("%s: %v", act.Name, err)
		}
	}
	err = runner.Until(t.Context(), 20*time.Millisecond, "every webhook is acknowledged", func() bool { return len(world.Shop.Captured()) == script.Orders })
	if err != nil {
		t.Fatal(err)
	}
	called, err := http.Get(world.Addresses().ERP) // it is in maintenance, and counts what comes
	if err != nil {
		t.Fatal(err)
	}
	_ = called.Body.Close()

	p, err := stage.progress(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if p.Captured != script.Orders || !p.Down || p.Calls != 1 || p.Free != script.Units+script.Receipt-script.Orders {
		t.Errorf("progress %+v", p)
	}
	e := stage.Evidence(nil)
	if e.Late != nil {
		t.Fatal(e.Late)
	}
	if e.World.Captured != script.Orders || len(e.World.Receipts) != 1 || len(e.World.Maintenance) != 1 || e.PeakMemory != 7<<20 {
		t.Errorf("evidence %+v", e)
	}
	there, err := stage.outside.records()
	if err != nil {
		t.Fatal(err)
	}
	same, err := here{world}.records()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(same.changes, there.changes); diff != "" {
		t.Errorf("changes of stock:\n%s", diff)
	}
	if diff := cmp.Diff(same.calls.Log, there.calls.Log); diff != "" || len(there.calls.Log) != 1 || there.calls.Log[0].Outcome != arrivals.Unavailable {
		t.Errorf("calls %+v:\n%s", there.calls.Log, diff)
	}
	if err := stage.Kill(); err == nil {
		t.Error("a product that runs elsewhere was killed")
	}

	world.Close()
	if _, err := stage.progress(t.Context(), time.Now()); err == nil {
		t.Error("a world that is gone tells how far things are")
	}
	if e := stage.Evidence(nil); e.Late == nil {
		t.Error("a world that is gone is judged as if it had told all")
	}
}

// TestPrepare reads what it writes as the world and the product do.
func TestPrepare(t *testing.T) {
	t.Parallel()
	root, err := runner.Root()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	script := Real()
	where := Elsewhere{Host: "world.example", Target: "http://ingest.example/v1/webhooks/shopify"}
	if err := Prepare(script, where, filepath.Join(root, "deploy", "demo"), folder); err != nil {
		t.Fatal(err)
	}
	config, err := sim.LoadConfig(filepath.Join(folder, "sim.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := script.world()
	want.Shop.Target = where.Target
	want.Listen = sim.Listen{Shop: "0.0.0.0:8701", ERP: "0.0.0.0:8702", WMS: "0.0.0.0:8703", Twilio: "0.0.0.0:8704", Control: "0.0.0.0:9100"}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Error(diff)
	}
	for file, says := range map[string]string{
		"config/netsuite.yaml":         "endpoint: http://world.example:8702",
		"config/shopify.yaml":          "endpoint: http://world.example:8701",
		"config/wms.yaml":              "endpoint: http://world.example:8703",
		"config/twilio.yaml":           "endpoint: http://world.example:8704",
		"config/flow.yaml":             "kind: Flow",
		"secrets/netsuite/accessToken": netsuite.DefaultToken,
	} {
		text, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(file)))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(text), says) {
			t.Errorf("%s does not say %q:\n%s", file, says, text)
		}
	}
}
