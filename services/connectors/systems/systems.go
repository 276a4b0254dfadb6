// Package systems lists every external system that the engine can speak with.
// To add a system is to add its folder, and its line here.
package systems

import (
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/bigcommerce"
	"github.com/peppasync/peppasync/services/connectors/cloudevents"
	"github.com/peppasync/peppasync/services/connectors/hmac"
	"github.com/peppasync/peppasync/services/connectors/http"
	"github.com/peppasync/peppasync/services/connectors/netsuite"
	"github.com/peppasync/peppasync/services/connectors/shopify"
	"github.com/peppasync/peppasync/services/connectors/standardwebhooks"
	"github.com/peppasync/peppasync/services/connectors/stripe"
	"github.com/peppasync/peppasync/services/connectors/twilio"
	"github.com/peppasync/peppasync/services/connectors/woocommerce"
)

// All returns the systems that calls can be made to, by the name that
// Connectors use in spec.system. The map is the caller's own.
func All() map[string]connectors.System {
	return map[string]connectors.System{
		string(v1alpha1.SystemShopify):     shopify.Shopify{},
		string(v1alpha1.SystemWooCommerce): woocommerce.WooCommerce{},
		string(v1alpha1.SystemBigCommerce): bigcommerce.BigCommerce{},
		string(v1alpha1.SystemNetSuite):    netsuite.NetSuite{},
		string(v1alpha1.SystemHTTP):        http.New(),
		string(v1alpha1.SystemTwilio):      twilio.Twilio{},
	}
}

// Sources returns the systems whose webhooks are understood, likewise.
func Sources() map[string]connectors.Source {
	return map[string]connectors.Source{
		string(v1alpha1.SystemShopify):          shopify.Shopify{},
		string(v1alpha1.SystemWooCommerce):      woocommerce.WooCommerce{},
		string(v1alpha1.SystemHTTP):             hmac.New(),
		string(v1alpha1.SystemStripe):           stripe.Stripe{},
		string(v1alpha1.SystemStandardWebhooks): standardwebhooks.New(),
		string(v1alpha1.SystemCloudEvents):      cloudevents.New(),
		string(v1alpha1.SystemBigCommerce):      bigcommerce.BigCommerce{},
	}
}

// Set returns both.
func Set() connectors.Set { return connectors.Set{Systems: All(), Sources: Sources()} }
