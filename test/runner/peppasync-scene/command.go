package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/runner/scene"
)

// options are the flags.
type options struct {
	product, manifests, folder, output string
	// world and memory are of a scene that runs elsewhere.
	world, memory string
	real          bool
	limit, orders int
	script        scene.Script
}

func newCommand(terminal bool) *cobra.Command {
	o := options{script: scene.Saturday()}
	c := &cobra.Command{
		Use:   "peppasync-scene",
		Short: `Play "Saturday, 2:47 PM" and judge what came of it`,
		Long: `Starts a simulated outside world (a Shopify shop, a NetSuite account, a
warehouse, Twilio) and the product, "peppasync up", as a process on a folder of
its own. Then a Saturday at 2:47 PM is played:

  - 1,000 orders in one burst over 64 connections, for a product with 2,000 units
  - an ERP that takes 1,000 calls a minute and blocks for two hours who exceeds it
  - order #500 with a build-to-order configuration that the warehouse does not know
  - 500 more units booked at the ERP when 300 orders are fed
  - the ERP in maintenance for 10 seconds when 600 orders are fed

The report comes from the records of the simulated systems, not from the product:
a line for each promise, with what was found and what was promised. The exit code
is 1 if one was broken; then the product's log and data are kept and named.`,
		Example: `  peppasync-scene                     # about 75 seconds
  peppasync-scene --real              # under 100 calls a minute: about 13 minutes
  peppasync-scene -o json | jq .promises
  peppasync-scene --folder ./saturday # keep configuration, data and log`,
		Args:         cobra.NoArgs,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.output != "table" && o.output != "json" {
				return fmt.Errorf("-o is %q, it must be table or json", o.output)
			}
			if err := o.chosen(c); err != nil {
				return err
			}
			if o.world != "" {
				return join(c, o, terminal)
			}
			return play(c, o, terminal)
		},
	}
	f := c.Flags()
	o.addScript(c)
	f.StringVarP(&o.output, "output", "o", "table", "how to print the report: table or json; json leaves standard output to it")
	f.StringVar(&o.product, "product", "", "the product's binary (default: peppasync beside this one)")
	f.StringVar(&o.manifests, "manifests", "", "folder with the YAML of the demo (default: deploy/demo of this repository)")
	f.StringVar(&o.folder, "folder", "", "empty or new folder for configuration, data and log, which is kept (default: a temporary one)")
	f.StringVar(&o.world, "world", "",
		"URL of the control server of a world that runs elsewhere, with a product that was given what \"prepare\" has written; nothing is started then")
	f.StringVar(&o.memory, "memory-file", "",
		"with --world: file with the largest resident size of the product's processes, in bytes, which somebody else keeps")
	c.AddCommand(newPrepare())
	return c
}

// addScript adds the flags that choose the script; chosen reads them.
func (o *options) addScript(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&o.real, "real", false, "play it under a limit of 100 calls a minute, fed at 99")
	f.IntVar(&o.orders, "orders", o.script.Orders,
		"number of orders, the rest is played in proportion; of less than 500, one late call is more than the pace may lack")
	f.IntVar(&o.limit, "limit", o.script.Limit, "calls that the ERP takes in any 60 seconds")
	f.Uint64Var(&o.script.Seed, "seed", o.script.Seed, "seed of the reply times")
}

func (o *options) chosen(c *cobra.Command) error {
	seed := o.script.Seed
	if o.real {
		o.script = scene.Real()
	}
	o.script.Seed = seed
	if o.orders < 4 || o.limit < 2 {
		return errors.New("--orders must be at least 4 and --limit at least 2")
	}
	if c.Flags().Changed("limit") {
		o.script.Limit = o.limit
	}
	o.script = o.script.Scaled(o.orders)
	return nil
}

// locate fills in what was not said.
func (o *options) locate() error {
	if err := o.locateManifests(); err != nil {
		return err
	}
	if o.product == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		o.product = filepath.Join(filepath.Dir(self), "peppasync")
	}
	if _, err := os.Stat(o.product); err != nil {
		return fmt.Errorf("the product is not there: %w; build it with \"make build\" or name it with --product", err)
	}
	return nil
}

func (o *options) locateManifests() error {
	if o.manifests == "" {
		root, err := runner.Root()
		if err != nil {
			return fmt.Errorf("%w; name the folder of YAML with --manifests", err)
		}
		o.manifests = filepath.Join(root, "deploy", "demo")
	}
	return nil
}

// workFolder returns the folder to write to, and whether it may be deleted.
func (o *options) workFolder() (folder string, temporary bool, err error) {
	if o.folder == "" {
		folder, err = os.MkdirTemp("", "peppasync-scene-")
		return folder, true, err
	}
	if err := os.MkdirAll(o.folder, 0o750); err != nil {
		return "", false, err
	}
	entries, err := os.ReadDir(o.folder)
	if err != nil {
		return "", false, err
	}
	if len(entries) > 0 {
		return "", false, fmt.Errorf("--folder %s is not empty: an earlier run's orders would be fed too", o.folder)
	}
	folder, err = filepath.Abs(o.folder)
	return folder, false, err
}

func play(c *cobra.Command, o options, terminal bool) (err error) {
	if err := o.locate(); err != nil {
		return err
	}
	folder, temporary, err := o.workFolder()
	if err != nil {
		return err
	}
	defer func() {
		switch {
		case err != nil:
			err = fmt.Errorf("%w; configuration, data and log are in %s", err, folder)
		case temporary:
			err = os.RemoveAll(folder)
		}
	}()
	stage, err := scene.Open(c.Context(), scene.Options{Script: o.script, Binary: o.product, Manifests: o.manifests, Folder: folder})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	return judge(c, o, stage, "Product, log and data: "+folder, terminal)
}

// join plays on a world and a product that run elsewhere.
func join(c *cobra.Command, o options, terminal bool) error {
	var peak func() (int64, error)
	if o.memory != "" {
		peak = func() (int64, error) {
			data, err := os.ReadFile(o.memory)
			if err != nil {
				return 0, err
			}
			return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		}
	}
	return judge(c, o, scene.Join(o.script, strings.TrimSuffix(o.world, "/"), peak), "The world: "+o.world, terminal)
}

// judge lets the scene happen and prints the report.
func judge(c *cobra.Command, o options, stage *scene.Stage, where string, terminal bool) error {
	shown := c.OutOrStdout()
	if o.output == "json" {
		shown = c.ErrOrStderr()
	}
	fmt.Fprintf(shown, "Saturday, 2:47 PM: %d orders at once, an ERP that takes %d calls a minute. %s\n", o.script.Orders, o.script.Limit, where)
	view := scene.NewView(shown, terminal)
	late := stage.Play(c.Context(), scene.Acts(), view.Watch)
	view.End()
	if c.Context().Err() != nil {
		return errors.New("interrupted")
	}
	return write(c, o, stage.Report(late))
}

func write(c *cobra.Command, o options, report scene.Report) error {
	writeTo := report.WriteText
	if o.output == "json" {
		writeTo = report.WriteJSON
	}
	if err := writeTo(c.OutOrStdout()); err != nil {
		return err
	}
	if broken := len(report.Broken()); broken > 0 {
		return fmt.Errorf("%d of %d promises broken", broken, len(report.Promises))
	}
	return nil
}
