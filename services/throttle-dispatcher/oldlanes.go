package throttledispatcher

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
)

// oldLanesEvery is how often lanes that the catalog does not name are looked for:
// an order that has waited for weeks may ask in a lane that was renamed since.
const oldLanesEvery = 30 * time.Second

const consumerDispatch = "dispatch"

func laneConsumer(connector, lane string) string {
	return bus.Consumer(consumerDispatch, connector, lane)
}

// readOldLanes reads the lanes that the catalog does not name any more, as long as
// something is queued in them, until ctx is done: nobody else would. A lane that
// was ever read has a consumer, which tells of it.
func (w *worker) readOldLanes(ctx context.Context, declared map[string]bool) {
	var readers sync.WaitGroup
	defer readers.Wait()
	reading := map[string]context.CancelFunc{}
	told := map[string]bool{}
	tick := time.NewTicker(oldLanesEvery)
	defer tick.Stop()
	var silence trouble
	for {
		lanes, err := w.oldLanes(ctx, declared)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			silence.ends(time.Now())
		case silence.begins(time.Now()):
			w.log.WarnContext(ctx, "could not look for lanes that the catalog does not name any more; it is tried again", "error", err)
		}
		for lane, queued := range lanes {
			stop := reading[lane]
			switch {
			case queued && stop == nil:
				if !told[lane] {
					told[lane] = true
					w.log.WarnContext(ctx, "deliveries are queued in a lane that the connector does not have any more; they are sent with the smallest share; "+
						"if more are to come, name the lane again, or edit what asks for it", "lane", lane)
				}
				laneCtx, stop := context.WithCancel(ctx)
				reading[lane] = stop
				readers.Go(func() { _ = w.readLane(laneCtx, lane) })
			case !queued && stop != nil:
				stop()
				delete(reading, lane)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// oldLanes returns the lanes that were read once and are not declared, and whether
// something is queued in them.
func (w *worker) oldLanes(ctx context.Context, declared map[string]bool) (map[string]bool, error) {
	names, err := w.config.Bus.Consumers(ctx, bus.StreamDispatch)
	if err != nil {
		return nil, err
	}
	lanes := map[string]bool{}
	for _, name := range names {
		parts, err := bus.ConsumerParts(name)
		if err != nil || len(parts) != 3 || parts[0] != consumerDispatch || parts[1] != w.name || declared[parts[2]] {
			continue
		}
		_, err = w.config.Bus.Last(ctx, bus.StreamDispatch, bus.DispatchLaneFilter(w.name, parts[2]))
		if err != nil && !errors.Is(err, bus.ErrNotFound) {
			return lanes, err
		}
		lanes[parts[2]] = err == nil
	}
	return lanes, nil
}
