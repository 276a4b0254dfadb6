// Package bigcommerce speaks with BigCommerce stores: it checks their webhooks, which
// only name an order, and reads orders and keeps webhooks over the REST API, version 2
// for orders and 3 for webhooks. Facts are from developer.bigcommerce.com.
package bigcommerce

import "github.com/peppasync/peppasync/services/connectors"

// BigCommerce implements all of the interfaces below. It has no state. What is left of
// the account's quota is in fields that package quota knows.
type BigCommerce struct{}

var (
	_ connectors.Source     = BigCommerce{}
	_ connectors.Enumerated = BigCommerce{}
	_ connectors.Thin       = BigCommerce{}
	_ connectors.Phased     = BigCommerce{}
	_ connectors.System     = BigCommerce{}
	_ connectors.Finder     = BigCommerce{}
	_ connectors.Prober     = BigCommerce{}
	_ connectors.Unsealer   = BigCommerce{}
)

const (
	topicCreated       = "store/order/created"
	topicUpdated       = "store/order/updated"
	topicStatusUpdated = "store/order/statusUpdated"
	// topicsOfOrders begin so; those of metafields, which do too, name the metafield.
	topicsOfOrders = "store/order/"
	ofMetafields   = "store/order/metafield/"
)
