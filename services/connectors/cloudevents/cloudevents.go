// Package cloudevents reads webhooks that are CloudEvents (HTTP protocol binding 1.0.2),
// in binary, structured or batched mode. An event is kept in the JSON format, whichever
// mode it came in, so that an expression reads the same of each. Its order is its data.
package cloudevents

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/canonical"
	"github.com/peppasync/peppasync/services/connectors/envelope"
	"github.com/peppasync/peppasync/services/connectors/signature"
)

// Members of an event that its data is in.
const (
	memberData   = "data"
	memberBase64 = "data_base64"
	memberType   = "datacontenttype"
)

// CloudEvents implements connectors.Source and connectors.Invited. The zero value
// compiles the Connector's expression for each event.
type CloudEvents struct {
	orders canonical.Reader
}

var (
	_ connectors.Source  = CloudEvents{}
	_ connectors.Invited = CloudEvents{}
)

// New returns a CloudEvents that keeps what it compiles.
func New() CloudEvents { return CloudEvents{orders: canonical.New()} }

// Verify checks the secret that the sender shows (HTTP webhooks 1.0.2, section 3.1), or
// the signature by spec.webhook.hmac. The token of section 3.2 stands in the address,
// which others log, and counts for nothing.
func (CloudEvents) Verify(delivery connectors.Delivery) ([]connectors.Event, error) {
	if err := signature.Check(delivery); err != nil {
		return nil, err
	}
	// The name of the batch begins with that of the single event.
	switch kind := mediaType(delivery.Header.Get("Content-Type")); {
	case strings.HasPrefix(kind, "application/cloudevents-batch"):
		return batch(kind, delivery.Body)
	case strings.HasPrefix(kind, "application/cloudevents"):
		return structured(kind, delivery.Body)
	default:
		return binary(delivery.Header, delivery.Body)
	}
}

// Order reads the order in data, or what spec.webhook.order makes of the event.
func (c CloudEvents) Order(spec *v1alpha1.ConnectorSpec, topic string, body []byte) (*orderv1.Order, error) {
	return c.orders.Order(spec, topic, body, memberData)
}

// Invitation answers a sender that asks whether its events are wanted (HTTP webhooks
// 1.0.2, section 4). They are, from whoever has the secret; how many at a time is said by
// each answer. Where it wants to be called back nobody does: the address is a stranger's.
func (CloudEvents) Invitation(header http.Header) http.Header {
	origin := header.Get("WebHook-Request-Origin")
	if origin == "" {
		return nil
	}
	answer := make(http.Header)
	answer.Set("WebHook-Allowed-Origin", origin)
	answer.Set("WebHook-Allowed-Rate", "*")
	return answer
}

func batch(kind string, body []byte) ([]connectors.Event, error) {
	if !isJSON(kind) {
		return nil, unsupported(kind)
	}
	var items []json.RawMessage
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '[' {
		return nil, fmt.Errorf("%w: the body of a batch is not a JSON list", connectors.ErrMalformed)
	}
	if err := json.Unmarshal(body, &items); err != nil {
		return nil, fmt.Errorf("%w: the body of a batch: %w", connectors.ErrMalformed, err)
	}
	events := make([]connectors.Event, len(items))
	for i, item := range items {
		event, err := fromJSON(item)
		if err != nil {
			// The others are in order, and a sender that is told 400 may never send them
			// again.
			event = unreadable(item)
			event.Malformed = fmt.Sprintf("event [%d] of a batch of %d: %v", i, len(items), err)
		}
		events[i] = event
	}
	return events, nil
}

// unreadable names what is no event by what it says, with its type where it has one.
func unreadable(item json.RawMessage) connectors.Event {
	event := connectors.Event{ID: envelope.Digest(string(item)), Body: item}
	if members, err := envelope.Read(item); err == nil && envelope.Topic(members.Text("type"), "") == nil {
		event.Topic = members.Text("type")
	}
	return event
}

func structured(kind string, body []byte) ([]connectors.Event, error) {
	if !isJSON(kind) {
		return nil, unsupported(kind)
	}
	event, err := fromJSON(body)
	if err != nil {
		return nil, err
	}
	return []connectors.Event{event}, nil
}

// fromJSON reads an event in the JSON format. It is kept as it came, but for JSON that is
// sent as bytes.
func fromJSON(body []byte) (connectors.Event, error) {
	members, err := envelope.Read(body)
	if err != nil {
		return connectors.Event{}, err
	}
	if encoded := members.Text(memberBase64); encoded != "" && members[memberData] == nil && holdsJSON(members.Text(memberType)) {
		data, err := base64.StdEncoding.DecodeString(encoded)
		if err == nil && json.Valid(data) {
			members[memberData] = data
			delete(members, memberBase64)
			if body, err = encode(members); err != nil {
				return connectors.Event{}, err
			}
		}
	}
	return eventOf(members, body)
}

func binary(header http.Header, body []byte) ([]connectors.Event, error) {
	members := make(envelope.Members)
	// Sorted, so that the same delivery always has the same problem.
	for _, name := range slices.Sorted(maps.Keys(header)) {
		attribute, ours := strings.CutPrefix(strings.ToLower(name), "ce-")
		if !ours || attribute == memberData || attribute == memberType || strings.Trim(attribute, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			continue
		}
		value, err := decode(header.Get(name))
		if err != nil {
			return nil, fmt.Errorf("%w: header %s: %w", connectors.ErrMalformed, strings.ToLower(name), err)
		}
		members.Set(attribute, value)
	}
	if err := putData(members, header.Get("Content-Type"), body); err != nil {
		return nil, err
	}
	kept, err := encode(members)
	if err != nil {
		return nil, err
	}
	event, err := eventOf(members, kept)
	if err != nil {
		return nil, err
	}
	return []connectors.Event{event}, nil
}

// putData puts the body of a delivery in binary mode where the JSON format has it.
func putData(members envelope.Members, kind string, body []byte) error {
	if kind != "" {
		members.Set(memberType, kind)
	}
	switch {
	case len(body) == 0: // an event without data
	case !holdsJSON(kind):
		members.Set(memberBase64, base64.StdEncoding.EncodeToString(body))
	case !json.Valid(body):
		return fmt.Errorf("%w: the body is not JSON", connectors.ErrMalformed)
	default:
		members[memberData] = body
	}
	return nil
}

// eventOf reads the attributes that every event has.
func eventOf(members envelope.Members, body []byte) (connectors.Event, error) {
	if version := members.Text("specversion"); version != "1.0" {
		return connectors.Event{}, fmt.Errorf("%w: specversion is %q, expected 1.0", connectors.ErrMalformed, version)
	}
	id, source, topic := members.Text("id"), members.Text("source"), members.Text("type")
	if id == "" || source == "" {
		return connectors.Event{}, fmt.Errorf("%w: id or source is missing or empty", connectors.ErrMalformed)
	}
	if err := envelope.Topic(topic, "type of the event"); err != nil {
		return connectors.Event{}, err
	}
	// An id is the source's own; together they name the event.
	return connectors.Event{Topic: topic, ID: envelope.ID(source, id), TriggeredAt: members.Time("time"), Body: body}, nil
}

// encode writes members in their alphabetical order, numbers and texts as they came.
func encode(members envelope.Members) ([]byte, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(members); err != nil {
		return nil, fmt.Errorf("%w: the event: %w", connectors.ErrMalformed, err)
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n")), nil
}

func unsupported(kind string) error {
	return fmt.Errorf("%w: Content-Type %.100q, expected events in JSON", connectors.ErrMalformed, kind)
}
