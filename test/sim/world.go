// Package sim is the outside world of an order engine on loopback: shops, an ERP, a warehouse system and a text message
// service with their real limits, faults and reply shapes, and a control server to drive them and to ask what they saw.
// It imports nothing of the product: it is the judge.
package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/bigcommerce"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
	"github.com/peppasync/peppasync/test/sim/twilio"
	"github.com/peppasync/peppasync/test/sim/wms"
	"github.com/peppasync/peppasync/test/sim/woocommerce"
)

// Listen holds the addresses to listen on. An empty one is 127.0.0.1 with a free port.
type Listen struct {
	Shop        string `json:"shop,omitempty"`
	WooCommerce string `json:"woocommerce,omitempty"`
	BigCommerce string `json:"bigcommerce,omitempty"`
	ERP         string `json:"erp,omitempty"`
	WMS         string `json:"wms,omitempty"`
	Twilio      string `json:"twilio,omitempty"`
	Control     string `json:"control,omitempty"`
}

// Config describes the world.
type Config struct {
	Listen Listen `json:"listen,omitzero"`
	// Shop is the Shopify shop, the one whose orders the report follows to the ERP and to the WMS.
	Shop        shopify.Config     `json:"shop,omitzero"`
	WooCommerce woocommerce.Config `json:"woocommerce,omitzero"`
	BigCommerce bigcommerce.Config `json:"bigcommerce,omitzero"`
	ERP         netsuite.Config    `json:"erp,omitzero"`
	WMS         wms.Config         `json:"wms,omitzero"`
	Twilio      twilio.Config      `json:"twilio,omitzero"`
	// Seed of all systems that have none of their own.
	Seed uint64 `json:"seed,omitempty"`
}

// Addresses are the base URLs of a running world.
type Addresses struct {
	Shop        string `json:"shop"`
	WooCommerce string `json:"woocommerce"`
	BigCommerce string `json:"bigcommerce"`
	ERP         string `json:"erp"`
	WMS         string `json:"wms"`
	Twilio      string `json:"twilio"`
	Control     string `json:"control"`
}

// World is a running world. Its systems may be driven directly; all their methods are safe for concurrent use.
type World struct {
	Shop        *shopify.Shop
	WooCommerce *woocommerce.Shop
	BigCommerce *bigcommerce.Store
	ERP         *netsuite.Account
	WMS         *wms.System
	Twilio      *twilio.Account

	addresses Addresses
	servers   []*http.Server
	serving   sync.WaitGroup
}

// Start builds all systems and serves them. On an error nothing is left running.
func Start(cfg Config) (*World, error) {
	w, err := build(cfg)
	if err != nil {
		return nil, err
	}
	for _, s := range []struct {
		name, listen string
		handler      http.Handler
		address      *string
	}{
		{"shop", cfg.Listen.Shop, w.Shop, &w.addresses.Shop},
		{"woocommerce", cfg.Listen.WooCommerce, w.WooCommerce, &w.addresses.WooCommerce},
		{"bigcommerce", cfg.Listen.BigCommerce, w.BigCommerce, &w.addresses.BigCommerce},
		{"erp", cfg.Listen.ERP, w.ERP, &w.addresses.ERP},
		{"wms", cfg.Listen.WMS, w.WMS, &w.addresses.WMS},
		{"twilio", cfg.Listen.Twilio, w.Twilio, &w.addresses.Twilio},
		{"control", cfg.Listen.Control, w.control(), &w.addresses.Control},
	} {
		if *s.address, err = w.serve(s.listen, s.handler); err != nil {
			w.Close()
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return w, nil
}

func build(cfg Config) (*World, error) {
	for _, seed := range []*uint64{
		&cfg.Shop.Seed, &cfg.WooCommerce.Seed, &cfg.BigCommerce.Seed, &cfg.ERP.Seed, &cfg.WMS.Seed, &cfg.Twilio.Seed,
	} {
		if *seed == 0 {
			*seed = cfg.Seed
		}
	}
	w := &World{}
	var err error
	if w.ERP, err = netsuite.New(cfg.ERP); err != nil {
		return nil, err
	}
	if w.WMS, err = wms.New(cfg.WMS); err != nil {
		return nil, err
	}
	if w.Twilio, err = twilio.New(cfg.Twilio); err != nil {
		return nil, err
	}
	if w.Shop, err = shopify.New(cfg.Shop); err != nil {
		return nil, err
	}
	if w.WooCommerce, err = woocommerce.New(cfg.WooCommerce); err != nil {
		return nil, err
	}
	if w.BigCommerce, err = bigcommerce.New(cfg.BigCommerce); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *World) serve(address string, handler http.Handler) (string, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ConnContext: account.ConnContext, ReadHeaderTimeout: 30 * time.Second}
	w.servers = append(w.servers, server)
	w.serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Sprintf("simulator: serving %s: %v", address, err))
		}
	})
	return "http://" + listener.Addr().String(), nil
}

// Addresses returns the base URLs.
func (w *World) Addresses() Addresses { return w.addresses }

// Close stops everything. Calls in progress are cut after a second; what was due later does not happen.
func (w *World) Close() {
	w.Shop.Close()
	w.WooCommerce.Close()
	w.BigCommerce.Close()
	w.ERP.Close()
	w.WMS.Close()
	w.Twilio.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, s := range w.servers {
		if s.Shutdown(ctx) != nil {
			s.Close() //nolint:errcheck // it was shut down or it is closed; either way it is gone
		}
	}
	w.serving.Wait()
}

// front returns a system's front by the name that the control server uses.
func (w *World) front(system string) (*account.Front, error) {
	switch system {
	case "shop":
		return w.Shop.Front, nil
	case "woocommerce":
		return w.WooCommerce.Front, nil
	case "bigcommerce":
		return w.BigCommerce.Front, nil
	case "erp":
		return w.ERP.Front, nil
	case "wms":
		return w.WMS.Front, nil
	case "twilio":
		return w.Twilio.Front, nil
	}
	return nil, fmt.Errorf("system %q is unknown; the systems are shop, woocommerce, bigcommerce, erp, wms and twilio", system)
}
