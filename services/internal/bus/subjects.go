package bus

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Names of the streams and buckets of which there is one. INGEST and ORDER are
// sharded: see IngestStream and OrderStream.
const (
	StreamDispatch  = "DISPATCH"
	StreamLedger    = "LEDGER"
	StreamWaiting   = "WAITING"
	StreamResult    = "RESULT"
	StreamErrorHold = "ERRHOLD"
	StreamJournal   = "JOURNAL"

	// PrefixIngest and PrefixOrder are what Shards counts.
	PrefixIngest = "INGEST"
	PrefixOrder  = "ORDER"

	BucketCatalog = "catalog"
	BucketLease   = "lease"
	BucketSource  = "source"
)

// IngestStream returns the stream of one ingest shard, counted from 0.
func IngestStream(shard int) string { return shardStream(PrefixIngest, shard) }

// OrderStream returns the stream of one order shard, counted from 0.
func OrderStream(shard int) string { return shardStream(PrefixOrder, shard) }

func shardStream(prefix string, shard int) string { return prefix + "_" + strconv.Itoa(shard) }

// orderPartitions is into how many parts the order keys are cut for ever: streams
// may not share a subject, so that a key's subjects name its part, and each
// shard's stream takes whole parts. It bounds the number of shards.
const orderPartitions = 64

// orderPartition is FNV-1a (64 bits) modulo orderPartitions. Another function
// would look for orders where they are not.
func orderPartition(key string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // a hash never fails
	return int(h.Sum64() % orderPartitions)
}

// OrderShard returns the shard that is home to an order key, of shards in all.
// It panics where shards is not positive.
func OrderShard(key string, shards int) int {
	if shards <= 0 {
		panic(fmt.Sprintf("bus: order shard of %d shards", shards))
	}
	return orderPartition(key) % shards
}

// IngestSubject is where the packs of an ingest shard go.
func IngestSubject(shard int) string { return "ingest.v1." + strconv.Itoa(shard) }

// OrderStateSubject holds the newest state of an order, in the stream of its
// shard: order.state.v1.<part>.<key>.
func OrderStateSubject(key string) string { return orderSubject("state", key) }

// OrderTimerSubject holds the schedule of an order's next wake-up.
func OrderTimerSubject(key string) string { return orderSubject("timer", key) }

// OrderWakeSubject is what an order's timer fires at.
func OrderWakeSubject(key string) string { return orderSubject("wake", key) }

func orderSubject(kind, key string) string {
	key = token(key)
	return "order." + kind + ".v1." + strconv.Itoa(orderPartition(key)) + "." + key
}

// Filters of all orders in a shard's stream.
const (
	OrderStateFilter = "order.state.v1.>"
	OrderWakeFilter  = "order.wake.v1.>"
)

// DispatchSubject is the place of one delivery in the queue of a connector's
// lane.
func DispatchSubject(connector, lane, key, delivery string) string {
	return join("dispatch.v1", connector, lane, key, delivery)
}

// DispatchLaneFilter selects all deliveries of one lane.
func DispatchLaneFilter(connector, lane string) string {
	return join("dispatch.v1", connector, lane) + ".>"
}

// DispatchDeliveryFilter selects one delivery, whatever its lane and key.
func DispatchDeliveryFilter(connector, delivery string) string {
	return join("dispatch.v1", connector) + ".*.*." + Token(delivery)
}

// DispatchKeyFilter selects all deliveries of one key at a connector, whatever their lane.
func DispatchKeyFilter(connector, key string) string {
	return join("dispatch.v1", connector) + ".*." + token(key) + ".>"
}

// WaitingSubject is the place of one delivery whose next attempt is far off.
func WaitingSubject(connector, key, delivery string) string {
	return join("waiting.v1", connector, key, delivery)
}

// WaitingKeyFilter selects such deliveries of one key.
func WaitingKeyFilter(connector, key string) string {
	return join("waiting.v1", connector, key) + ".>"
}

// WaitingFilter selects all such deliveries of a connector.
func WaitingFilter(connector string) string { return join("waiting.v1", connector) + ".>" }

// LedgerSubject holds the blocks of one connector.
func LedgerSubject(connector string) string { return join("ledger.v1", connector) }

// ResultSubject is where the result of a delivery goes, for whoever asked.
func ResultSubject(requester, delivery string) string { return join("result.v1", requester, delivery) }

// ResultFilter selects all results for one requester.
func ResultFilter(requester string) string { return join("result.v1", requester) + ".>" }

// ResultDeliveryFilter selects the result of a delivery, whoever asked.
func ResultDeliveryFilter(delivery string) string { return "result.v1.*." + Token(delivery) }

// HoldSubject is the place of one delivery in the Error Hold.
func HoldSubject(connector, key, delivery string) string {
	return join("hold.v1", connector, key, delivery)
}

// HoldKeyFilter selects what is in the Error Hold of one key at a connector.
func HoldKeyFilter(connector, key string) string { return join("hold.v1", connector, key) + ".>" }

// HoldKeyAnywhereFilter selects what is on hold under a key, at whatever connector.
func HoldKeyAnywhereFilter(key string) string { return "hold.v1.*." + token(key) + ".*" }

// HoldFilter selects everything in the Error Hold.
const HoldFilter = "hold.v1.>"

// JournalSubject holds the facts about one order.
func JournalSubject(key string) string { return join("journal.v1", key) }

// KeyValueStream returns the stream behind a bucket.
func KeyValueStream(bucket string) string { return "KV_" + bucket }

// KeyValueSubject returns the subject behind a key of a bucket, for writes that
// need more than Put (a time to live, a batch).
func KeyValueSubject(bucket, key string) string { return "$KV." + bucket + "." + key }

// Keys of BucketSource: what is known of a source, and what one run of ingest took in.
// The filters select all of a kind.
const (
	SourceFilter   = "of.*"
	ReceivedFilter = "by.*"
)

// SourceKey is the key of what is known of a connector as a source of orders.
func SourceKey(connector string) string { return join("of", connector) }

// ReceivedKey is the key of what one run of ingest took in.
func ReceivedKey(run string) string { return join("by", run) }

// Consumer returns a durable consumer's name made of parts, such as a connector
// and a lane. Different parts give different names; names may not hold dots,
// wildcards, spaces or slashes.
func Consumer(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, part := range parts {
		escaped[i] = strings.ReplaceAll(Token(part), "_", "=5F")
	}
	return strings.Join(escaped, "_")
}

// ConsumerParts returns what Consumer was given, and an error for a name that it
// does not give.
func ConsumerParts(name string) ([]string, error) {
	parts := strings.Split(name, "_")
	for i, part := range parts {
		text, err := Text(strings.ReplaceAll(part, "=5F", "_"))
		if err != nil {
			return nil, fmt.Errorf("consumer %q: %w", name, err)
		}
		parts[i] = text
	}
	return parts, nil
}

func join(prefix string, parts ...string) string {
	var b strings.Builder
	b.WriteString(prefix)
	for _, part := range parts {
		b.WriteByte('.')
		b.WriteString(token(part))
	}
	return b.String()
}

// token keeps what is a token already (order keys and delivery ids come
// escaped) and escapes anything else, so that no value can add a token or a
// wildcard to a subject.
func token(s string) string {
	if s == "" {
		return Token(s)
	}
	for i := range len(s) {
		if !plain(s[i]) && s[i] != '=' {
			return Token(s)
		}
	}
	return s
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

const upperHex = "0123456789ABCDEF"

// Token returns s as one subject token: letters, digits, "-" and "_" as they
// are, every other byte as "=" and two hex digits, and the empty text as "=".
// Different texts give different tokens; Text is its reverse.
func Token(s string) string {
	if s == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
	return b.String()
}

// Text returns what Token was given, and an error for anything that Token does
// not return.
func Text(token string) (string, error) {
	if token == "=" {
		return "", nil
	}
	if token == "" {
		return "", errors.New("bus: an empty subject token stands for nothing")
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		c := token[i]
		if plain(c) {
			b.WriteByte(c)
			continue
		}
		if c != '=' || i+2 >= len(token) {
			return "", fmt.Errorf("bus: subject token %q: byte %d is neither plain nor a whole escape", token, i)
		}
		high, low := strings.IndexByte(upperHex, token[i+1]), strings.IndexByte(upperHex, token[i+2])
		escaped := byte(high<<4 | low) //nolint:gosec // of two digits both are below 16; without two it is not used
		if high < 0 || low < 0 || plain(escaped) {
			return "", fmt.Errorf("bus: subject token %q: byte %d begins no escape that Token writes", token, i)
		}
		b.WriteByte(escaped)
		i += 2
	}
	return b.String(), nil
}

// DispatchConnectorFilter selects all deliveries in the lanes of a connector.
func DispatchConnectorFilter(connector string) string { return join("dispatch.v1", connector) + ".>" }

// HoldConnectorFilter selects what is on hold for a connector.
func HoldConnectorFilter(connector string) string { return join("hold.v1", connector) + ".>" }
