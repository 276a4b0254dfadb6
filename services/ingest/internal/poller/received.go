package poller

import (
	"context"
	"maps"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
	"github.com/peppasync/peppasync/services/internal/bus"
)

const (
	// flushEvery is how often the counts of what came in are written, and keptFor how
	// long they stay after the last time: a day counts.
	flushEvery   = 10 * time.Second
	flushTimeout = 2 * time.Second
	keptFor      = 26 * time.Hour
)

// received counts what came in by itself, by connector, since it was written last.
type received struct {
	mu          sync.Mutex
	byConnector map[string]int64
}

// connectorField is the number of Event.connector.
const connectorField = 1

// Received counts an encoded event that came in by itself.
func (p *Poller) Received(event []byte) {
	name := connectorOf(event)
	p.received.mu.Lock()
	defer p.received.mu.Unlock()
	p.received.byConnector[name]++
}

// connectorOf reads the first field, which is the connector in what this program
// encodes; empty where it is another.
func connectorOf(event []byte) string {
	number, kind, n := protowire.ConsumeTag(event)
	if n < 0 || number != connectorField || kind != protowire.BytesType {
		return ""
	}
	name, m := protowire.ConsumeString(event[n:])
	if m < 0 {
		return ""
	}
	return name
}

// flushReceived writes the counts until ctx is done, and once more then.
func (p *Poller) flushReceived(ctx context.Context) {
	record := &sourcev1.Received{}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		p.received.mu.Lock()
		counts := p.received.byConnector
		p.received.byConnector = map[string]int64{}
		p.received.mu.Unlock()
		if len(counts) == 0 {
			continue
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		next := add(record, counts, time.Now())
		if p.writeReceived(bounded, next) == nil {
			record = next
		} else {
			p.unwritten(counts)
		}
		cancel()
	}
}

// unwritten takes counts back that could not be written: they are only a report.
func (p *Poller) unwritten(counts map[string]int64) {
	p.received.mu.Lock()
	defer p.received.mu.Unlock()
	for name, n := range counts {
		p.received.byConnector[name] += n
	}
}

func add(record *sourcev1.Received, counts map[string]int64, now time.Time) *sourcev1.Received {
	next := proto.CloneOf(record)
	counts = maps.Clone(counts)
	for _, c := range next.GetCounts() {
		hour, hours := reconcile.Hour(c.GetHours(), now)
		hour.Received += counts[c.GetConnector()]
		c.Hours = hours
		delete(counts, c.GetConnector())
	}
	for name, n := range counts {
		hour, hours := reconcile.Hour(nil, now)
		hour.Received = n
		next.Counts = append(next.Counts, &sourcev1.Count{Connector: name, Hours: hours})
	}
	return next
}

func (p *Poller) writeReceived(ctx context.Context, record *sourcev1.Received) error {
	data, err := proto.Marshal(record)
	if err != nil {
		return err
	}
	_, err = p.config.Bus.Publish(ctx, bus.Message{
		Subject: bus.KeyValueSubject(bus.BucketSource, bus.ReceivedKey(p.run)), Data: data,
		ExpectStream: bus.KeyValueStream(bus.BucketSource), TTL: keptFor,
	})
	return err
}
