package chaos

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// The judge of what was taken in reads what the INGEST streams hold, by a client of its
// own and past the product: a webhook that was answered with 2xx is in there, and what
// is in there was sent.

// again is a shop that comes again each second, and for as long as any test lasts. Real
// ones come eight times in four hours, which no test waits for.
func again() []jsontime.Duration {
	return slices.Repeat([]jsontime.Duration{jsontime.Duration(time.Second)}, 300)
}

// fastERP takes orders about as fast as they come in.
func fastERP() terms {
	return terms{
		calls: 400, per: time.Second, concurrency: 100, latency: fixed(5 * time.Millisecond), retries: again(),
		spec: map[string]any{"timeout": "2s", "commitHorizon": horizon.String()},
	}
}

// copies is how an event is stored: how often, in which order's name, and a digest of
// its body for each time.
type copies struct {
	topic, order string
	bodies       [][sha256.Size]byte
}

// stored reads all events that NATS holds in its INGEST streams, by their ids.
func stored(t *testing.T, url string) map[string]*copies {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	connection, err := nats.Connect(url, nats.Name("judge"))
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	defer connection.Close()
	js, err := jetstream.New(connection)
	if err != nil {
		t.Fatal(err)
	}
	events := make(map[string]*copies)
	names := js.StreamNames(ctx)
	shards := 0
	for name := range names.Name() {
		if !strings.HasPrefix(name, "INGEST_") {
			continue
		}
		shards++
		if err := readStream(ctx, js, name, events); err != nil {
			t.Fatalf("reading %s: %v", name, err)
		}
	}
	if err := names.Err(); err != nil || shards == 0 {
		t.Fatalf("%d INGEST streams: %v", shards, err)
	}
	return events
}

func readStream(ctx context.Context, js jetstream.JetStream, name string, into map[string]*copies) error {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	last := stream.CachedInfo().State.LastSeq
	if stream.CachedInfo().State.Msgs == 0 {
		return nil
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(500))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := message.Metadata()
		if err != nil {
			return err
		}
		if err := unpack(message.Data(), into); err != nil {
			return fmt.Errorf("message %d: %w", meta.Sequence.Stream, err)
		}
		if meta.Sequence.Stream >= last {
			return nil
		}
	}
}

// unpack reads a Pack as its schema says it (proto/peppasync/event/v1), and not by the
// code that the product has for it.
func unpack(pack []byte, into map[string]*copies) error {
	return fields(pack, func(number protowire.Number, event []byte) error {
		if number != 1 {
			return nil // a release
		}
		parts := make(map[protowire.Number]string)
		if err := fields(event, func(number protowire.Number, part []byte) error {
			parts[number] = string(part)
			return nil
		}); err != nil {
			return err
		}
		topic, id, body := parts[2], parts[3], parts[5]
		var order struct {
			Name string `json:"name"`
		}
		_ = json.Unmarshal([]byte(body), &order) // what is no order has no name
		c := into[id]
		if c == nil {
			c = &copies{topic: topic, order: order.Name}
			into[id] = c
		}
		c.bodies = append(c.bodies, sha256.Sum256([]byte(body)))
		return nil
	})
}

// fields calls visit with each field of a message that is bytes, and skips the others.
func fields(message []byte, visit func(protowire.Number, []byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
				return protowire.ParseError(n)
			}
			message = message[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if err := visit(number, value); err != nil {
			return err
		}
	}
	return nil
}

// acknowledged are the webhooks that have been answered with 2xx.
func (f *field) acknowledged() []shopify.Delivery {
	return slices.DeleteFunc(f.world.Shop.Deliveries(), func(d shopify.Delivery) bool { return d.Acknowledged == nil })
}

// untaken returns what is wrong with what is stored: webhooks that were acknowledged
// and are not in there, copies that differ, and what nobody sent.
func untaken(acknowledged, sent []shopify.Delivery, events map[string]*copies) []string {
	var found []string
	for _, d := range acknowledged {
		if c := events[d.WebhookID]; c == nil {
			found = append(found, fmt.Sprintf("lost: %s of order %s was answered 2xx at %v and is in no stream", d.Topic, d.Order, d.Acknowledged.Format(time.TimeOnly+".000")))
		} else if c.topic != d.Topic || c.order != d.Order {
			found = append(found, fmt.Sprintf("changed: %s of order %s is stored as %s of order %s", d.Topic, d.Order, c.topic, c.order))
		}
	}
	known := make(map[string]bool, len(sent))
	for _, d := range sent {
		known[d.WebhookID] = true
	}
	for id, c := range events {
		if !known[id] && !strings.HasPrefix(id, absurd) {
			found = append(found, fmt.Sprintf("foreign: event %q of order %s was never sent", id, c.order))
		}
		for _, body := range c.bodies[1:] {
			if body != c.bodies[0] {
				found = append(found, fmt.Sprintf("changed: the copies of %s of order %s differ", c.topic, c.order))
			}
		}
	}
	return abridged(found)
}

// judgeTaken compares what NATS holds with what was acknowledged before it was asked.
// It returns how many events are stored more than once, which order state settles.
func (f *field) judgeTaken(url string, acknowledged []shopify.Delivery, when string) (repeated int) {
	f.t.Helper()
	events := stored(f.t, url)
	// What was sent is asked for last: it grows.
	for _, what := range untaken(acknowledged, f.world.Shop.Deliveries(), events) {
		f.t.Errorf("%s: %s", when, what)
	}
	for _, c := range events {
		if len(c.bodies) > 1 {
			repeated++
		}
	}
	return repeated
}

// allTaken waits until the shop got 2xx for everything, and judges what came of it: all
// of it is stored, and at the ERP each order is there once.
func (f *field) allTaken(within time.Duration) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), within)
	defer cancel()
	if err := f.world.Shop.WaitDelivered(ctx); err != nil {
		f.t.Error(err)
	}
	sent := f.world.Shop.Deliveries()
	if acknowledged := f.acknowledged(); len(acknowledged) != len(sent) {
		f.t.Errorf("in the end %d of %d webhooks were taken in", len(acknowledged), len(sent))
	}
	repeated := f.judgeTaken(f.product.URL(), f.acknowledged(), "in the end")
	r := f.world.Shop.Report().Webhooks
	f.t.Logf("%d webhooks in %d attempts, answered %v, in p50 %.0f ms, p99 %.0f ms, %.0f ms at most; %d are stored more than once",
		len(sent), r.Attempts, r.ByStatus, r.P50Ms, r.P99Ms, r.MaxMs, repeated)
	f.settled(within)
}

// putOff judges that nobody got another answer than 2xx and 503, and none no answer.
func (f *field) putOff() {
	f.t.Helper()
	for status, n := range f.world.Shop.Report().Webhooks.ByStatus {
		if status != "200" && status != "503" {
			f.t.Errorf("%d requests were answered %q, want 200 or 503", n, status)
		}
	}
}

// sizes says how much each stream holds, for whoever looks why a test failed.
func sizes(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	connection, err := nats.Connect(url, nats.Name("judge"))
	if err != nil {
		return err.Error()
	}
	defer connection.Close()
	js, err := jetstream.New(connection)
	if err != nil {
		return err.Error()
	}
	var all strings.Builder
	for info := range js.ListStreams(ctx).Info() {
		fmt.Fprintf(&all, "%s: %d messages, %d bytes; ", info.Config.Name, info.State.Msgs, info.State.Bytes)
	}
	return all.String()
}
