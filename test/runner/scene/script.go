// Package scene plays "Saturday, 2:47 PM" against the product as a process: a
// burst of orders at a limited ERP, one order that the warehouse does not
// understand, goods that come in, and an ERP that goes into maintenance. What it
// reports comes from the simulated outside world, never from the product.
package scene

import (
	"fmt"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
	"github.com/peppasync/peppasync/test/sim/twilio"
	"github.com/peppasync/peppasync/test/sim/wms"
)

// SKU is the article that goes viral; the manifests of the demo watch its stock.
const SKU = "VIRAL-1"

// Build-to-order configurations: the warehouse knows the first only.
const (
	KnownConfiguration   = "OAK-160-OILED"
	UnknownConfiguration = "WALNUT-181-RAW"
)

const (
	webhookConnector = "shopify"
	shopCalls        = 240
	wmsCalls         = 3000
	textCalls        = 60
	blockedFor       = 2 * time.Hour
)

// Script says what is played. Shares of the orders are given as numbers of
// orders that are fed to the ERP by then.
type Script struct {
	// Orders are sold in one burst over Connections at once.
	Orders      int `json:"orders"`
	Connections int `json:"connections"`
	// Later of the orders are not sold in the burst but by acts after it.
	Later int `json:"later,omitempty"`
	// Limit is what the ERP takes in any 60 seconds. One of it stays unused.
	Limit int `json:"limit"`
	// Units are there at the start; Receipt more come in when ReceiptAt orders
	// are fed, and must be in the shop within ReceiptWithin.
	Units         int               `json:"units"`
	Receipt       int               `json:"receipt"`
	ReceiptAt     int               `json:"receiptAt"`
	ReceiptWithin jsontime.Duration `json:"receiptWithin"`
	// BadOrder is the number of the order that the warehouse refuses.
	BadOrder int `json:"badOrder"`
	// The ERP is in Maintenance when MaintenanceAt orders are fed.
	Maintenance   jsontime.Duration `json:"maintenance"`
	MaintenanceAt int               `json:"maintenanceAt"`
	// Seed of the reply times.
	Seed uint64 `json:"seed"`
}

// Saturday is the scene at 1,000 calls a minute, which ends in about 75 seconds.
func Saturday() Script {
	return Script{
		Orders: 1000, Connections: 64, Limit: 1000, BadOrder: 500, Seed: 1,
		Units: 2000, Receipt: 500, ReceiptAt: 300, ReceiptWithin: milliseconds(10_000),
		Maintenance: milliseconds(10_000), MaintenanceAt: 600,
	}
}

// Real is the scene at 100 calls a minute, fed at 99: about 13 minutes, since
// stock is read with the same calls. A read may wait behind the one before it
// and two orders, each 0.6 s.
func Real() Script {
	s := Saturday()
	s.Limit = 100
	return s
}

// Scaled is the same script with another number of orders: what happens, happens
// at the same shares of them, and the maintenance is as long in proportion.
func (s Script) Scaled(orders int) Script {
	share := func(n int) int { return n * orders / s.Orders }
	s.BadOrder, s.ReceiptAt, s.MaintenanceAt = max(share(s.BadOrder), 1), share(s.ReceiptAt), share(s.MaintenanceAt)
	s.Maintenance = jsontime.Duration(max(s.Maintenance.Std()*time.Duration(orders)/time.Duration(s.Orders), time.Second))
	s.Later = share(s.Later)
	s.Units, s.Orders = max(share(s.Units), s.Units), orders
	return s
}

// Paced is the number of calls a minute that the product spaces for.
func (s Script) Paced() int { return s.Limit - 1 }

// Expected is how long the scene takes when a fifth of the calls are stock
// reads, the most that they may be.
func (s Script) Expected() time.Duration {
	return time.Duration(float64(s.Orders)/(0.8*float64(s.Paced()))*float64(time.Minute)) + s.Maintenance.Std()
}

// world is the outside world of the script. Every limit that the manifests
// declare is held here too, so that each is judged where the calls arrive.
func (s Script) world() sim.Config {
	front := func(calls, concurrency int, penalty time.Duration, least, most int) account.Config {
		return account.Config{
			Limits:      []account.Window{{Name: "per-minute", Calls: calls, Per: jsontime.Duration(time.Minute)}},
			Concurrency: concurrency, Penalty: jsontime.Duration(penalty),
			Latency: faults.Latency{Distribution: faults.Uniform, Min: milliseconds(least), Max: milliseconds(most)},
		}
	}
	return sim.Config{
		Seed: s.Seed,
		Shop: shopify.Config{
			Config: front(shopCalls, 4, 0, 20, 80), FirstOrderNumber: 1, Connections: s.Connections,
			Items: []shopify.Item{{SKU: SKU, Available: s.Units}},
		},
		ERP: netsuite.Config{
			Config: front(s.Limit, 15, blockedFor, 40, 200), Items: []netsuite.Item{{SKU: SKU, OnHand: s.Units}},
		},
		WMS:    wms.Config{Config: front(wmsCalls, 10, 0, 10, 60), Configurations: []string{KnownConfiguration}},
		Twilio: twilio.Config{Config: front(textCalls, 0, 0, 50, 150)},
	}
}

func milliseconds(n int) jsontime.Duration {
	return jsontime.Duration(time.Duration(n) * time.Millisecond)
}

// burst is the sale. One order before the bad one has a configuration that the
// warehouse knows, so that it is not the configuration as such that is refused.
func (s Script) burst() shopify.Burst {
	configurations := map[int64]string{int64(s.BadOrder): UnknownConfiguration}
	if s.BadOrder > 1 {
		configurations[int64(s.BadOrder/2)] = KnownConfiguration
	}
	return shopify.Burst{
		Count: s.Orders - s.Later, SKU: SKU, Quantity: 1, Connections: s.Connections, Configurations: configurations, Seed: s.Seed,
	}
}

// overrides point the demo's manifests at the outside world.
func (s Script) overrides(a sim.Addresses) runner.Overrides {
	return runner.Overrides{
		"shopify": {"endpoint": a.Shop},
		"wms":     {"endpoint": a.WMS},
		"twilio":  {"endpoint": a.Twilio},
		"netsuite": {"endpoint": a.ERP, "limits": []any{
			map[string]any{"name": "per-minute", "headroom": 1, "rollingWindow": map[string]any{"calls": s.Limit, "per": "1m"}},
			map[string]any{"name": "parallel", "concurrency": map[string]any{"calls": 15}},
		}},
	}
}

func secrets() map[string]map[string]string {
	return map[string]map[string]string{
		"shopify":         {"accessToken": shopify.DefaultToken},
		"shopify-webhook": {"secret": shopify.DefaultWebhookSecret},
		"netsuite":        {"accessToken": netsuite.DefaultToken},
		"wms":             {"token": wms.DefaultToken},
		"twilio":          {"authToken": twilio.DefaultAuthToken},
	}
}

// badName is the name of the order that the warehouse refuses.
func (s Script) badName() string { return fmt.Sprintf("#%d", s.BadOrder) }
