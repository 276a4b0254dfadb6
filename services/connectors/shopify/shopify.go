// Package shopify speaks with Shopify shops: it checks and reads their webhooks,
// looks for what these miss, and keeps the stock, over the GraphQL Admin API. Facts are from shopify.dev
// as of API version 2026-10.
package shopify

import "github.com/peppasync/peppasync/services/connectors"

// Shopify implements connectors.Source, connectors.Phased, connectors.System,
// connectors.Prober and connectors.Metered. It has no state.
type Shopify struct{}

var (
	_ connectors.Source     = Shopify{}
	_ connectors.Enumerated = Shopify{}
	_ connectors.Documented = Shopify{}
	_ connectors.Phased     = Shopify{}
	_ connectors.System     = Shopify{}
	_ connectors.Prober     = Shopify{}
	_ connectors.Metered    = Shopify{}
)
