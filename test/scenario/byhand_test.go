package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim"
)

// The README's commands for trying it by hand need a world at the addresses that
// the demo's Connectors name.
func TestTheWorldToTryItByHandIsWhereTheDemoLooksForIt(t *testing.T) {
	root, err := runner.Root()
	if err != nil {
		t.Fatal(err)
	}
	world, err := sim.LoadConfig(filepath.Join(root, "deploy", "world", "sim.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{
		"shopify": world.Listen.Shop, "netsuite": world.Listen.ERP, "wms": world.Listen.WMS, "twilio": world.Listen.Twilio,
	} {
		manifest, err := os.ReadFile(filepath.Join(root, "deploy", "demo", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(manifest), "endpoint: http://"+address) {
			t.Errorf("the world's %s listens on %s, which is not the endpoint in deploy/demo/%s.yaml", name, address, name)
		}
		if _, err := os.Stat(filepath.Join(root, "deploy", "world", "secrets", name)); err != nil {
			t.Errorf("no secrets of %s: %v", name, err)
		}
	}
}
