package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is where packs go; each write takes as long as it says.
type disk struct {
	delay time.Duration
	err   error

	mu    sync.Mutex
	packs [][]string
	sizes []int
}

func (d *disk) write(ctx context.Context, _ int, pack []byte, events int) error {
	var decoded eventv1.Pack
	if err := proto.Unmarshal(pack, &decoded); err != nil {
		return err
	}
	if len(decoded.GetEvents()) != events {
		return fmt.Errorf("a pack of %d events is called one of %d", len(decoded.GetEvents()), events)
	}
	select {
	case <-time.After(d.delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	if d.err != nil {
		return d.err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var ids []string
	for _, e := range decoded.GetEvents() {
		ids = append(ids, e.GetId())
	}
	d.packs = append(d.packs, ids)
	d.sizes = append(d.sizes, len(pack))
	return nil
}

func event(t interface{ Fatal(...any) }, id string, size int) []byte {
	encoded, err := proto.Marshal(&eventv1.Event{Id: id, Body: make([]byte, size)})
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// started returns a running committer, and what stops it and waits for its end.
func started(t *testing.T, o Options, d *disk) (*Committer, func()) {
	t.Helper()
	o.Write = d.write
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	return c, func() {
		cancel()
		<-ended
	}
}

// later is when nobody here waits any more.
func later() time.Time { return time.Now().Add(time.Hour) }

var usual = Options{Writers: 1, MaxEvents: 100, MaxBytes: 10_000, MaxQueued: 100, WriteTimeout: time.Minute}

func TestALoneEventDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := started(t, usual, &disk{delay: time.Millisecond})
		defer stop()
		begin := time.Now()
		if err := c.Commit(later(), event(t, "a", 1)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != time.Millisecond {
			t.Errorf("it took %v, want the write's 1ms and nothing on top", took)
		}
	})
}

func TestWhatArrivesDuringAWriteSharesTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{delay: time.Second}
		c, stop := started(t, usual, d)
		defer stop()
		var group sync.WaitGroup
		for i := range 50 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if err := c.Commit(later(), event(t, fmt.Sprint(i), 1)); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if len(d.packs) != 2 || len(d.packs[0]) != 1 || len(d.packs[1]) != 49 {
			t.Errorf("packs %v, want one of the first and one of the other 49", d.packs)
		}
		if !slices.IsSortedFunc(d.packs[1], func(a, b string) int { return len(a) - len(b) }) {
			t.Errorf("events in another order than they came: %v", d.packs[1])
		}
	})
}

func TestGivingUpBeforeTheTurnLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{delay: 10 * time.Second}
		c, stop := started(t, usual, d)
		defer stop()
		var group sync.WaitGroup
		group.Go(func() {
			if err := c.Commit(later(), event(t, "first", 1)); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if err := c.Commit(time.Now().Add(time.Second), event(t, "second", 1)); !errors.Is(err, ErrGaveUp) {
			t.Errorf("error %v, want ErrGaveUp", err)
		}
		group.Wait()
		if err := c.Commit(later(), event(t, "third", 1)); err != nil {
			t.Error(err)
		}
		if got := slices.Concat(d.packs...); !slices.Equal(got, []string{"first", "third"}) {
			t.Errorf("written: %v", got)
		}
	})
}

func TestGivingUpDuringTheWriteSaysThatItMayBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := started(t, usual, &disk{delay: 10 * time.Second})
		defer stop()
		err := c.Commit(time.Now().Add(time.Second), event(t, "a", 1))
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrGaveUp) {
			t.Errorf("error %v, want the deadline's", err)
		}
	})
}

func TestAWriteIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := usual
		o.WriteTimeout = 2 * time.Second
		c, stop := started(t, o, &disk{delay: time.Hour})
		defer stop()
		begin := time.Now()
		if err := c.Commit(later(), event(t, "a", 1)); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 2*time.Second {
			t.Errorf("error %v after %v", err, time.Since(begin))
		}
	})
}

func TestAFailedWriteFailsItsEventsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("full")
		d := &disk{err: full}
		c, stop := started(t, usual, d)
		defer stop()
		if err := c.Commit(later(), event(t, "a", 1)); !errors.Is(err, full) {
			t.Errorf("error %v, want the write's", err)
		}
		d.err = nil
		if err := c.Commit(later(), event(t, "b", 1)); err != nil {
			t.Error(err)
		}
	})
}

func TestAFullQueueRefusesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := usual
		o.MaxQueued = 3
		c, stop := started(t, o, &disk{delay: time.Second})
		defer stop()
		var mu sync.Mutex
		outcomes := map[error]int{}
		var group sync.WaitGroup
		for i := range 10 {
			group.Go(func() {
				// The first is on its way before the others come.
				if i > 0 {
					time.Sleep(time.Millisecond)
				}
				begin := time.Now()
				err := c.Commit(later(), event(t, "x", 1))
				if errors.Is(err, ErrOverloaded) && time.Since(begin) != 0 {
					t.Errorf("refused after %v", time.Since(begin))
				}
				mu.Lock()
				defer mu.Unlock()
				outcomes[err]++
			})
		}
		group.Wait()
		if outcomes[nil] != 4 || outcomes[ErrOverloaded] != 6 {
			t.Errorf("outcomes %v, want 1 written, 3 queued and 6 refused", outcomes)
		}
	})
}

func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{delay: time.Second}
		c, stop := started(t, usual, d)
		errs := make(chan error, 2)
		go func() { errs <- c.Commit(later(), event(t, "under way", 1)) }()
		synctest.Wait()
		go func() { errs <- c.Commit(later(), event(t, "waiting", 1)) }()
		synctest.Wait()
		stop()
		first, second := <-errs, <-errs
		if first != nil && second != nil || !errors.Is(errors.Join(first, second), ErrStopped) {
			t.Errorf("errors %v and %v, want nil and ErrStopped", first, second)
		}
		if err := c.Commit(later(), event(t, "late", 1)); !errors.Is(err, ErrStopped) {
			t.Errorf("error %v, want ErrStopped", err)
		}
		if got := slices.Concat(d.packs...); !slices.Equal(got, []string{"under way"}) {
			t.Errorf("written: %v", got)
		}
	})
}

// What was committed at once is in one pack, side by side and in its order, however many
// writers look for work; what does not fit beside others goes alone.
func TestEventsOfOneCommitStayTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := usual
		o.Writers, o.MaxEvents = 4, 10
		d := &disk{delay: time.Millisecond}
		c, stop := started(t, o, d)
		defer stop()
		var group sync.WaitGroup
		sizes := []int{3, 1, 12, 7, 4, 1, 9, 2, 10, 6, 5, 1}
		for name, size := range sizes {
			group.Go(func() {
				events := make([][]byte, size)
				for i := range events {
					events[i] = event(t, fmt.Sprintf("%02d.%02d", name, i), 1)
				}
				if err := c.Commit(later(), events...); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		written := 0
		for _, pack := range d.packs {
			written += len(pack)
			if len(pack) > o.MaxEvents && !(len(pack) == 12 && pack[0][:2] == pack[11][:2]) {
				t.Errorf("a pack of %d events, allowed are %d: %v", len(pack), o.MaxEvents, pack)
			}
			for i := 0; i < len(pack); {
				var name, place int
				if _, err := fmt.Sscanf(pack[i], "%02d.%02d", &name, &place); err != nil || place != 0 {
					t.Fatalf("%v begins in the middle (%v)", pack, err)
				}
				for place = range sizes[name] {
					if i+place >= len(pack) || pack[i+place] != fmt.Sprintf("%02d.%02d", name, place) {
						t.Fatalf("%v: what came as %02d is torn", pack, name)
					}
				}
				i += sizes[name]
			}
		}
		if want := 61; written != want {
			t.Errorf("%d events are written, want %d", written, want)
		}
	})
}

// Whatever comes, in whatever sizes: an event is in exactly one pack if Commit
// says so, and every pack keeps its bounds.
func TestEveryAcknowledgedEventIsInExactlyOnePack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{
			Writers:      rapid.IntRange(1, 4).Draw(rt, "writers"),
			MaxEvents:    rapid.IntRange(1, 10).Draw(rt, "max events"),
			MaxBytes:     rapid.IntRange(10, 500).Draw(rt, "max bytes"),
			MaxQueued:    rapid.IntRange(1, 50).Draw(rt, "max queued"),
			WriteTimeout: time.Second,
		}
		sizes := rapid.SliceOfN(rapid.IntRange(0, 600), 1, 100).Draw(rt, "sizes")
		gaps := rapid.SliceOfN(rapid.IntRange(0, 3), len(sizes), len(sizes)).Draw(rt, "gaps")
		patience := rapid.IntRange(1, 30).Draw(rt, "patience")
		synctest.Test(t, func(t *testing.T) {
			d := &disk{delay: 5 * time.Millisecond}
			c, stop := started(t, o, d)
			var mu sync.Mutex
			acknowledged, refused := map[string]bool{}, map[string]bool{}
			var group sync.WaitGroup
			for i, size := range sizes {
				time.Sleep(time.Duration(gaps[i]) * time.Millisecond)
				group.Go(func() {
					id := fmt.Sprint(i)
					err := c.Commit(time.Now().Add(time.Duration(patience)*time.Millisecond), event(t, id, size))
					mu.Lock()
					defer mu.Unlock()
					acknowledged[id] = err == nil
					refused[id] = errors.Is(err, ErrOverloaded) || errors.Is(err, ErrGaveUp) || errors.Is(err, ErrStopped)
				})
			}
			group.Wait()
			stop()
			written := map[string]int{}
			for i, pack := range d.packs {
				if len(pack) > o.MaxEvents || d.sizes[i] > o.MaxBytes && len(pack) > 1 {
					t.Errorf("a pack of %d events and %d bytes, allowed are %d and %d", len(pack), d.sizes[i], o.MaxEvents, o.MaxBytes)
				}
				for _, id := range pack {
					written[id]++
				}
			}
			for id := range acknowledged {
				if acknowledged[id] && written[id] != 1 || refused[id] && written[id] != 0 || written[id] > 1 {
					t.Errorf("event %s is written %d times, acknowledged %v, refused %v", id, written[id], acknowledged[id], refused[id])
				}
			}
		})
	})
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no options are taken")
	}
}

// What one Commit was done with is used by another: neither its outcome nor its time may
// be.
func TestAnOutcomeIsNotTakenForAnothers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcome := make(chan error)
		c, err := New(Options{
			Writers: 1, MaxEvents: 10, MaxBytes: 1 << 20, MaxQueued: 10, WriteTimeout: time.Hour,
			Write: func(context.Context, int, []byte, int) error { return <-outcome },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { c.Run(ctx) })
		defer running.Wait()
		defer cancel()
		commit := func(patience time.Duration) <-chan error {
			told := make(chan error, 1)
			go func() { told <- c.Commit(time.Now().Add(patience), event(t, "e", 10)) }()
			synctest.Wait()
			return told
		}
		for range 50 { // a pool may or may not give back what it was given
			soon := commit(time.Second)
			outcome <- nil
			if err := <-soon; err != nil {
				t.Fatal(err)
			}
			began, late := time.Now(), commit(5*time.Second)
			if err := <-late; !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
				t.Fatalf("after %v, %v; want its own 5 s", time.Since(began), err)
			}
			// The writer still has that one, and tells it behind its back.
			next := commit(time.Minute)
			outcome <- errors.New("of the one that gave up")
			outcome <- nil
			if err := <-next; err != nil {
				t.Fatalf("told %v", err)
			}
		}
	})
}
