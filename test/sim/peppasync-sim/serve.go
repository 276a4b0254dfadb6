package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/test/sim"
)

const serveLong = `Serve all systems on loopback and print their addresses. Without listen addresses, free ports are taken.

A configuration in YAML or JSON:

  seed: 1
  shop:
    domain: demo.myshopify.com
    webhookSecret: shopify-webhook-secret
    target: http://127.0.0.1:8080/v1/webhooks/shop    # where webhooks go
    firstOrderNumber: 1
    searchDelay: 5s              # how long a change takes to be found by a search of orders
    items: [{sku: VIRAL, available: 2000}]
  woocommerce:
    webhookSecret: woocommerce-webhook-secret
    target: http://127.0.0.1:8080/v1/webhooks/woo
    gmtOffset: "+02:00"          # the shop's own time
    items: [{sku: VIRAL}]
    mishaps: {drop: 0.01}        # this share of its webhooks is never sent
  bigcommerce:
    hash: sftg45fsd
    target: http://127.0.0.1:8080/v1/webhooks/big
    targetHeaders: {Authorization: Bearer big-secret}
    quota: {requests: 150, window: 30s}
    retries: [1s, 3s, 5s]        # the real ones last two days
    items: [{sku: VIRAL}]
  erp:
    token: netsuite-token
    items: [{sku: VIRAL, onHand: 2000}]
    limits: [{name: per-minute, calls: 100, per: 1m}]
    concurrency: 15
    penalty: 2h                  # everything is refused so long once a window is exceeded
    latency: {distribution: uniform, min: 20ms, max: 80ms}
    faults: [{kind: cutAfterCommit, operations: [order.upsert], probability: 0.01}]
  wms: {token: wms-token, configurations: [CFG-OK]}
  twilio: {accountSID: AC00000000000000000000000000000001, authToken: twilio-token}`

func newServe() *cobra.Command {
	var path, output, target string
	var listen sim.Listen
	c := &cobra.Command{
		Use:     "serve",
		Short:   "Serve the world until interrupted",
		Long:    serveLong,
		Example: "  peppasync-sim serve --config sim.yaml\n  peppasync-sim serve --config sim.yaml --control-listen 127.0.0.1:9100 -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var cfg sim.Config
			if path != "" {
				var err error
				if cfg, err = sim.LoadConfig(path); err != nil {
					return err
				}
			}
			overrideListen(&cfg.Listen, listen)
			if target != "" {
				cfg.Shop.Target = target
			}
			world, err := sim.Start(cfg)
			if err != nil {
				return err
			}
			defer world.Close()
			if err := writeAddresses(c.OutOrStdout(), output, world.Addresses()); err != nil {
				return err
			}
			<-c.Context().Done()
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&path, "config", "", "configuration file in YAML or JSON")
	f.StringVar(&target, "target", "", "URL to which the Shopify shop sends webhooks (overrides shop.target)")
	f.StringVar(&listen.Shop, "shop-listen", "", "address of the shop's Admin API (overrides listen.shop)")
	f.StringVar(&listen.WooCommerce, "woocommerce-listen", "", "address of the WooCommerce shop's REST API")
	f.StringVar(&listen.BigCommerce, "bigcommerce-listen", "", "address of the BigCommerce store's REST API")
	f.StringVar(&listen.ERP, "erp-listen", "", "address of the ERP")
	f.StringVar(&listen.WMS, "wms-listen", "", "address of the WMS")
	f.StringVar(&listen.Twilio, "twilio-listen", "", "address of the text message service")
	f.StringVar(&listen.Control, "control-listen", "", "address of the control server")
	f.StringVarP(&output, "output", "o", "table", "how to print the addresses: table, json or yaml")
	return c
}

func overrideListen(cfg *sim.Listen, flags sim.Listen) {
	for _, o := range []struct {
		field *string
		value string
	}{
		{&cfg.Shop, flags.Shop}, {&cfg.WooCommerce, flags.WooCommerce}, {&cfg.BigCommerce, flags.BigCommerce},
		{&cfg.ERP, flags.ERP}, {&cfg.WMS, flags.WMS}, {&cfg.Twilio, flags.Twilio}, {&cfg.Control, flags.Control},
	} {
		if o.value != "" {
			*o.field = o.value
		}
	}
}

func writeAddresses(w io.Writer, format string, a sim.Addresses) error {
	if format != "table" {
		return write(w, format, a)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SYSTEM\tADDRESS")
	for _, row := range [][2]string{
		{"shop", a.Shop}, {"woocommerce", a.WooCommerce}, {"bigcommerce", a.BigCommerce}, {"erp", a.ERP}, {"wms", a.WMS},
		{"twilio", a.Twilio}, {"control", a.Control},
	} {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	return t.Flush()
}
