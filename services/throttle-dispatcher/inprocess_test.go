package throttledispatcher_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// inProcess loses one write of a kind of records, and refuses the next ones as a
// cluster does while that one is in process.
type inProcess struct {
	throttledispatcher.Records
	prefix string
	// stored: the write that was lost is stored in the end, else it comes to nothing.
	stored bool
	writes atomic.Int64
}

func (p *inProcess) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	if strings.HasPrefix(m.Subject, p.prefix) {
		switch p.writes.Add(1) {
		case 2:
			return bus.Ack{}, context.DeadlineExceeded
		case 3:
			return bus.Ack{}, bustest.Refusal(m.Subject)
		case 4:
			if p.stored {
				if _, err := p.Records.Publish(ctx, m); err != nil {
					return bus.Ack{}, err
				}
			}
			return bus.Ack{}, bustest.Refusal(m.Subject)
		}
	}
	return p.Records.Publish(ctx, m)
}

// A refusal while an earlier attempt is in process is neither another dispatcher's
// block nor a result that is there: the same write is tried until it is known what
// is stored, and nothing is sent or lost meanwhile.
func TestAWriteInProcessIsNobodyElses(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*inProcess{
		"a block that comes to nothing":  {prefix: "ledger.v1."},
		"a block that is stored":         {prefix: "ledger.v1.", stored: true},
		"a result that comes to nothing": {prefix: "result.v1."},
		"a result that is stored":        {prefix: "result.v1.", stored: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100, time.Second)
			w.start(throttledispatcher.Through(func(r throttledispatcher.Records) throttledispatcher.Records {
				p.Records = r
				return p
			}))
			for i := range 3 {
				w.want(i, "")
				w.eventually("its result", func() bool { return w.resultOf(delivery(i)) != nil })
				w.allAcknowledged(delivery(i))
			}
			w.delivered(3)
			if lines := w.log.with("started again"); len(lines) > 0 {
				t.Errorf("the worker began anew: %q", lines)
			}
			if calls := w.account.seen(); len(calls) != 3 {
				t.Errorf("%d calls, want 3", len(calls))
			}
			if p.writes.Load() < 5 {
				t.Error("nothing was refused")
			}
		})
	}
}
