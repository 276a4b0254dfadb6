package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "peppasync-sim",
		Short: "The simulated outside world of an order engine: shops, an ERP, a WMS and a text message service",
		Long: `peppasync-sim serves a Shopify shop, a WooCommerce shop, a BigCommerce store, a NetSuite account, a warehouse system and a
Twilio account on loopback, with their limits, faults and reply shapes, and a control address to drive them and to ask what
they saw.

Start it, then drive it from another terminal:

  peppasync-sim serve --config sim.yaml --control-listen 127.0.0.1:9100
  peppasync-sim sell --control http://127.0.0.1:9100 --sku VIRAL --count 1000
  peppasync-sim maintenance --control http://127.0.0.1:9100 --system erp --duration 10s
  peppasync-sim report --control http://127.0.0.1:9100`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(newServe(), newReport(), newSell(), newMaintenance(), newReceipt(), newConfiguration(), newFaults(), newMishaps())
	return root
}

// controlClient talks to the control server of a running world.
type controlClient struct{ base string }

func addControlFlag(c *cobra.Command, client *controlClient) {
	c.Flags().StringVar(&client.base, "control", "http://127.0.0.1:9100", "control URL that serve printed")
}

// call makes one request; answer may be nil.
func (c controlClient) call(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute) // a burst with --wait may last that long
	defer cancel()
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.base, "/")+path, payload)
	if err != nil {
		return fmt.Errorf("--control %q is not a URL such as http://127.0.0.1:9100: %w", c.base, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("no answer from the control server; is `peppasync-sim serve` running there? %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		var problem struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(data, &problem) == nil && problem.Error != "" {
			return errors.New(problem.Error)
		}
		return fmt.Errorf("%s answered %s", path, response.Status)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(data, answer)
}

// write prints a value as JSON or YAML with the same names.
func write(w io.Writer, format string, value any) error {
	encoded, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	switch format {
	case "json":
		_, err = fmt.Fprintln(w, string(encoded))
		return err
	case "yaml":
		var document any
		if err := json.Unmarshal(encoded, &document); err != nil {
			return err
		}
		encoder := yaml.NewEncoder(w)
		encoder.SetIndent(2)
		if err := encoder.Encode(document); err != nil {
			return err
		}
		return encoder.Close()
	}
	return fmt.Errorf("-o %q is unknown; want table, json or yaml", format)
}
