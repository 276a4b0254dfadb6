package catalog

// What is expected of a field, in words, by Go type and JSON name. For text it
// is an example, for everything else the whole phrase.
var expected = map[string]string{
	"ConnectorSpec.endpoint":      "https://123456.suitetalk.api.netsuite.com",
	"ConnectorSpec.timeout":       "a time with its unit, such as 30s",
	"SecretReference.name":        "netsuite-token",
	"Webhook.maxBodyBytes":        "a whole number of bytes, such as 1048576",
	"Limit.name":                  "per-minute",
	"Limit.headroom":              "a whole number of calls, such as 1, or a share, such as \"2%\"",
	"Limit.arrivesWithin":         "a time with its unit, such as 20ms",
	"RollingWindow.calls":         "a whole number of calls, such as 100",
	"RollingWindow.per":           "a time with its unit, such as 1m",
	"Concurrency.calls":           "a whole number of calls, such as 15",
	"Lane.name":                   "express",
	"Lane.weight":                 "a whole number, such as 7",
	"Retry.maxAttempts":           "a whole number of attempts, such as 12",
	"Retry.maxAge":                "a time with its unit, such as 72h",
	"ShopifySettings.apiVersion":  "\"2026-10\"",
	"HTTPOperation.name":          "putOrder",
	"HTTPOperation.method":        "PUT",
	"HTTPOperation.path":          "/orders/{externalId}",
	"HTTPSettings.probePath":      "/health",
	"TwilioSettings.accountSID":   "AC0123456789abcdef0123456789abcdef",
	"TwilioSettings.from":         "\"+15550100001\"",
	"FlowSpec.when":               "order.financial_status == \"paid\"",
	"EventSource.connector":       "shopify",
	"EventSource.topics":          "orders/create",
	"DeliverStep.name":            "erp",
	"DeliverStep.connector":       "netsuite",
	"DeliverStep.operation":       "upsertSalesOrder",
	"DeliverStep.mapping":         "{\"externalId\": externalId}",
	"DeliverStep.lane":            "standard",
	"DeliverStep.after":           "warehouse",
	"StockPoolSpec.skus":          "DESK-1",
	"StockPoolSpec.buffer":        "a whole number of units, such as 5",
	"StockPoolSpec.lane":          "express",
	"StockSource.connector":       "netsuite",
	"StockSource.location":        "\"1\"",
	"StockSource.readEvery":       "a time with its unit, such as 5s",
	"StockChannel.connector":      "shopify",
	"StockChannel.location":       "gid://shopify/Location/1",
	"NotificationPolicySpec.to":   "\"+15550100002\"",
	"NotificationRoute.connector": "twilio",
}

// enums holds the values of the text types that are closed lists. The kubebuilder
// markers on the types say the same; a test compares the two.
var enums = map[string][]string{
	"System":               {"Shopify", "NetSuite", "HTTP", "Twilio"},
	"Pacing":               {"Even", "Burst"},
	"HTTPEffect":           {"Idempotent", "Once", "None"},
	"StockMode":            {"Shared", "Escrow"},
	"NotificationEvent":    {"Held"},
	"NotificationGrouping": {"Hold"},
}
