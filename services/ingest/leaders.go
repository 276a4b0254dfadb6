package ingest

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
)

// oneLeaderFor is how long one server may lead all ingest streams, and up to as much
// again, by chance, so that several replicas do not act at the same moment: it may be
// restarting others, and elections need some seconds.
const oneLeaderFor = 10 * time.Second

// leaders watches that the loss of one server does not silence every ingest stream:
// elections leave the streams to whoever is there, and after the loss of each server in
// turn, as in an update, one of them may lead all.
type leaders struct {
	// due is when one that leads all has done so for too long, zero where none does.
	due time.Time
}

// handOver returns which shard another server is to lead, or false for none.
func (l *leaders) handOver(stored bus.Room, now time.Time) (shard int, is bool) {
	if stored.Cluster == "" || !together(stored.Streams) {
		l.due = time.Time{}
		return 0, false
	}
	if l.due.IsZero() {
		l.due = now.Add(oneLeaderFor + rand.N(oneLeaderFor))
	}
	if now.Before(l.due) {
		return 0, false
	}
	l.due = time.Time{}
	return len(stored.Streams) - 1, true
}

// together reports whether one server leads several streams, and all there are.
func together(streams []bus.StreamRoom) bool {
	for _, stream := range streams {
		if stream.Leader == "" || stream.Leader != streams[0].Leader {
			return false
		}
	}
	return len(streams) > 1
}

// spread has the ingest streams led by more than one server.
func (in *Ingest) spread(ctx context.Context, l *leaders, stored bus.Room) {
	shard, is := l.handOver(stored, time.Now())
	if !is {
		return
	}
	stream := bus.IngestStream(shard)
	log := in.config.Logger.With("stream", stream, "server", stored.Streams[0].Leader)
	if err := in.config.Bus.HandOver(ctx, stream); err != nil {
		log.WarnContext(ctx, "one server leads every ingest stream, and its loss would stop all webhooks for some seconds; it is asked again", "error", err)
		return
	}
	log.InfoContext(ctx, "one server led every ingest stream, another one leads this one now")
}
