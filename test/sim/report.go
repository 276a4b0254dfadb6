package sim

import (
	"regexp"
	"slices"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/bigcommerce"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
	"github.com/peppasync/peppasync/test/sim/twilio"
	"github.com/peppasync/peppasync/test/sim/wms"
	"github.com/peppasync/peppasync/test/sim/woocommerce"
)

// Report is what the outside world saw, first in sum and then per system. Times are in milliseconds where the name says
// Ms, else RFC 3339. "Accepted" is always what a simulated system says, never the product.
type Report struct {
	At time.Time `json:"at"`

	// Sold is the number of orders that the shop made; Captured of those whose orders/create webhook was acknowledged
	// with 2xx; Acknowledged is the number of webhooks of all topics that were.
	Sold         int `json:"sold"`
	Captured     int `json:"captured"`
	Acknowledged int `json:"acknowledged"`
	// AckP50Ms, AckP99Ms and AckMaxMs are the time from sending a webhook to its 2xx.
	AckP50Ms float64 `json:"ackP50Ms"`
	AckP99Ms float64 `json:"ackP99Ms"`
	AckMaxMs float64 `json:"ackMaxMs"`

	// Shops says of each shop what it sold, who was told of it and who asked.
	Shops []ShopReport `json:"shops"`

	// Fed is the number of sales orders that the ERP holds, WMSAccepted of orders that the WMS holds.
	Fed         int `json:"fed"`
	WMSAccepted int `json:"wmsAccepted"`
	// WMSRefused are the orders that the WMS refused and has not taken since, with the cause.
	WMSRefused []wms.Refusal `json:"wmsRefused"`
	Texts      []twilio.Text `json:"texts"`

	// Limits compares every declared window of every system with the largest number of arrivals in any closed rolling
	// window of its length.
	Limits []Limit `json:"limits"`
	// Throttled counts the calls that any system refused for a limit, a concurrency or a penalty.
	Throttled int `json:"throttled"`
	// Duplicates counts second sales orders for one shop order, lines added twice, second WMS orders for one reference,
	// and creations of a WMS order that was there.
	Duplicates int `json:"duplicates"`
	// Undone counts writes at the ERP and the WMS that took effect after a newer one of the same order: they undid it.
	Undone int `json:"undone"`
	// Unfed are the captured orders that the ERP does not hold. CancelledUnfed of them are cancelled and UnpaidUnfed
	// are not paid: nobody waits for those. Lost is how many of the rest the WMS has not refused either: in flight
	// while the engine works, lost when it claims to be done.
	Unfed          []Unfed `json:"unfed"`
	Lost           int     `json:"lost"`
	CancelledUnfed int     `json:"cancelledUnfed"`
	UnpaidUnfed    int     `json:"unpaidUnfed"`

	// Calls is the number of arrivals per system: shop, woocommerce and bigcommerce (their APIs), erp, wms, twilio.
	Calls map[string]int `json:"calls"`
	// ERPStock and ShopStock are the figures now.
	ERPStock  []netsuite.Stock `json:"erpStock"`
	ShopStock []shopify.Stock  `json:"shopStock"`
	// Balance judges the two sides together, per SKU that both have.
	Balance []Balance `json:"balance"`
	// OversoldUnits is the sum of Balance.LargestOversold.
	OversoldUnits int       `json:"oversoldUnits"`
	Receipts      []Receipt `json:"receipts"`
	// Maintenance is that of the ERP.
	Maintenance []account.MaintenanceReport `json:"maintenance"`

	// FirstAccepted and LastAccepted are the arrivals of the first and last accepted order write at the ERP. The rates
	// are accepted calls, and new orders, a minute between them, leaving out maintenance.
	FirstAccepted   *time.Time `json:"firstAccepted,omitempty"`
	LastAccepted    *time.Time `json:"lastAccepted,omitempty"`
	CallsPerMinute  float64    `json:"callsPerMinute"`
	OrdersPerMinute float64    `json:"ordersPerMinute"`

	Systems Systems `json:"systems"`
}

// Systems are the reports of each system in full.
type Systems struct {
	Shop        shopify.Report     `json:"shop"`
	WooCommerce woocommerce.Report `json:"woocommerce"`
	BigCommerce bigcommerce.Report `json:"bigcommerce"`
	ERP         netsuite.Report    `json:"erp"`
	WMS         wms.Report         `json:"wms"`
	Twilio      twilio.Report      `json:"twilio"`
}

// ShopReport is one shop in short.
type ShopReport struct {
	System string `json:"system"`
	Sold   int    `json:"sold"`
	// Captured is the number of orders that a webhook told of and the receiver acknowledged.
	Captured int `json:"captured"`
	// Deliveries counts webhooks that were acknowledged, Failures attempts that were not, Dropped those that a mishap kept
	// from being sent.
	Deliveries int `json:"deliveries"`
	Failures   int `json:"failures"`
	Dropped    int `json:"dropped"`
	// Missed is the number of orders of whose newest state no acknowledged webhook told: only a poll finds it.
	Missed int `json:"missed"`
	// Polls counts calls of the order list.
	Polls int `json:"polls"`
}

// Limit is one declared window of one system.
type Limit struct {
	account.LimitReport
	System string `json:"system"`
}

// Unfed is a captured order that the ERP does not hold, with the WMS's cause if it refused it. Cancelled and Unpaid say
// why it need not be there; a cancelled one is never Unpaid.
type Unfed struct {
	Order     string `json:"order"`
	Cause     string `json:"cause,omitempty"`
	Cancelled bool   `json:"cancelled,omitempty"`
	Unpaid    bool   `json:"unpaid,omitempty"`
}

// Lost says that there is no reason why the ERP does not hold the order.
func (u Unfed) Lost() bool { return u.Cause == "" && !u.Cancelled && !u.Unpaid }

// Report returns what the world has seen up to now.
func (w *World) Report() Report {
	systems := Systems{
		Shop: w.Shop.Report(), WooCommerce: w.WooCommerce.Report(), BigCommerce: w.BigCommerce.Report(),
		ERP: w.ERP.Report(), WMS: w.WMS.Report(), Twilio: w.Twilio.Report(),
	}
	shop, erp, warehouse := systems.Shop, systems.ERP, systems.WMS
	r := Report{
		At: time.Now(), Sold: shop.Sold, Captured: shop.Captured, Acknowledged: shop.Webhooks.Acknowledged,
		AckP50Ms: shop.Webhooks.P50Ms, AckP99Ms: shop.Webhooks.P99Ms, AckMaxMs: shop.Webhooks.MaxMs,
		Fed: erp.Orders, WMSAccepted: warehouse.Accepted, WMSRefused: warehouse.Refused, Texts: systems.Twilio.Texts,
		Duplicates: erp.DuplicateOrders + erp.DuplicateLines + warehouse.DuplicateReferences + warehouse.DuplicateOrders,
		Undone:     erp.Undone + warehouse.Undone,
		Calls:      make(map[string]int), ERPStock: erp.Stock, ShopStock: shop.Stock, Maintenance: erp.Maintenance,
		FirstAccepted: erp.FirstAccepted, LastAccepted: erp.LastAccepted,
		CallsPerMinute: erp.CallsPerMinute, OrdersPerMinute: erp.OrdersPerMinute, Systems: systems,
	}
	for _, s := range []struct {
		name   string
		report account.Report
	}{
		{"shop", shop.Report}, {"woocommerce", systems.WooCommerce.Report}, {"bigcommerce", systems.BigCommerce.Report},
		{"erp", erp.Report}, {"wms", warehouse.Report}, {"twilio", systems.Twilio.Report},
	} {
		r.Calls[s.name] = s.report.Calls
		r.Throttled += s.report.Throttled
		for _, l := range s.report.Limits {
			r.Limits = append(r.Limits, Limit{l, s.name})
		}
	}
	r.Throttled += shop.GraphQLThrottled + systems.BigCommerce.QuotaThrottled
	r.Shops = shops(systems)
	r.Unfed = w.unfed(warehouse.Refused)
	for _, u := range r.Unfed {
		switch {
		case u.Cancelled:
			r.CancelledUnfed++
		case u.Unpaid:
			r.UnpaidUnfed++
		case u.Lost():
			r.Lost++
		}
	}
	changes, movements := w.Shop.Changes(), w.ERP.Movements()
	r.Balance = balance(changes, movements, r.At)
	for _, b := range r.Balance {
		r.OversoldUnits += b.LargestOversold
	}
	r.Receipts = receipts(erp.Receipts, changes)
	return r
}

func shops(s Systems) []ShopReport {
	hooks, woo, big := s.Shop.Webhooks, s.WooCommerce, s.BigCommerce
	return []ShopReport{
		{
			System: "shop", Sold: s.Shop.Sold, Captured: s.Shop.Captured, Deliveries: hooks.Acknowledged,
			Failures: hooks.Failures, Dropped: hooks.Dropped, Missed: s.Shop.Missed, Polls: s.Shop.Polls,
		},
		{
			System: "woocommerce", Sold: woo.Sold, Captured: woo.Captured, Deliveries: woo.Webhooks.Delivered,
			Failures: woo.Webhooks.Failures, Dropped: woo.Webhooks.Dropped, Missed: woo.Missed, Polls: woo.Polls,
		},
		{
			System: "bigcommerce", Sold: big.Sold, Captured: big.Captured, Deliveries: big.Webhooks.Delivered,
			Failures: big.Webhooks.Failures, Dropped: big.Webhooks.Dropped, Missed: big.Missed, Polls: big.Polls,
		},
	}
}

var lastDigits = regexp.MustCompile(`(\d+)\D*$`)

// unfed finds a shop order at the ERP and at the WMS by its name in the reference, or by its id at the end of the
// external id, whatever else the engine puts there.
func (w *World) unfed(refused []wms.Refusal) []Unfed {
	fed := make(map[string]bool)
	for _, o := range w.ERP.Orders() {
		fed[o.OtherRefNum], fed[digits(o.ExternalID)] = true, true
	}
	causes := make(map[string]string)
	for _, r := range refused {
		causes[r.Reference], causes[digits(r.ExternalID)] = r.Cause, r.Cause
	}
	delete(causes, "")
	missing := []Unfed{}
	for _, name := range w.Shop.Captured() {
		o, _ := w.Shop.Order(name)
		id := digits(o.AdminGraphQLID)
		if fed[name] || fed[id] {
			continue
		}
		cause := causes[name]
		if cause == "" {
			cause = causes[id]
		}
		cancelled := o.CancelledAt != nil
		missing = append(missing, Unfed{Order: name, Cause: cause, Cancelled: cancelled, Unpaid: !cancelled && o.FinancialStatus != "paid"})
	}
	slices.SortFunc(missing, func(a, b Unfed) int { return orderNumber(a.Order) - orderNumber(b.Order) })
	return missing
}

func digits(id string) string {
	found := lastDigits.FindStringSubmatch(id)
	if found == nil {
		return ""
	}
	return found[1]
}
