package shopify

// Right is part of connectors.Entitled: a webhook of orders needs the scope that reads them.
func (Shopify) Right(string) string { return "the scope read_orders" }
