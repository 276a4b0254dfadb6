// Package woocommerce speaks with WooCommerce shops: it checks and reads their
// webhooks, and reads orders and keeps webhooks over the REST API, version 3. Facts
// are from class-wc-webhook.php and the controllers of the REST API, version 11.
package woocommerce

import "github.com/peppasync/peppasync/services/connectors"

// WooCommerce implements all of the interfaces below. It has no state.
type WooCommerce struct{}

var (
	_ connectors.Source     = WooCommerce{}
	_ connectors.Enumerated = WooCommerce{}
	_ connectors.Thin       = WooCommerce{}
	_ connectors.Canceller  = WooCommerce{}
	_ connectors.Topical    = WooCommerce{}
	_ connectors.System     = WooCommerce{}
	_ connectors.Finder     = WooCommerce{}
	_ connectors.Prober     = WooCommerce{}
	_ connectors.Sealer     = WooCommerce{}
)

// The topics that are about orders.
const (
	topicCreated  = "order.created"
	topicUpdated  = "order.updated"
	topicRestored = "order.restored"
	// topicDeleted comes when an order is put into the trash, and when it is deleted for
	// good. Its body has the id and nothing else.
	topicDeleted = "order.deleted"
)
