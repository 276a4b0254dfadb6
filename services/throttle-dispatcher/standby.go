package throttledispatcher

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	leasev1 "github.com/peppasync/peppasync/proto/peppasync/lease/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/run"
)

// nameIsFree is how long a name must not have been heard. The loss of a leader
// silences the bus for 8 s, which says nothing about the other session.
const nameIsFree = 15 * time.Second

// standBy waits until no other session uses this replica's name. It returns false
// when ctx is done.
func (d *Dispatcher) standBy(ctx context.Context) bool {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	heard := make(chan bool)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = run.Supervise(ctx, d.config.Logger, "hearing the other session", func(ctx context.Context) error {
			return d.leases.Watch(ctx, bus.BucketLease, leaseMembers+bus.Token(d.config.Owner), func(r bus.Record) {
				said := &leasev1.Member{}
				gone := r.Deleted() || proto.Unmarshal(r.Data, said) == nil && said.GetGone()
				select {
				case heard <- gone:
				case <-ctx.Done():
				}
			})
		})
	}()
	defer func() { stop(); <-ended }()
	timer := time.NewTimer(nameIsFree)
	defer timer.Stop()
	for {
		select {
		case gone := <-heard:
			if gone {
				return true
			}
			timer.Reset(nameIsFree)
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}
