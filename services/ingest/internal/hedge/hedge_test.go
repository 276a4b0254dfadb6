package hedge

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errPassing = errors.New("away")
	errLasting = errors.New("refused")
)

// shard is how a simulated one behaves.
type shard struct {
	takes time.Duration // to acknowledge; never where it is negative
	err   error
}

const never = -1

// disk is some shards, and what was asked of them.
type disk struct {
	mu     sync.Mutex
	shards []shard
	asked  []int
	silent int
}

func (d *disk) write(ctx context.Context, i int, _ []byte) error {
	d.mu.Lock()
	d.asked = append(d.asked, i)
	s := d.shards[i]
	d.mu.Unlock()
	if s.takes == never {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-time.After(s.takes):
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *disk) set(shards ...shard) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shards = shards
}

// taken returns which shards were asked since the last call.
func (d *disk) taken() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	asked := d.asked
	d.asked = nil
	return asked
}

const (
	after  = 100 * time.Millisecond
	aside  = 500 * time.Millisecond
	outage = time.Second
	most   = 2500 * time.Millisecond
)

func newHedge(t *testing.T, shards ...shard) (*Hedge, *disk) {
	t.Helper()
	d := &disk{shards: shards}
	h, err := New(Options{
		Shards: len(shards), After: after, Aside: aside, Outage: outage, Write: d.write,
		Passing: func(err error) bool { return errors.Is(err, errPassing) },
		Late:    func(int) {},
		Silent: func(context.Context) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.silent++
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h, d
}

// written returns how long it took and how it ended.
func written(t *testing.T, h *Hedge, home int) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	began := time.Now()
	err := h.Write(ctx, home, nil)
	return time.Since(began), err
}

func TestWrite(t *testing.T) {
	ok, slow, silent := shard{takes: time.Millisecond}, shard{takes: 150 * time.Millisecond}, shard{takes: never}
	away, full := shard{err: errPassing}, shard{err: errLasting}
	for name, test := range map[string]struct {
		shards []shard
		asked  []int
		took   time.Duration
		err    error
	}{
		"one that works":                      {[]shard{ok, ok}, []int{0}, time.Millisecond, nil},
		"one by itself that is slow":          {[]shard{slow}, []int{0}, 150 * time.Millisecond, nil},
		"one by itself that is silent":        {[]shard{silent}, []int{0, 0}, most, context.DeadlineExceeded},
		"the next, where one is silent":       {[]shard{silent, ok, ok}, []int{0, 1}, after + time.Millisecond, nil},
		"the one that was only slow":          {[]shard{slow, silent}, []int{0, 1}, 150 * time.Millisecond, nil},
		"the last, where two are silent":      {[]shard{silent, silent, ok}, []int{0, 1, 2}, 2*after + time.Millisecond, nil},
		"the next at once, where one is away": {[]shard{away, ok}, []int{0, 1}, time.Millisecond, nil},
		"the next at once, where one is full": {[]shard{full, ok}, []int{0, 1}, time.Millisecond, nil},
		"all are full":                        {[]shard{full, full}, []int{0, 1}, 0, errLasting},
		"full, and silent":                    {[]shard{silent, full}, []int{0, 1, 0, 1}, most, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, d := newHedge(t, test.shards...)
				took, err := written(t, h, 0)
				if !errors.Is(err, test.err) || took != test.took {
					t.Errorf("ended after %v with %v, want %v and %v", took, err, test.took, test.err)
				}
				if asked := d.taken(); !slices.Equal(asked, test.asked) {
					t.Errorf("asked %v, want %v", asked, test.asked)
				}
			})
		})
	}
}

// The answers to what was asked on a connection that is gone do not come, though each
// shard works and may have the pack.
func TestAPackWhoseAnswersAreLostIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ok, silent := shard{takes: time.Millisecond}, shard{takes: never}
		h, d := newHedge(t, silent, silent)
		time.AfterFunc(3*after, func() { d.set(ok, ok) })
		took, err := written(t, h, 0)
		if asked := d.taken(); err != nil || took > outage+3*after || !slices.Equal(asked, []int{0, 1, 0}) && !slices.Equal(asked, []int{0, 1, 1}) {
			t.Errorf("ended after %v with %v, asked %v; want both asked, and one of them again", took, err, asked)
		}
	})
}

// While a shard is lost, one pack in a while waits for it, and the others do not.
func TestASilentShardIsAskedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ok, silent := shard{takes: time.Millisecond}, shard{takes: never}
		h, d := newHedge(t, silent, ok, ok)
		began, packs, late := time.Now(), 0, 0
		for ; time.Since(began) < 7*time.Second; packs++ {
			took, err := written(t, h, 0)
			if err != nil || took > after+time.Millisecond {
				t.Fatalf("a pack ended after %v with %v", took, err)
			}
			if took > time.Millisecond {
				late++
			}
		}
		if most := int(7*time.Second/aside) + 1; late > most || late < 2 {
			t.Errorf("%d of %d packs waited for the lost shard, want 2 to %d", late, packs, most)
		}
		d.set(ok, ok, ok)
		time.Sleep(aside)
		d.taken()
		_, err := written(t, h, 0)
		if _, again := written(t, h, 0); err != nil || again != nil || !slices.Equal(d.taken(), []int{0, 0}) {
			t.Errorf("%v, %v: a shard that is back does not get its packs", err, again)
		}
	})
}

// A disk that stalls makes every shard late; more to write would not help it.
func TestAStallIsNotMultiplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := shard{takes: 300 * time.Millisecond}
		h, d := newHedge(t, slow, slow, slow)
		if _, err := written(t, h, 0); err != nil {
			t.Fatal(err)
		}
		d.taken()
		const packs = 10
		for range packs {
			if took, err := written(t, h, 0); err != nil || took != 300*time.Millisecond {
				t.Errorf("ended after %v with %v", took, err)
			}
		}
		if asked := d.taken(); len(asked) > 2*packs {
			t.Errorf("%d packs were written %d times", packs, len(asked))
		}
	})
}

// Where every shard fails, as while it connects to another server, packs wait for the
// end of it; and no longer where it does not end.
func TestAnOutageOfAllIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away, ok := shard{err: errPassing}, shard{takes: time.Millisecond}
		h, d := newHedge(t, away, away)
		go func() {
			time.Sleep(350 * time.Millisecond)
			d.set(ok, ok)
		}()
		if took, err := written(t, h, 0); err != nil || took > 350*time.Millisecond+after {
			t.Errorf("ended after %v with %v", took, err)
		}
		d.set(away, away)
		if took, err := written(t, h, 0); !errors.Is(err, errPassing) || took != outage {
			t.Errorf("ended after %v with %v, want %v", took, err, outage)
		}
		for range 5 {
			if took, err := written(t, h, 1); !errors.Is(err, errPassing) || took != 0 {
				t.Errorf("ended after %v with %v, want at once", took, err)
			}
		}
		d.set(ok, ok)
		if took, err := written(t, h, 0); err != nil || took != time.Millisecond {
			t.Errorf("ended after %v with %v once it is over", took, err)
		}
	})
}

// What all shards share is looked at while nobody answers, and only then.
func TestSilenceOfAllIsLookedInto(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := newHedge(t, shard{takes: time.Millisecond}, shard{takes: time.Millisecond})
		if _, err := written(t, h, 0); err != nil || d.silent != 0 {
			t.Errorf("%v, looked into %d times", err, d.silent)
		}
		d.set(shard{takes: never}, shard{takes: never})
		if _, err := written(t, h, 0); err == nil || d.silent < 2 {
			t.Errorf("%v, looked into %d times", err, d.silent)
		}
	})
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no options are taken")
	}
}
