package main

import (
	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/test/runner/scene"
)

func newPrepare() *cobra.Command {
	o := options{script: scene.Saturday()}
	var where scene.Elsewhere
	var folder string
	c := &cobra.Command{
		Use:   "prepare --folder DIR --host NAME --target URL",
		Short: "Write down what a world and a product that run elsewhere have to be given",
		Long: `Writes, for a scene that is played by --world with the same --orders, --limit and --seed:

  DIR/sim.yaml            the world: "peppasync-sim serve --config sim.yaml"
  DIR/config/*.yaml       the manifests of the product
  DIR/secrets/NAME/KEY    its secrets

The world listens on the ports 8701 (shop), 8702 (ERP), 8703 (WMS), 8704 (Twilio) and 9100 (control).`,
		Example: "  peppasync-scene prepare --folder ./saturday --host world.orders.svc --target http://peppasync-ingest/v1/webhooks/shopify",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.chosen(c); err != nil {
				return err
			}
			if err := o.locateManifests(); err != nil {
				return err
			}
			return scene.Prepare(o.script, where, o.manifests, folder)
		},
	}
	o.addScript(c)
	f := c.Flags()
	f.StringVar(&o.manifests, "manifests", "", "folder with the YAML of the demo (default: deploy/demo of this repository)")
	f.StringVar(&folder, "folder", "", "where to write")
	f.StringVar(&where.Host, "host", "", "the world's name, as the product sees it")
	f.StringVar(&where.Target, "target", "", "URL that the shop sends its webhooks to")
	for _, name := range []string{"folder", "host", "target"} {
		_ = c.MarkFlagRequired(name) // fails only for a flag that is not there
	}
	return c
}
