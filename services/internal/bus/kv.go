package bus

import (
	"context"
	"fmt"
)

// Buckets are read and written by the subjects of their streams: the library's
// bucket type would set AllowDirect, and a follower may then answer with a value
// that is not the newest.

// Get returns the value of a key, read from the leader; its Sequence is the
// key's revision. ErrNotFound where there is none, or it was deleted.
func (b *Bus) Get(ctx context.Context, bucket, key string) (Record, error) {
	record, err := b.Last(ctx, KeyValueStream(bucket), KeyValueSubject(bucket, key))
	if err != nil {
		return Record{}, err
	}
	if record.Deleted() {
		return Record{}, fmt.Errorf("bus: key %s of bucket %s: %w", key, bucket, ErrNotFound)
	}
	return record, nil
}

// Put writes a key and returns its new revision. expectLast is the revision that
// must be there, 0 for a key that has never been written; nil writes in any
// case.
func (b *Bus) Put(ctx context.Context, bucket, key string, data []byte, expectLast *uint64) (uint64, error) {
	ack, err := b.Publish(ctx, Message{
		Subject: KeyValueSubject(bucket, key), Data: data,
		ExpectLast: expectLast, ExpectStream: KeyValueStream(bucket),
	})
	return ack.Sequence, err
}

// Watch calls handle with the current value of a key (or of each key that a
// wildcard names), then with each newer one, one at a time; values between two
// calls may be left out, the newest never is. It rides over lost connections,
// and returns nil when ctx is done. Deleted records are handed on as such.
func (b *Bus) Watch(ctx context.Context, bucket, key string, handle func(Record)) error {
	return b.Consume(ctx, ConsumerOptions{
		Stream: KeyValueStream(bucket), Filters: []string{KeyValueSubject(bucket, key)},
		Ephemeral: true, LastPerSubject: true,
	}, func(_ context.Context, m *Incoming) { handle(m.Record) })
}
