package shopify

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// subscription is one that the API made; the deliverer's lock guards it.
type subscription struct {
	id                     int64
	topic                  string // as in the header, orders/create
	uri, name, filter      string
	format                 string
	includeFields, spaces  []string
	created, updated       time.Time
	acknowledged, failures int
}

// SubscriptionReport is one subscription of the API.
type SubscriptionReport struct {
	ID    string `json:"id"`
	Topic string `json:"topic"`
	URI   string `json:"uri"`
	// Acknowledged counts webhooks, Failures attempts.
	Acknowledged int `json:"acknowledged"`
	Failures     int `json:"failures"`
}

// firstSubscriptionID is the id of the first subscription.
const firstSubscriptionID = 8_000_001

// count needs the deliverer's lock. Target's subscription, nil, has its counts in the tally.
func (s *subscription) count(ok bool) {
	switch {
	case s == nil:
	case ok:
		s.acknowledged++
	default:
		s.failures++
	}
}

func (d *deliverer) subscriptionReports() []SubscriptionReport {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := []SubscriptionReport{}
	for _, s := range d.subscriptions {
		all = append(all, SubscriptionReport{
			ID: gid("WebhookSubscription", s.id), Topic: s.topic, URI: s.uri, Acknowledged: s.acknowledged, Failures: s.failures,
		})
	}
	return all
}

// topicEnum is how GraphQL spells a topic, ORDERS_CREATE.
func topicEnum(topic string) string { return strings.ToUpper(strings.ReplaceAll(topic, "/", "_")) }

// topicOf is the spelling of the header. Of the topics that the schema has, all but the first word are the event, except for
// inventory levels.
func topicOf(enum string) string {
	lower := strings.ToLower(enum)
	if rest, ok := strings.CutPrefix(lower, "inventory_levels_"); ok {
		return "inventory_levels/" + rest
	}
	return strings.Replace(lower, "_", "/", 1)
}

func (d *deliverer) subscriptionByGID(id string) any {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.subscription(id); s != nil {
		return d.subscriptionNode(*s)
	}
	return nil
}

// subscription needs the lock.
func (d *deliverer) subscription(id string) *subscription {
	i := slices.IndexFunc(d.subscriptions, func(s *subscription) bool { return gid("WebhookSubscription", s.id) == id })
	if i < 0 {
		return nil
	}
	return d.subscriptions[i]
}

// subscriptionNode takes a copy: it is read after the lock is given back.
func (d *deliverer) subscriptionNode(s subscription) node {
	return node{"WebhookSubscription", func(name string, _ map[string]any) any {
		switch name {
		case "id":
			return gid("WebhookSubscription", s.id)
		case "legacyResourceId":
			return strconv.FormatInt(s.id, 10)
		case "topic":
			return topicEnum(s.topic)
		case "uri", "callbackUrl":
			return s.uri
		case "format":
			return s.format
		case "name":
			return textOrNull(s.name)
		case "filter":
			return textOrNull(s.filter)
		case "includeFields":
			return s.includeFields
		case "metafieldNamespaces":
			return s.spaces
		case "createdAt":
			return s.created.UTC().Format(time.RFC3339)
		case "updatedAt":
			return s.updated.UTC().Format(time.RFC3339)
		default:
			return d.versionNode()
		}
	}}
}

func (d *deliverer) versionNode() node {
	return node{"ApiVersion", func(name string, _ map[string]any) any {
		switch name {
		case "handle", "displayName":
			return d.cfg.APIVersion
		default:
			return true
		}
	}}
}

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// subscriptionConnection lists what the API made: what was made in the shop's own pages is not shown.
func (d *deliverer) subscriptionConnection(arguments map[string]any) any {
	first, given := integer(arguments["first"])
	if !given || first < 1 || first > pageMax {
		return &refusal{"INVALID_FIELD_ARGUMENTS", fmt.Sprintf("first must be given, from 1 to %d", pageMax)}
	}
	topics, _ := arguments["topics"].([]any)
	uri := text(arguments["uri"])
	d.mu.Lock()
	defer d.mu.Unlock()
	found := []subscription{}
	for _, s := range d.subscriptions {
		if (len(topics) == 0 || slices.Contains(topics, any(topicEnum(s.topic)))) && (uri == "" || uri == s.uri) {
			found = append(found, *s)
		}
	}
	if arguments["reverse"] == true {
		slices.Reverse(found)
	}
	behind := len(found)
	if after := text(arguments["after"]); after != "" {
		id, err := strconv.ParseInt(strings.TrimPrefix(after, "w"), 10, 64)
		if err != nil {
			return &refusal{"INVALID_FIELD_ARGUMENTS", fmt.Sprintf("cursor %q is not known", after)}
		}
		// By its place, since the one that the cursor names may be gone.
		found = slices.DeleteFunc(found, func(s subscription) bool { return s.id == id || (s.id < id) != (arguments["reverse"] == true) })
	}
	cursor := func(s subscription) string { return fmt.Sprintf("w%d", s.id) }
	page := found[:min(first, len(found))]
	return connection{"WebhookSubscription", len(page) < len(found), len(found) < behind}.node(pageOf(page, cursor, d.subscriptionNode))
}

// createSubscription is the mutation webhookSubscriptionCreate.
func (d *deliverer) createSubscription(arguments map[string]any) *node {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	s := &subscription{
		id: d.nextID, topic: topicOf(text(arguments["topic"])), format: "JSON", includeFields: []string{}, spaces: []string{},
		created: now, updated: now,
	}
	if problems := d.write(s, arguments); len(problems) > 0 {
		return d.subscriptionPayload("WebhookSubscriptionCreatePayload", nil, problems)
	}
	d.nextID++
	d.subscriptions = append(d.subscriptions, s)
	return d.subscriptionPayload("WebhookSubscriptionCreatePayload", s, nil)
}

// updateSubscription is the mutation webhookSubscriptionUpdate. Webhooks that wait for their repetition keep their address.
func (d *deliverer) updateSubscription(arguments map[string]any) *node {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.subscription(text(arguments["id"]))
	if s == nil {
		return d.subscriptionPayload("WebhookSubscriptionUpdatePayload", nil, noSubscription())
	}
	changed := *s
	changed.updated = time.Now()
	if problems := d.write(&changed, arguments); len(problems) > 0 {
		return d.subscriptionPayload("WebhookSubscriptionUpdatePayload", nil, problems)
	}
	*s = changed
	return d.subscriptionPayload("WebhookSubscriptionUpdatePayload", s, nil)
}

func (d *deliverer) deleteSubscription(arguments map[string]any) *node {
	id := text(arguments["id"])
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.subscription(id)
	problems := noSubscription()
	if s != nil {
		d.subscriptions = slices.DeleteFunc(d.subscriptions, func(other *subscription) bool { return other == s })
		problems = nil
	}
	return &node{"WebhookSubscriptionDeletePayload", func(name string, _ map[string]any) any {
		switch {
		case name == "userErrors":
			return userErrorNodes(problems)
		case s == nil:
			return nil
		default:
			return id
		}
	}}
}

func noSubscription() []userError {
	return []userError{{field: []string{"id"}, message: "Webhook subscription does not exist"}}
}

// names of subscriptions: up to 50 of these characters.
var subscriptionName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,50}$`)

// write puts the input into the subscription, or says what is wrong; it needs the lock. The real API takes https alone, and
// addresses of EventBridge and Pub/Sub, to which nothing is delivered here; the texts of its errors are as seen in the field.
func (d *deliverer) write(s *subscription, arguments map[string]any) []userError {
	input, _ := arguments["webhookSubscription"].(map[string]any)
	for name, of := range map[string]*string{"uri": &s.uri, "name": &s.name, "filter": &s.filter, "format": &s.format} {
		if value, given := input[name]; given && value != nil {
			*of = text(value)
		}
	}
	for name, of := range map[string]*[]string{"includeFields": &s.includeFields, "metafieldNamespaces": &s.spaces} {
		if list, given := input[name].([]any); given {
			*of = []string{}
			for _, value := range list {
				*of = append(*of, text(value))
			}
		}
	}
	return d.check(s)
}

// check says what is wrong with a subscription; it needs the lock.
func (d *deliverer) check(s *subscription) []userError {
	field := []string{"webhookSubscription", "uri"}
	u, err := url.Parse(s.uri)
	switch {
	case s.uri == "":
		return []userError{{field: field, message: "Address can't be blank"}}
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return []userError{{field: field, message: "Address is invalid"}}
	case s.name != "" && !subscriptionName.MatchString(s.name):
		return []userError{{field: []string{"webhookSubscription", "name"}, message: "Name is invalid"}}
	}
	if slices.ContainsFunc(d.subscriptions, func(other *subscription) bool {
		return other.id != s.id && other.topic == s.topic && other.uri == s.uri && other.filter == s.filter
	}) {
		return []userError{{field: field, message: "Address for this topic has already been taken"}}
	}
	return nil
}

// subscriptionPayload needs the lock.
func (d *deliverer) subscriptionPayload(kind string, s *subscription, problems []userError) *node {
	var made any
	if s != nil {
		made = d.subscriptionNode(*s)
	}
	return &node{kind, func(name string, _ map[string]any) any {
		if name == "userErrors" {
			return userErrorNodes(problems)
		}
		return made
	}}
}

func userErrorNodes(problems []userError) []node {
	all := make([]node, 0, len(problems))
	for _, p := range problems {
		all = append(all, node{"UserError", func(name string, _ map[string]any) any {
			return map[string]any{"field": p.field, "message": p.message}[name]
		}})
	}
	return all
}
