package logicgate

import (
	"context"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
)

// tidyEvery is how often it is looked whether events take too much of the disk.
const tidyEvery = 2 * time.Second

// tidy makes room until ctx is done. Events stay for a week so that people can
// look at them; where the disk fills up, those that are worked off go earlier,
// and what waits gets their place. Only those go that had been worked off at the look
// before: whoever looks as often as that, as ingest does, has seen so of all that goes, and
// knows by it what somebody has purged.
func (g *Gate) tidy(ctx context.Context) {
	worked := make(map[int]uint64)
	for pause(ctx, tidyEvery) == nil {
		shards, err := g.bus.Shards(ctx, bus.PrefixIngest)
		if err != nil {
			continue // the bus is away; looked at again
		}
		room, err := g.bus.IngestRoom(ctx, shards)
		if err != nil {
			continue
		}
		for shard, stream := range room.Streams {
			seen := worked[shard]
			backlog, err := g.bus.Backlog(ctx, bus.IngestStream(shard), bus.Consumer(Role))
			if err != nil {
				continue // looked at again
			}
			worked[shard] = backlog.Acknowledged
			keep, tooMuch := excess(room, stream, g.settler.patience.full())
			if !tooMuch {
				continue
			}
			removed, err := g.bus.Trim(ctx, bus.IngestStream(shard), bus.Consumer(Role), seen, keep)
			switch {
			case err != nil && ctx.Err() == nil:
				g.settler.log.WarnContext(ctx, "room for new events could not be made", "stream", bus.IngestStream(shard), "error", err)
			case removed > 0:
				g.settler.log.DebugContext(ctx, "events that are worked off made room", "stream", bus.IngestStream(shard), "packs", removed)
			}
		}
	}
}

// excess returns how many bytes a stream of events may keep of those that are
// worked off, and whether it has more: none where writes are refused or the store
// fills up, and half of its bound where four fifths of that are taken.
func excess(room bus.Room, stream bus.StreamRoom, full bool) (keep int64, tooMuch bool) {
	switch {
	case full, room.Filling():
		return 0, stream.Bytes > 0
	case stream.Most > 0 && stream.Bytes > stream.Most/5*4:
		return stream.Most / 2, true
	}
	return 0, false
}
