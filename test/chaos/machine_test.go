package chaos

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// lateness is by how much this process, in which the ERP runs, was late at most: the
// machine was busy with others. A call that comes meanwhile is seen that much later.
type lateness struct{ most atomic.Int64 }

// watchMachine measures until the test ends.
func watchMachine(t *testing.T) *lateness {
	t.Helper()
	const every = 5 * time.Millisecond
	var l lateness
	ended := make(chan struct{})
	var working sync.WaitGroup
	t.Cleanup(working.Wait)
	t.Cleanup(func() { close(ended) })
	working.Go(func() {
		for last := time.Now(); ; {
			select {
			case <-time.After(every):
			case <-ended:
				return
			}
			now := time.Now()
			l.most.Store(max(l.most.Load(), int64(now.Sub(last)-every)))
			last = now
		}
	})
	return &l
}

// judgeMachine says whether the declared time of arrival can have held. Where it has
// not, a window with a call too many is no word about the product.
func (f *field) judgeMachine() {
	f.t.Helper()
	late := time.Duration(f.machine.most.Load())
	switch declared := f.terms.arrivesWithin; {
	case declared == 0:
	case late > declared && f.world.ERP.Report().Throttled > 0:
		f.t.Errorf("the ERP's own process was late by up to %v, and calls are declared to arrive within %v: this machine is too busy to judge by that", late, declared)
	default:
		f.t.Logf("the ERP's own process was late by up to %v; calls are declared to arrive within %v", late, declared)
	}
}
