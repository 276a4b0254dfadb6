package bus

import "context"

// Consumers returns the names of a stream's consumers, as of a few seconds ago, but
// with those that this process has made since: the list of hundreds is long, and
// each of hundreds asks for it. It is not to be changed.
func (b *Bus) Consumers(ctx context.Context, stream string) ([]string, error) {
	return b.consumers.get(ctx, stream, func(ctx context.Context) ([]string, error) { return b.listConsumers(ctx, stream) })
}

func (b *Bus) listConsumers(ctx context.Context, stream string) ([]string, error) {
	bounded, cancel := b.bound(ctx)
	defer cancel()
	s, err := b.stream(bounded, stream)
	if err != nil {
		return nil, describe(because(bounded, err), "list the consumers of %s", stream)
	}
	var names []string
	lister := s.ConsumerNames(bounded)
	for name := range lister.Name() {
		names = append(names, name)
	}
	return names, describe(because(bounded, lister.Err()), "list the consumers of %s", stream)
}

// Backlog is how far a durable consumer is behind.
type Backlog struct {
	// Pending is how many records it was not handed yet.
	Pending uint64
	// Delivered is the sequence of the newest record that it was handed.
	Delivered uint64
	// Acknowledged is the sequence up to which it has acknowledged every record.
	Acknowledged uint64
}

// Newest is the sequence of the newest record that there is for the consumer, where it
// takes all of its stream.
func (b Backlog) Newest() uint64 { return b.Delivered + b.Pending }

// Backlog returns how far the durable consumer of a stream is behind, as of now.
// ErrNotFound where there is no such consumer: nobody has consumed yet.
func (b *Bus) Backlog(ctx context.Context, stream, durable string) (Backlog, error) {
	bounded, cancel := b.bound(ctx)
	defer cancel()
	consumer, err := b.js.Consumer(bounded, stream, durable)
	if err != nil {
		return Backlog{}, describe(because(bounded, err), "ask how far consumer %s of %s is", durable, stream)
	}
	info := consumer.CachedInfo() // as of the answer to Consumer
	return Backlog{Pending: info.NumPending, Delivered: info.Delivered.Stream, Acknowledged: info.AckFloor.Stream}, nil
}
