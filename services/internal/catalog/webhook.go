package catalog

import (
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

var (
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_|~-]{1,128}$")
	// headerPrefix holds neither of the signs that stand between the elements of a header.
	headerPrefix = regexp.MustCompile(`^[\x21-\x2b\x2d-\x3a\x3c-\x7e]{0,32}$`)
	fieldPath    = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$`)
)

const (
	maxWebhookTopic = 255
	maxFieldPath    = 253
	bodyToken       = "{body}"
	timestampToken  = "{timestamp}"
)

func (c *compiler) webhook(e *entry[*v1alpha1.Connector]) {
	spec := &e.object.Spec
	webhook := spec.Webhook
	if webhook == nil {
		return
	}
	if c.systems.Sources[string(spec.System)] == nil && c.known(spec.System) && spec.System != v1alpha1.SystemGRPC {
		c.reportf(e.Resource, "spec.webhook", "the webhooks of %s cannot be read, expected no webhook here", spec.System)
	}
	c.secret(e.Resource, "spec.webhook.secretRef.name", webhook.SecretRef.Name)
	c.count(e.Resource, "spec.webhook.maxBodyBytes", webhook.MaxBodyBytes, 1<<10, 4<<20)
	c.webhookAddress(e)
	if spec.SignsTime() {
		c.between(e.Resource, "spec.webhook.tolerance", webhook.Tolerance.Duration, time.Second, 168*time.Hour)
	}
	c.foreignWebhook(e.Resource, spec)
	c.hmac(e.Resource, webhook.HMAC)
	c.names(e.Resource, webhook)
	c.orders(e.Resource, webhook)
}

// foreignWebhook reports what belongs to other systems' webhooks.
func (c *compiler) foreignWebhook(r *Resource, spec *v1alpha1.ConnectorSpec) {
	http := spec.System == v1alpha1.SystemHTTP
	for _, part := range []struct {
		field            string
		written, belongs bool
		where            string
	}{
		{"tolerance", spec.Webhook.Tolerance.Duration != 0, spec.SignsTime(), "systems StandardWebhooks, Stripe and BigCommerce, and to hmac.timestamp"},
		{"hmac", spec.Webhook.HMAC != nil, http || spec.System == v1alpha1.SystemCloudEvents, "systems HTTP and CloudEvents"},
		{"topic", spec.Webhook.Topic != nil, http, "system HTTP"},
		{"eventId", spec.Webhook.EventID != nil, http, "system HTTP"},
		{"orderTopics", len(spec.Webhook.OrderTopics) > 0, spec.System.ReadsBodies(), "systems HTTP, StandardWebhooks and CloudEvents"},
		{"order", spec.Webhook.Order != "", spec.System.ReadsBodies(), "systems HTTP, StandardWebhooks and CloudEvents"},
	} {
		if part.written && !part.belongs {
			c.reportf(r, "spec.webhook."+part.field, "belongs to %s, expected none here", part.where)
		}
	}
}

// hmac checks how deliveries are said to be signed.
func (c *compiler) hmac(r *Resource, h *v1alpha1.HMAC) {
	const field = "spec.webhook.hmac"
	if h == nil {
		return
	}
	c.header(r, field+".header", h.Header, "X-Hub-Signature-256")
	c.prefix(r, field+".prefix", h.Prefix)
	enum(c, r, field+".algorithm", h.Algorithm, enums["HMACAlgorithm"])
	enum(c, r, field+".encoding", h.Encoding, enums["SignatureEncoding"])
	if h.Timestamp != nil {
		c.header(r, field+".timestamp.header", h.Timestamp.Header, "X-Slack-Request-Timestamp")
		c.prefix(r, field+".timestamp.prefix", h.Timestamp.Prefix)
		enum(c, r, field+".timestamp.format", h.Timestamp.Format, enums["TimestampFormat"])
	}
	bodies, times := strings.Count(h.Signed, bodyToken), strings.Count(h.Signed, timestampToken)
	rest := strings.ReplaceAll(strings.ReplaceAll(h.Signed, bodyToken, ""), timestampToken, "")
	switch {
	case bodies != 1 || times > 1 || strings.ContainsAny(rest, "{}") || utf8.RuneCountInString(h.Signed) > 128:
		c.reportf(r, field+".signed", "found %q, expected a text with {body} once in it and {timestamp} at most once, such as \"{timestamp}.{body}\"",
			shorten(h.Signed))
	case times == 1 && h.Timestamp == nil:
		c.reportf(r, field+".signed", "holds {timestamp}, expected none without hmac.timestamp, which says where it comes from")
	case times == 0 && h.Timestamp != nil:
		c.reportf(r, field+".signed", "found %q, expected {timestamp} in it: one that is not signed protects from nothing", shorten(h.Signed))
	}
}

func (c *compiler) header(r *Resource, field string, name v1alpha1.HeaderName, example string) {
	if !headerName.MatchString(string(name)) {
		// The name is not repeated: it may be the secret itself.
		c.reportf(r, field, "is not the name of a header, expected one such as %s; what it holds never belongs here", example)
	}
}

func (c *compiler) prefix(r *Resource, field, prefix string) {
	if !headerPrefix.MatchString(prefix) {
		c.reportf(r, field, "found %q, expected at most 32 letters and signs without space, comma and semicolon, such as sha256=", shorten(prefix))
	}
}

// names checks where a delivery is said to name its topic and its event.
func (c *compiler) names(r *Resource, webhook *v1alpha1.Webhook) {
	if topic := webhook.Topic; topic != nil {
		c.oneOf(r, "spec.webhook.topic", string(topic.Header), topic.Field, topic.Constant)
		if len(topic.Constant) > maxWebhookTopic {
			c.reportf(r, "spec.webhook.topic.constant", "has %d bytes, expected at most %d", len(topic.Constant), maxWebhookTopic)
		}
	}
	if id := webhook.EventID; id != nil {
		c.oneOf(r, "spec.webhook.eventId", string(id.Header), id.Field)
	}
}

// oneOf checks that one of header, field and constant is written.
func (c *compiler) oneOf(r *Resource, field string, values ...string) {
	kinds := []string{"header", "field", "constant"}[:len(values)]
	written := 0
	for i, value := range values {
		if value == "" {
			continue
		}
		written++
		switch kinds[i] {
		case "header":
			c.header(r, field+".header", v1alpha1.HeaderName(value), "X-Shop-Topic")
		case "field":
			if !fieldPath.MatchString(value) || len(value) > maxFieldPath {
				c.reportf(r, field+".field", "found %q, expected a field of the body, such as type or meta.event", shorten(value))
			}
		}
	}
	if written != 1 {
		c.reportf(r, field, "has %d of %s, expected one of them", written, choices(kinds))
	}
}

// orders checks how bodies are said to become orders.
func (c *compiler) orders(r *Resource, webhook *v1alpha1.Webhook) {
	const topics = "spec.webhook.orderTopics"
	if len(webhook.OrderTopics) > 0 {
		c.size(r, topics, len(webhook.OrderTopics), 64, "topic")
		c.unique(r, topics, webhook.OrderTopics, "")
	}
	for i, topic := range webhook.OrderTopics {
		if topic == "" || len(topic) > maxWebhookTopic {
			c.reportf(r, at(topics, i), "has %d bytes, expected 1 to %d, such as order.created", len(topic), maxWebhookTopic)
		}
	}
	if webhook.Order != "" {
		_, err := c.expressions.Reading(webhook.Order)
		c.expression(r, "spec.webhook.order", err)
	}
}
