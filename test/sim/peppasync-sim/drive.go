package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

func newSell() *cobra.Command {
	var client controlClient
	var q sim.SellRequest
	var over time.Duration
	var configurations []string
	c := &cobra.Command{
		Use:   "sell",
		Short: "Sell many orders at the shop and send their webhooks",
		Example: "  peppasync-sim sell --sku VIRAL --count 1000 --connections 64\n" +
			"  peppasync-sim sell --sku VIRAL --count 1000 --configuration 500=CFG-A1 --duplicates 0.02 --reorder 0.05 --seed 7",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			q.Over = jsontime.Duration(over)
			q.Configurations = make(map[int64]string)
			for _, pair := range configurations {
				number, name, ok := strings.Cut(pair, "=")
				n, err := strconv.ParseInt(number, 10, 64)
				if !ok || err != nil || name == "" {
					return fmt.Errorf("--configuration %q: want ORDERNUMBER=NAME, such as 500=CFG-A1", pair)
				}
				q.Configurations[n] = name
			}
			var result shopify.BurstResult
			if err := client.call(c.Context(), http.MethodPost, "/shop/sell", q, &result); err != nil {
				return err
			}
			return write(c.OutOrStdout(), "json", result)
		},
	}
	addControlFlag(c, &client)
	f := c.Flags()
	f.StringVar(&q.SKU, "sku", "", "SKU to sell")
	f.IntVar(&q.Quantity, "quantity", 1, "units per order")
	f.IntVar(&q.Count, "count", 1, "number of orders")
	f.IntVar(&q.Connections, "connections", 0, "webhooks in delivery at once (default: that of the shop)")
	f.DurationVar(&over, "over", 0, "spread the sales evenly over this time")
	f.StringArrayVar(&configurations, "configuration", nil, "ORDERNUMBER=NAME: build-to-order configuration of that order; may be repeated")
	f.Float64Var(&q.Duplicates, "duplicates", 0, "share of webhooks that are sent twice, 0 to 1")
	f.Float64Var(&q.Reorder, "reorder", 0, "share of webhooks that later ones overtake, 0 to 1")
	f.Uint64Var(&q.Seed, "seed", 0, "seed of duplicates and reordering")
	f.BoolVar(&q.Wait, "wait", false, "return when every webhook was tried once")
	return c
}

func newMaintenance() *cobra.Command {
	var client controlClient
	var system string
	var duration time.Duration
	var stop bool
	c := &cobra.Command{
		Use:     "maintenance",
		Short:   "Take a system down for maintenance, or end it",
		Example: "  peppasync-sim maintenance --system erp --duration 10s\n  peppasync-sim maintenance --system erp --stop",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			q := sim.MaintenanceRequest{Duration: jsontime.Duration(duration), Stop: stop}
			return client.call(c.Context(), http.MethodPost, "/"+system+"/maintenance", q, nil)
		},
	}
	addControlFlag(c, &client)
	c.Flags().StringVar(&system, "system", "erp", "shop, woocommerce, bigcommerce, erp, wms or twilio")
	c.Flags().DurationVar(&duration, "duration", 0, "how long; without it, until --stop")
	c.Flags().BoolVar(&stop, "stop", false, "end maintenance now")
	return c
}

func newReceipt() *cobra.Command {
	var client controlClient
	var q sim.ReceiptRequest
	c := &cobra.Command{
		Use:     "receipt",
		Short:   "Book goods that came in at the ERP",
		Example: "  peppasync-sim receipt --sku VIRAL --quantity 500",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return client.call(c.Context(), http.MethodPost, "/erp/receipt", q, nil)
		},
	}
	addControlFlag(c, &client)
	c.Flags().StringVar(&q.SKU, "sku", "", "SKU")
	c.Flags().IntVar(&q.Quantity, "quantity", 0, "units")
	return c
}

func newConfiguration() *cobra.Command {
	var client controlClient
	c := &cobra.Command{
		Use:     "configuration NAME",
		Short:   "Make a build-to-order configuration known to the WMS",
		Example: "  peppasync-sim configuration CFG-A1",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return client.call(c.Context(), http.MethodPost, "/wms/configurations", sim.ConfigurationRequest{Name: args[0]}, nil)
		},
	}
	addControlFlag(c, &client)
	return c
}

func newMishaps() *cobra.Command {
	var client controlClient
	var system string
	var m faults.Mishaps
	var lateBy time.Duration
	c := &cobra.Command{
		Use:   "mishaps",
		Short: "Replace what goes wrong with the webhooks of a shop before they are sent",
		Example: "  peppasync-sim mishaps --system shop --drop 0.01 --twice 0.02\n" +
			"  peppasync-sim mishaps --system woocommerce --late 0.1 --late-by 30s --topic order.updated\n" +
			"  peppasync-sim mishaps --system woocommerce",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m.LateBy = jsontime.Duration(lateBy)
			return client.call(c.Context(), http.MethodPost, "/"+system+"/mishaps", m, nil)
		},
	}
	addControlFlag(c, &client)
	f := c.Flags()
	f.StringVar(&system, "system", "shop", "shop, woocommerce or bigcommerce")
	f.Float64Var(&m.Drop, "drop", 0, "share of webhooks that are never sent, 0 to 1")
	f.Float64Var(&m.Late, "late", 0, "share of webhooks that are late, 0 to 1")
	f.DurationVar(&lateBy, "late-by", 0, "how late (default: 1m)")
	f.Float64Var(&m.Twice, "twice", 0, "share of webhooks that are sent twice, 0 to 1")
	f.StringArrayVar(&m.Topics, "topic", nil, "topic that is affected; may be repeated (default: all)")
	f.Uint64Var(&m.Seed, "seed", 0, "seed of the choice")
	return c
}

func newFaults() *cobra.Command {
	var client controlClient
	var system string
	c := &cobra.Command{
		Use:   "faults FILE",
		Short: "Replace the fault rules of a system with those in a JSON file (- for standard input)",
		Example: `  echo '[{"kind":"cutAfterCommit","operations":["order.upsert"],"calls":[3]}]' | peppasync-sim faults --system erp -
  echo '[]' | peppasync-sim faults --system erp -`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			read := func() ([]byte, error) { return os.ReadFile(args[0]) }
			if args[0] == "-" {
				read = func() ([]byte, error) { return io.ReadAll(c.InOrStdin()) }
			}
			rules, err := read()
			if err != nil {
				return err
			}
			if !json.Valid(rules) {
				return fmt.Errorf("%s is not JSON: want a list of rules such as [{\"kind\": \"slow\", \"delay\": \"2s\"}]", args[0])
			}
			return client.call(c.Context(), http.MethodPost, "/"+system+"/faults", json.RawMessage(rules), nil)
		},
	}
	addControlFlag(c, &client)
	c.Flags().StringVar(&system, "system", "erp", "shop, woocommerce, bigcommerce, erp, wms or twilio")
	return c
}
