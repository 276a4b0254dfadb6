package scene

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim"
)

// The ports at which a world that runs elsewhere listens; those of deploy/world.
const (
	shopPort    = 8701
	erpPort     = 8702
	wmsPort     = 8703
	twilioPort  = 8704
	controlPort = 9100
)

// Elsewhere says where the world and the product of a scene run.
type Elsewhere struct {
	// Host is the world's name, as the product sees it.
	Host string
	// Target is the URL that the shop sends its webhooks to.
	Target string
}

// Prepare writes what a world and a product that run elsewhere have to be given: sim.yaml
// for "peppasync-sim serve --config", the manifests of the demo in config, and in secrets
// a folder for each Secret, with a file for each key.
func Prepare(script Script, where Elsewhere, manifests, folder string) error {
	world := script.world()
	every := func(port int) string { return fmt.Sprintf("0.0.0.0:%d", port) }
	world.Listen = sim.Listen{
		Shop: every(shopPort), ERP: every(erpPort), WMS: every(wmsPort), Twilio: every(twilioPort), Control: every(controlPort),
	}
	world.Shop.Target = where.Target
	encoded, err := json.MarshalIndent(world, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	// JSON is YAML.
	if err := os.WriteFile(filepath.Join(folder, "sim.yaml"), encoded, 0o600); err != nil {
		return err
	}
	at := func(port int) string { return "http://" + net.JoinHostPort(where.Host, strconv.Itoa(port)) }
	addresses := sim.Addresses{Shop: at(shopPort), ERP: at(erpPort), WMS: at(wmsPort), Twilio: at(twilioPort)}
	if err := runner.WriteManifests(manifests, filepath.Join(folder, "config"), script.overrides(addresses)); err != nil {
		return err
	}
	return runner.WriteSecrets(filepath.Join(folder, "secrets"), secrets())
}
