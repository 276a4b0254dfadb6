package bench

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// rawBatch is how many messages an atomic batch has, at most.
const rawBatch = 64

// raw is the server's own client, with nothing of the product: what a program gets
// that publishes each order, or the orders that are there, by itself.
type raw struct {
	b      *testing.B
	js     jetstream.JetStream
	stream string
}

func newRaw(b *testing.B, url string) *raw {
	b.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	return &raw{b: b, js: js, stream: "RAW"}
}

// measure publishes for a while on a stream of its own, as many messages at a time as
// there are connections elsewhere: each by itself, or in batches.
func (r *raw) measure(atOnce int, batches bool, span time.Duration) sent {
	r.b.Helper()
	ctx, cancel := context.WithTimeout(r.b.Context(), time.Minute)
	defer cancel()
	_, err := r.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: r.stream, Subjects: []string{"raw"}, Storage: jetstream.FileStorage, AllowAtomicPublish: true,
	})
	if err != nil {
		r.b.Fatal(err)
	}
	defer func() {
		if err := r.js.DeleteStream(ctx, r.stream); err != nil {
			r.b.Error(err)
		}
	}()
	size, publish := 1, r.one
	if batches {
		size, publish = min(atOnce, rawBatch), r.batch
	}
	body := make([]byte, bodySize)
	var (
		all   sent
		mu    sync.Mutex
		group sync.WaitGroup
		begun = time.Now()
	)
	for range atOnce / size {
		group.Go(func() {
			var waits []time.Duration
			for time.Since(begun) < span {
				start := time.Now()
				if err := publish(ctx, size, body); err != nil {
					r.b.Error(err)
					return
				}
				took := time.Since(start)
				for range size {
					waits = append(waits, took)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.waits = append(all.waits, waits...)
		})
	}
	group.Wait()
	all.took = time.Since(begun)
	return all
}

func (r *raw) one(ctx context.Context, _ int, body []byte) error {
	_, err := r.js.Publish(ctx, "raw", body)
	return err
}

func (r *raw) batch(ctx context.Context, size int, body []byte) error {
	messages := make([]*nats.Msg, size)
	for i := range messages {
		messages[i] = &nats.Msg{Subject: "raw", Data: body, Header: nats.Header{}}
	}
	_, err := jetstreamext.PublishMsgBatch(ctx, r.js, messages)
	return err
}
