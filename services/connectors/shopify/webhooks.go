package shopify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// listedWebhooks is a page of them: an app has a few dozen.
const listedWebhooks = 100

const listWebhooksQuery = `query ListWebhooks($first: Int!, $after: String) {
  webhookSubscriptions(first: $first, after: $after) {
    nodes { id topic uri }
    pageInfo { hasNextPage endCursor }
  }
}`

const createWebhookMutation = `mutation CreateWebhook($topic: WebhookSubscriptionTopic!, $webhook: WebhookSubscriptionInput!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: $webhook) {
    webhookSubscription { id }
    userErrors { field message }
  }
}`

const updateWebhookMutation = `mutation UpdateWebhook($id: ID!, $webhook: WebhookSubscriptionInput!) {
  webhookSubscriptionUpdate(id: $id, webhookSubscription: $webhook) {
    webhookSubscription { id }
    userErrors { field message }
  }
}`

type webhooksVariables struct {
	First int     `json:"first"`
	After *string `json:"after"`
}

type webhookVariables struct {
	ID      string       `json:"id,omitempty"`
	Topic   string       `json:"topic,omitempty"`
	Webhook webhookInput `json:"webhook"`
}

type webhookInput struct {
	URI    string `json:"uri"`
	Format string `json:"format,omitempty"`
}

type subscriptions struct {
	Nodes []struct {
		ID    text `json:"id"`
		Topic text `json:"topic"`
		URI   text `json:"uri"`
	} `json:"nodes"`
	PageInfo pageInfo `json:"pageInfo"`
}

type subscribed struct {
	Subscription *struct {
		ID text `json:"id"`
	} `json:"webhookSubscription"`
	UserErrors []struct {
		Message text `json:"message"`
	} `json:"userErrors"`
}

func listWebhooksRequest(spec *v1alpha1.ConnectorSpec, call connectors.Call) (connectors.Request, error) {
	page, err := listing.ParsePage(call.Arguments)
	if err != nil {
		return connectors.Request{}, fmt.Errorf("listWebhooks: %w", err)
	}
	return post(spec, graphQL{listWebhooksQuery, webhooksVariables{listedWebhooks, after(page)}}, connectionCost+listedWebhooks)
}

// putWebhookRequest makes or mends one. No secret goes along: the app's own signs.
func putWebhookRequest(spec *v1alpha1.ConnectorSpec, call connectors.Call) (connectors.Request, error) {
	w, err := listing.ParseWebhook(call.Arguments)
	if err != nil {
		return connectors.Request{}, fmt.Errorf("putWebhook: %w", err)
	}
	if w.ID != "" {
		return post(spec, graphQL{updateWebhookMutation, webhookVariables{
			ID: globalID("WebhookSubscription", w.ID), Webhook: webhookInput{URI: w.Address},
		}}, mutationCost)
	}
	topic := enumOf(w.Topic)
	if strings.Trim(w.Topic, "abcdefghijklmnopqrstuvwxyz_/") != "" || topicOf(topic) != w.Topic {
		return connectors.Request{}, fmt.Errorf("putWebhook: topic %q is not one such as orders/create", w.Topic)
	}
	return post(spec, graphQL{createWebhookMutation, webhookVariables{
		Topic: topic, Webhook: webhookInput{URI: w.Address, Format: "JSON"},
	}}, mutationCost)
}

// enumOf spells orders/create as GraphQL does, ORDERS_CREATE.
func enumOf(topic string) string {
	return strings.ToUpper(strings.ReplaceAll(topic, "/", "_"))
}

// resources are those whose names have more than one word, of the topics whose first
// underscore is not the slash.
var resources = []string{
	"CUSTOMER_ACCOUNT_SETTINGS", "CUSTOMER_GROUPS", "CUSTOMER_PAYMENT_METHODS", "CUSTOMER_TAGS", "CUSTOMERS_EMAIL_MARKETING_CONSENT",
	"CUSTOMERS_MARKETING_CONSENT", "DRAFT_ORDERS", "FULFILLMENT_EVENTS", "FULFILLMENT_HOLDS", "FULFILLMENT_ORDERS", "INVENTORY_ITEMS",
	"INVENTORY_LEVELS", "INVENTORY_SHIPMENTS", "INVENTORY_TRANSFERS", "ORDER_TRANSACTIONS", "PAYMENT_SCHEDULES", "PAYMENT_TERMS",
	"PRODUCT_FEEDS", "PRODUCT_LISTINGS", "REVERSE_DELIVERIES", "REVERSE_FULFILLMENT_ORDERS", "SELLING_PLAN_GROUPS",
	"SUBSCRIPTION_BILLING_ATTEMPTS", "SUBSCRIPTION_BILLING_CYCLES", "SUBSCRIPTION_CONTRACTS", "TAX_SERVICES", "TENDER_TRANSACTIONS",
}

// topicOf is the reverse of enumOf: ORDERS_PARTIALLY_FULFILLED is orders/partially_fulfilled,
// and INVENTORY_LEVELS_UPDATE is inventory_levels/update.
func topicOf(enum string) string {
	cut := strings.IndexByte(enum, '_')
	for _, resource := range resources {
		if strings.HasPrefix(enum, resource+"_") {
			cut = max(cut, len(resource))
		}
	}
	if cut < 0 {
		return strings.ToLower(enum)
	}
	return strings.ToLower(enum[:cut] + "/" + enum[cut+1:])
}

// watched reads the answers of the operations by which is found what webhooks miss;
// false for others, and where the data of the operation is not there.
func watched(call connectors.Call, r connectors.Reply, body *response) (connectors.Answer, bool) {
	switch data := body.Data; {
	case call.Operation == connectors.OperationListOrders && data.Orders != nil:
		return listOrders(r, data.Orders), true
	case call.Operation == connectors.OperationReadOrder && len(data.Order) > 0:
		return readOrder(r, call, data.Order), true
	case call.Operation == connectors.OperationListWebhooks && data.Subscriptions != nil:
		return listWebhooks(r, data.Subscriptions), true
	case call.Operation == connectors.OperationPutWebhook && data.Created != nil:
		return putWebhook(r, call, data.Created), true
	case call.Operation == connectors.OperationPutWebhook && data.Updated != nil:
		return putWebhook(r, call, data.Updated), true
	}
	return connectors.Answer{}, false
}

// listWebhooks reads a page of subscriptions. One that is there is active: a shop
// deletes what it gives up on.
func listWebhooks(r connectors.Reply, found *subscriptions) connectors.Answer {
	page := listing.WebhookPage{Next: found.PageInfo.next()}
	for _, node := range found.Nodes {
		if node.ID == "" {
			return reply.Unreadable(r, "a webhook without an id")
		}
		page.Webhooks = append(page.Webhooks, listing.Webhook{
			ID: string(node.ID), Topic: topicOf(string(node.Topic)), Address: string(node.URI), Active: true,
		})
	}
	return reply.Answered(r, page.Value(), nil)
}

// taken is how a shop refuses a second subscription of one topic and address.
const taken = "already been taken"

func putWebhook(r connectors.Reply, call connectors.Call, put *subscribed) connectors.Answer {
	if len(put.UserErrors) > 0 {
		message := string(put.UserErrors[0].Message)
		if w, err := listing.ParseWebhook(call.Arguments); err == nil && w.ID == "" && strings.Contains(message, taken) {
			return reply.Refused(r, fault.AlreadyDone, "already-there", message)
		}
		return reply.Refused(r, fault.Conflict, "webhook-refused", message)
	}
	if put.Subscription == nil {
		return reply.Unreadable(r, "neither a webhook nor an error")
	}
	answer := reply.Told(r)
	answer.Reference = reply.Shorten(string(put.Subscription.ID))
	return answer
}

// denied turns a refusal for want of a right into one that the asker handles itself:
// a token may read stock and not orders, and then only what needs the right stops.
func denied(call connectors.Call, verdict fault.Verdict) fault.Verdict {
	watching := []string{
		connectors.OperationListOrders, connectors.OperationReadOrder, connectors.OperationListWebhooks, connectors.OperationPutWebhook,
	}
	if verdict.Class == fault.Auth && verdict.Cause.Code == "access-denied" && slices.Contains(watching, call.Operation) {
		verdict.Class, verdict.Cause.Code = fault.Conflict, connectors.CodeNoRight
	}
	return verdict
}
