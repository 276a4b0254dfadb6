package throttledispatcher_test

import (
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// An owner who does not hear that another has taken over finds that out by the ledger.
// That is how a takeover goes, and nothing that somebody has to look at.
func TestATakeoverIsNoError(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.catalog.change(func(c *catalog) {
		connector := c.connectors["c0"].DeepCopy()
		connector.Spec.Timeout.Duration = 20 * time.Second
		c.connectors["c0"] = connector
	})
	settle := f.traffic()
	flowing := make(chan struct{})
	close(flowing)
	meets := &cable{address: f.address, flows: flowing}
	leases, err := bus.Connect(t.Context(), bus.Options{Name: "deaf", InProcess: meets})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(leases.Close)
	f.startAs("deaf", f.server.Bus(t), throttledispatcher.Apart(leases), throttledispatcher.Abrupt)
	f.working("deaf", f.names)
	f.join("takes")
	f.spread("deaf", "takes")
	f.working("deaf", f.names)
	// What it has under way ends after the other has taken over.
	end := make(chan struct{})
	release := sync.OnceFunc(func() { close(end) })
	t.Cleanup(release)
	f.account.hold(func() { <-end })
	f.eventually("a call is under way", func() bool { return f.account.under() > 0 })
	thaw := meets.freeze()
	t.Cleanup(thaw)
	f.takenFrom("deaf", f.names)
	f.account.hold(nil)
	release()
	f.eventually("it says that another has the connector", func() bool {
		return len(f.log.with("WARN another replica has taken this connector over")) > 0
	})
	thaw()
	settle()
	if lines := f.log.with("ERROR "); len(lines) > 0 {
		t.Errorf("a takeover is told as an error: %v", lines)
	}
}
