package throttledispatcher_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	leasev1 "github.com/peppasync/peppasync/proto/peppasync/lease/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// Connectors follow the replicas that come and go, and nothing is lost or sent by
// two.
func TestConnectorsAreSpreadOverReplicas(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	settle := f.traffic()
	first := f.join("first")
	f.spread("first")
	second := f.join("second")
	f.spread("first", "second")
	f.join("third")
	f.spread("first", "second", "third")
	first.stop()
	f.spread("second", "third")
	second.stop()
	f.spread("third")
	settle()
}

// What a killed replica had is run by others within 3 s, a second in the mean.
func TestKilledReplicaIsReplaced(t *testing.T) {
	f := newFleet(t, 4)
	settle := f.traffic()
	f.join("stays")
	var took takeovers
	for round := range 6 {
		newest := f.join(fmt.Sprint("r", round))
		f.spread("stays", newest.owner)
		names := f.ownedBy(newest.owner)
		f.working(newest.owner, names)
		newest.kill()
		took.add(f.takenFrom(newest.owner, names))
		f.eventually("the log names it", func() bool {
			return len(f.log.with(fmt.Sprint("a replica fell silent; its connectors are taken over replica=", newest.owner, " "))) > 0
		})
	}
	settle()
	took.within(t, time.Second, 3*time.Second)
}

// A replica that stops hands over at once.
func TestStoppedReplicaHandsOver(t *testing.T) {
	f := newFleet(t, 4)
	settle := f.traffic()
	f.join("stays")
	f.spread("stays")
	var took takeovers
	for round := range 5 {
		goes := f.join(fmt.Sprint("goes", round))
		f.spread("stays", goes.owner)
		names := f.ownedBy(goes.owner)
		f.working(goes.owner, names)
		go goes.stop()
		took.add(f.takenFrom(goes.owner, names))
		f.spread("stays")
	}
	settle()
	took.within(t, 300*time.Millisecond, time.Second)
}

// The bus being silent is no reason to change an owner.
func TestSilentBusChangesNoOwner(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	f.join("first")
	f.join("second")
	f.join("third")
	f.spread("first", "second", "third")
	during(1500 * time.Millisecond) // everything has come to rest
	before := f.table()
	for _, silence := range []time.Duration{200 * time.Millisecond, 1200 * time.Millisecond, 5 * time.Second} {
		f.askAll()
		f.server.Stop()
		during(silence)
		f.server.StartAgain(t)
		back := time.Now()
		f.eventually("the test itself is connected", func() bool { return f.bus.Healthy(t.Context()) == nil })
		f.askAll()
		f.results(int(f.asked.Load()))
		t.Logf("after %v of silence all was answered %v later", silence, time.Since(back))
		during(2 * time.Second)
		after := f.table()
		for name, l := range before {
			if now := after[name]; now.GetEpoch() != l.GetEpoch() || now.GetSession() != l.GetSession() {
				t.Errorf("after %v of silence %s went from %v to %v", silence, name, l, now)
			}
		}
	}
}

// A replica that hangs is replaced, and is handed nothing more; when it comes back
// it gives way, and takes its share again.
func TestHangingReplicaIsReplacedAndComesBack(t *testing.T) {
	f := newFleet(t, 4)
	settle := f.traffic()
	f.join("stays")
	hangs := f.join("hangs")
	f.spread("stays", "hangs")
	for _, hang := range []time.Duration{3 * time.Second, 8 * time.Second} {
		names := f.ownedBy("hangs")
		f.working("hangs", names)
		thaw := hangs.cable.freeze()
		took := f.takenFrom("hangs", names)
		// What is asked for while it hangs is answered by the other, at once.
		before, since := f.asked.Load(), time.Now()
		f.eventually("what came meanwhile is answered", func() bool {
			return f.asked.Load() > before+20 && f.answered(before+1, before+20)
		})
		if late := time.Since(since); late > 5*time.Second {
			t.Errorf("what came while it hung was answered after %v", late)
		}
		took.within(t, 2*time.Second, 3*time.Second)
		during(hang)
		thaw()
		f.spread("stays", "hangs")
	}
	settle()
	f.eventually("the replica that hung, the newest, counts what it lost", func() bool { return f.scraped()["peppasync_leases_lost_total"] > 0 })
	for _, call := range f.account.seen() {
		if call.method != http.MethodGet {
			t.Errorf("unexpected %v", call)
		}
	}
}

// What a hanging replica has asked for is taken from it also where the first workers
// of the other end before they came to that.
func TestHangingReplicaIsReplacedByWorkersThatStartAgain(t *testing.T) {
	f := newFleet(t, 4)
	settle := f.traffic()
	f.join("stays")
	hangs := f.join("hangs")
	f.spread("stays", "hangs")
	names := f.ownedBy("hangs")
	f.working("hangs", names)
	before := f.table()
	thaw := hangs.cable.freeze()
	t.Cleanup(thaw)
	restart := func() {
		f.catalog.change(func(c *catalog) {
			for _, name := range names {
				connector := c.connectors[name].DeepCopy()
				connector.Spec.Timeout.Duration += time.Millisecond
				c.connectors[name] = connector
			}
		})
	}
	f.eventually("the other takes over", func() bool {
		restart()
		return f.table()[names[0]].GetEpoch() != before[names[0]].GetEpoch()
	})
	for range 20 {
		restart()
		during(2 * time.Millisecond)
	}
	asked, since := f.asked.Load(), time.Now()
	f.eventually("what comes meanwhile is answered", func() bool {
		return f.asked.Load() > asked+20 && f.answered(asked+1, asked+20)
	})
	if late := time.Since(since); late > 10*time.Second {
		t.Errorf("what came while it hung was answered after %v", late)
	}
	thaw()
	f.spread("stays", "hangs")
	settle()
}

// Of two dispatchers of one name the newer works, and the older when that is
// gone.
func TestSecondDispatcherOfOneName(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	settle := f.traffic()
	f.join("twin")
	f.spread("twin")
	session := f.table()["c0"].GetSession()
	second := f.join("twin")
	f.eventually("the second has everything", func() bool {
		all := f.table()
		return all["c0"].GetSession() != session && all["c0"].GetSession() == all["c1"].GetSession() && all["c0"].GetOwner() == "twin"
	})
	f.eventually("the first says why it stands by", func() bool { return len(f.log.with("under this one's name")) == 1 })
	session = f.table()["c0"].GetSession()
	second.stop()
	f.eventually("the first works again", func() bool {
		all := f.table()
		return all["c0"].GetOwner() == "twin" && all["c0"].GetSession() != session
	})
	settle()
}

// Of two sessions of one name that start together, the older may never hear itself
// among the others: it finds the newer one at its second beat, and says so.
func TestTwoSessionsOfOneNameThatStartTogether(t *testing.T) {
	t.Parallel()
	stream := bus.KeyValueStream(bus.BucketLease)
	server := bustest.NewServer(t, bustest.WithDeaf(stream))
	w := newWorldOn(t, server.Bus(t), 100, time.Second)
	w.start(throttledispatcher.Apart(server.Deaf(t)))
	subject := bus.KeyValueSubject(bus.BucketLease, "dispatcher.member."+w.owner)
	w.eventually("its first beat", func() bool {
		_, err := w.bus.Last(t.Context(), stream, subject)
		return err == nil
	})
	w.publish(subject, &leasev1.Member{Owner: w.owner, Session: "newer", Beat: 1})
	w.eventually("it says that there is another", func() bool { return len(w.log.with("under this one's name")) == 1 })
}

// The older of two dispatchers of one name stands by while it cannot reach the bus,
// however long; and where the newer falls silent, it takes over without trusting
// that its calls are dead: they may be another machine's.
func TestStandbyOfOneName(t *testing.T) {
	if testing.Short() {
		t.Skip("takes three quarters of a minute: runs without -short, as in make test")
	}
	t.Parallel()
	f := newFleet(t, 1)
	const timeout = 25 * time.Second
	f.catalog.change(func(c *catalog) {
		connector := c.connectors["c0"].DeepCopy()
		connector.Spec.Limits[0] = window(2, time.Second)
		connector.Spec.Timeout.Duration = timeout
		c.connectors["c0"] = connector
	})
	f.askAll()
	first := f.join("twin")
	f.working("twin", f.names)
	second := f.join("twin")
	f.eventually("the first stands by", func() bool { return len(f.log.with("under this one's name")) == 1 })
	// After a reply of a second, half a second without one is no silence; else what
	// follows the first call that hangs would be a question, which is over soon.
	f.account.setDelay(time.Second)
	f.askAll()
	f.results(2)
	f.account.setDelay(0)
	session := f.table()["c0"].GetSession()
	thaw := first.cable.freeze()
	during(17 * time.Second)
	thaw()
	during(2 * time.Second)
	if now := f.table()["c0"].GetSession(); now != session || len(f.log.with("under this one's name")) != 1 {
		t.Error("a dispatcher that could not reach the bus took over from one that lives")
	}

	arrived, silent := make(chan struct{}, 10), make(chan struct{})
	f.account.hold(func() {
		arrived <- struct{}{}
		<-silent
	})
	f.askAll()
	<-arrived
	begun := time.Now()
	f.askAll()
	<-arrived
	second.kill()
	f.account.hold(nil)
	close(silent)
	f.eventually("the first says that it takes over", func() bool { return len(f.log.with("has fallen silent")) == 1 })
	before := len(f.account.seen())
	f.eventually("the first works", func() bool { return len(f.account.seen()) > before })
	if after := time.Since(begun); after < timeout {
		t.Errorf("the next call came %v after two that may be under way for %v, and two fill the window", after, timeout)
	}
}

// One that starts alone works at once: after a stop, and after a kill under its
// own name; under another name once the dead one has been silent.
func TestAloneAtOnce(t *testing.T) {
	f := newFleet(t, 4)
	start := func(owner string, within time.Duration) *replica {
		t.Helper()
		r := f.join(owner)
		begun := time.Now()
		f.askAll()
		f.working(owner, f.names)
		took := time.Since(begun)
		t.Logf("%s works after %v", owner, took)
		if took > within {
			t.Errorf("%s works after %v, want %v", owner, took, within)
		}
		f.delivered(int(f.asked.Load()))
		return r
	}
	start("a", time.Second).stop()
	start("b", time.Second).kill()
	// The same name again: its own session before is known to be gone.
	before := f.table()["c0"].GetSession()
	again := f.join("b")
	begun := time.Now()
	f.eventually("it has its own leases back", func() bool {
		l := f.table()["c0"]
		return l.GetSession() != before && l.GetOwner() == "b"
	})
	if took := time.Since(begun); took > 500*time.Millisecond {
		t.Errorf("its own leases came back after %v", took)
	}
	again.kill()
	start("c", 3*time.Second)
}
