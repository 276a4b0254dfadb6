package ingest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// load is senders that deliver without a pause and remember what they were told.
type load struct {
	f    *fixture
	name string

	stop    context.CancelFunc
	senders sync.WaitGroup
	next    atomic.Int64

	mu sync.Mutex
	// stored are the ids that were answered with 200, statuses the answers.
	stored   []string
	statuses map[int]int
	longest  time.Duration
	failed   error
}

// deliveries starts a load of 16 senders.
func (f *fixture) deliveries(t *testing.T, name string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{f: f, name: name, stop: stop, statuses: map[int]int{}}
	for range 16 {
		l.senders.Go(func() {
			pause := time.NewTicker(10 * time.Millisecond)
			defer pause.Stop()
			for ctx.Err() == nil {
				l.one(t)
				<-pause.C
			}
		})
	}
	return l
}

func (l *load) one(t *testing.T) {
	n := int(l.next.Add(1))
	id := fmt.Sprint(l.name, "-", n)
	request := l.f.request(t, id, order(n), nil)
	began := time.Now()
	got, err := l.f.send(request)
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.longest = max(l.longest, took)
	l.statuses[got.status]++
	switch {
	case err != nil:
		l.failed = err
	case got.status == http.StatusOK:
		l.stored = append(l.stored, id)
	case got.retryAfter == "":
		l.failed = fmt.Errorf("%+v says not when to come again", got)
	}
}

// answered returns how many senders were answered so.
func (l *load) answered(status int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.statuses[status]
}

// end stops the senders and checks that each 200 is true and that nobody waited for
// longer than ingest says, and a second of a busy machine.
func (l *load) end(t *testing.T, reader *bus.Bus) {
	t.Helper()
	l.stop()
	l.senders.Wait()
	t.Logf("answers: %v, the longest took %v", l.statuses, l.longest)
	if l.failed != nil {
		t.Error(l.failed)
	}
	if most := l.f.bounds.patience + time.Second; l.longest > most {
		t.Errorf("an answer took %v, want %v at most", l.longest, most)
	}
	// A cluster that elects leaders says so to whoever reads.
	events, err := readStored(t.Context(), reader)
	for deadline := time.Now().Add(patient); bus.IsUnavailable(err) && time.Now().Before(deadline); {
		events, err = readStored(t.Context(), reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	counts := byID(events)
	twice := 0
	for _, id := range l.stored {
		if counts[id] == 0 {
			t.Errorf("%s is acknowledged and not stored", id)
		}
		if counts[id] > 1 {
			twice++
		}
	}
	t.Logf("%d acknowledged, of these %d are stored more than once", len(l.stored), twice)
}

// The leader of a stream is replaced within 4 to 9 s, during which it acknowledges
// nothing. Senders must not see it, whether that server ends or hangs, and whether
// ingest is connected to it or to another one.
func TestALostLeaderIsNotSeenBySenders(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for elections: runs without -short, as in make test")
	}
	cluster := bustest.NewCluster(t)
	for _, test := range []struct {
		name             string
		frozen, sameNode bool
	}{
		{"one ends, connected to another", false, false},
		{"one ends, connected to it", false, true},
		{"one hangs, connected to another", true, false},
		{"one hangs, connected to it", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			cluster.InSync(t)
			lost := ledApart(t, cluster)
			other := cluster.Leader(t, bus.IngestStream(1))
			at := lost
			if !test.sameNode {
				at = other
			}
			silence := watchOther(t, connected(t, cluster, other))
			f := start(t, connected(t, cluster, at), nil).ready(t)
			l := f.deliveries(t, strings.ReplaceAll(test.name, " ", "-"))
			f.eventually(t, "acknowledging", func() bool { return l.answered(http.StatusOK) > 100 })
			if test.frozen {
				thaw := cluster.Freeze(t, lost)
				newLeader(t, cluster, lost)
				thaw()
			} else {
				cluster.Kill(lost)
				newLeader(t, cluster, lost)
				cluster.StartAgain(t, lost)
			}
			before := l.answered(http.StatusOK)
			f.eventually(t, "acknowledging afterwards", func() bool { return l.answered(http.StatusOK) > before+100 })
			silent := silence()
			l.end(t, cluster.Connect(t, "reader"))
			t.Logf("the other stream was silent for %v at most", silent)
			// On a machine that is busy enough that one loses its leader too: both are lost.
			if others := l.answered(http.StatusServiceUnavailable); others > 0 && silent < time.Second {
				t.Errorf("%d senders were asked to come again", others)
			}
		})
	}
}

// Where two of three servers are lost nothing can be stored: senders are told so in
// time, and are taken again by themselves.
func TestTwoLostServersAreOwnedUpTo(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for elections: runs without -short, as in make test")
	}
	cluster := bustest.NewCluster(t)
	f := start(t, connected(t, cluster, 0), nil).ready(t)
	l := f.deliveries(t, "w")
	f.eventually(t, "acknowledging", func() bool { return l.answered(http.StatusOK) > 100 })
	cluster.Kill(0)
	cluster.Kill(1)
	f.eventually(t, "asking senders to come again", func() bool { return l.answered(http.StatusServiceUnavailable) > 20 })
	cluster.StartAgain(t, 0)
	cluster.StartAgain(t, 1)
	before := l.answered(http.StatusOK)
	f.eventually(t, "acknowledging afterwards", func() bool { return l.answered(http.StatusOK) > before+100 })
	l.end(t, cluster.Connect(t, "reader"))
}

// watchOther writes packs of nothing to the stream that is not to be lost, until the
// returned function is called, which tells how long it was silent at most.
func watchOther(t *testing.T, b *bus.Bus) func() time.Duration {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	longest := make(chan time.Duration, 1)
	go func() {
		var most time.Duration
		pause := time.NewTicker(50 * time.Millisecond)
		defer pause.Stop()
		for ctx.Err() == nil {
			began := time.Now()
			_, err := b.Publish(t.Context(), bus.Message{Subject: bus.IngestSubject(1)})
			if most = max(most, time.Since(began)); err != nil {
				t.Logf("the other stream: %v", err)
			}
			<-pause.C
		}
		longest <- most
	}()
	return func() time.Duration {
		stop()
		return <-longest
	}
}

// connected returns a bus that is connected to that node first, and learns of the
// others from it.
func connected(t *testing.T, cluster *bustest.Cluster, node int) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Options{URL: "nats://" + cluster.Address(node), Name: "ingest"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// ledApart has the two ingest streams led by different nodes, and returns that of the
// first.
func ledApart(t *testing.T, cluster *bustest.Cluster) int {
	t.Helper()
	b := cluster.Connect(t, "apart")
	for range 20 {
		first := cluster.Leader(t, bus.IngestStream(0))
		if cluster.Leader(t, bus.IngestStream(1)) != first {
			return first
		}
		if err := b.HandOver(t.Context(), bus.IngestStream(1)); err != nil {
			t.Logf("%v; once more", err)
		}
	}
	t.Fatal("both streams are led by the same node whatever is done")
	return 0
}

// A server that leads every ingest stream would silence all of them: ingest has another
// one lead one of them, by itself.
func TestOneServerDoesNotLeadEveryStream(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the time that one may lead all: runs without -short, as in make test")
	}
	cluster := bustest.NewCluster(t)
	b := connected(t, cluster, 0)
	same := func() bool {
		return cluster.Leader(t, bus.IngestStream(0)) == cluster.Leader(t, bus.IngestStream(1))
	}
	for try := 0; !same(); try++ {
		if try == 20 {
			t.Fatal("the streams are led by different nodes whatever is done")
		}
		if err := b.HandOver(t.Context(), bus.IngestStream(1)); err != nil {
			t.Logf("%v; once more", err)
		}
	}
	f := start(t, b, nil).ready(t)
	deadline := time.Now().Add(2*oneLeaderFor + patient)
	for same() {
		if time.Now().After(deadline) {
			t.Fatalf("node %d leads both streams still; logs:\n%s", cluster.Leader(t, bus.IngestStream(0)), f.logs)
		}
	}
	f.eventually(t, "saying so", func() bool { return strings.Contains(f.logs.String(), "another one leads this one now") })
}

func TestWhoLeadsAllIsRelievedInTime(t *testing.T) {
	at := func(leaders ...string) bus.Room {
		room := bus.Room{Cluster: "c"}
		for _, leader := range leaders {
			room.Streams = append(room.Streams, bus.StreamRoom{Leader: leader})
		}
		return room
	}
	for name, test := range map[string]struct {
		room bus.Room
		want int // handed over within two minutes, looked at every second
	}{
		"one leads all":                   {at("a", "a", "a"), 6},
		"two lead":                        {at("a", "b", "a"), 0},
		"nobody leads one at the moment":  {at("a", "", "a"), 0},
		"nobody leads any":                {at("", ""), 0},
		"there is one stream":             {at("a"), 0},
		"a server alone has no elections": {bus.Room{Streams: make([]bus.StreamRoom, 2)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var l leaders
			now, first, times := time.Now(), time.Duration(0), 0
			for second := range 120 {
				if shard, is := l.handOver(test.room, now.Add(time.Duration(second)*time.Second)); is {
					if times++; times == 1 {
						first = time.Duration(second) * time.Second
					}
					if shard != len(test.room.Streams)-1 {
						t.Errorf("shard %d is handed over", shard)
					}
				}
			}
			// Every 10 to 20 s, which is 5 to 12 times.
			if (times > 0) != (test.want > 0) || times > 2*test.want || times > 0 && first < oneLeaderFor {
				t.Errorf("handed over %d times, first after %v", times, first)
			}
		})
	}
	// A moment with two leaders begins the time anew.
	var l leaders
	now := time.Now()
	for second := range 60 {
		room := at("a", "a")
		if second%9 == 0 {
			room = at("a", "b")
		}
		if _, is := l.handOver(room, now.Add(time.Duration(second)*time.Second)); is {
			t.Fatalf("handed over after %d s, though two lead every 9 s", second)
		}
	}
}

// newLeader waits until another node leads the first ingest stream.
func newLeader(t *testing.T, cluster *bustest.Cluster, lost int) {
	t.Helper()
	deadline := time.Now().Add(patient)
	for cluster.Leader(t, bus.IngestStream(0)) == lost {
		if time.Now().After(deadline) {
			t.Fatalf("node %d leads still, which is lost", lost)
		}
	}
}

// In a cluster one copy of an event is one server away from none.
func TestNotReadyOnAClusterWithFewCopies(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds: runs without -short, as in make test")
	}
	cluster, last := bustest.NewGathering(t)
	cluster.StartAgain(t, last)
	b := connected(t, cluster, 0)
	topology := bus.Topology{IngestShards: 2, OrderShards: 1, Replicas: 1}
	if err := b.Apply(t.Context(), topology); err != nil {
		t.Fatal(err)
	}
	f := start(t, b, nil)
	f.eventually(t, "unready for want of copies", func() bool {
		response, err := f.client.Get(f.url("/readyz"))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return response.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(text), bus.IngestStream(1)) &&
			strings.Contains(string(text), "--replicas 3")
	})
	topology.Replicas = 3
	if err := b.Apply(t.Context(), topology); err != nil {
		t.Fatal(err)
	}
	f.ready(t)
}
