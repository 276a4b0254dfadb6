package throttledispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// counted counts writes, and holds up the first one until it is let go.
type counted struct {
	throttledispatcher.Records
	// refuses is what batches meet.
	refuses       error
	lone, batches atomic.Int64
	first         sync.Once
	begun, goOn   chan struct{}
}

func newCounted(b *bus.Bus) *counted {
	return &counted{Records: throttledispatcher.OnBus(b), begun: make(chan struct{}), goOn: make(chan struct{})}
}

func (c *counted) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	c.lone.Add(1)
	c.first.Do(func() {
		close(c.begun)
		<-c.goOn
	})
	return c.Records.Publish(ctx, m)
}

func (c *counted) PublishAtomic(ctx context.Context, messages []bus.Message) (bus.Ack, error) {
	c.batches.Add(1)
	if c.refuses != nil {
		return bus.Ack{}, c.refuses
	}
	return c.Records.PublishAtomic(ctx, messages)
}

func numbered(n int) bus.Message {
	subject := bus.ResultSubject("logic-gate", fmt.Sprint("delivery-", n))
	return bus.Message{Subject: subject, Data: fmt.Append(nil, n), ExpectLast: bus.Sequence(0)}
}

// What comes while something is being published is published together, in a few
// writes; each caller hears of its own message, and one that is there already refuses
// no other.
func TestWhatComesAtTheSameTimeIsPublishedTogether(t *testing.T) {
	t.Parallel()
	const count = 500
	for name, there := range map[string]int{"none is there": 0, "one is there": 300} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needs(t, roomToWait)
			b := bustest.Start(t)
			if there > 0 {
				if _, err := b.Publish(t.Context(), numbered(there)); err != nil {
					t.Fatal(err)
				}
			}
			records := newCounted(b)
			together := throttledispatcher.NewTogether(records, slog.New(slog.DiscardHandler))
			errs := make([]error, count+1)
			var group sync.WaitGroup
			group.Go(func() { errs[0] = together.Publish(t.Context(), numbered(0)) })
			<-records.begun
			for n := 1; n <= count; n++ {
				group.Go(func() { errs[n] = together.Publish(t.Context(), numbered(n)) })
			}
			for together.Waiting() < count {
				runtime.Gosched()
			}
			close(records.goOn)
			group.Wait()
			together.Wait()
			for n, err := range errs {
				if refused := there > 0 && n == there; bus.IsConflict(err) != refused || !refused && err != nil {
					t.Errorf("message %d: %v", n, err)
				}
				if _, err := b.Last(t.Context(), bus.StreamResult, numbered(n).Subject); err != nil {
					t.Errorf("message %d is not stored: %v", n, err)
				}
			}
			lone, batches := records.lone.Load(), records.batches.Load()
			t.Logf("%d writes of one message, %d of many", lone, batches)
			// 256 go into one batch; those of a batch with the one that is there go alone.
			if batches != 2 || there == 0 && lone != 1 || lone > 257 {
				t.Errorf("%d messages took %d writes of one and %d of many", count, lone, batches)
			}
		})
	}
}

// A stream that takes no batches, as one that an earlier version made, takes results
// one by one, and the log says once why that is slow.
func TestWithoutBatchesResultsGoOneByOne(t *testing.T) {
	t.Parallel()
	needs(t, roomToWait)
	const count = 100
	records := newCounted(bustest.Start(t))
	records.refuses = errors.New("batches are not enabled")
	log := &logs{out: t.Output()}
	together := throttledispatcher.NewTogether(records, slog.New(log))
	var group sync.WaitGroup
	group.Go(func() { _ = together.Publish(t.Context(), numbered(0)) })
	<-records.begun
	for n := 1; n <= count; n++ {
		group.Go(func() {
			if err := together.Publish(t.Context(), numbered(n)); err != nil {
				t.Errorf("message %d: %v", n, err)
			}
		})
	}
	for together.Waiting() < count {
		runtime.Gosched()
	}
	close(records.goOn)
	group.Wait()
	if n := len(log.with("peppasync apply")); n != 1 {
		t.Errorf("%d lines in the log, want 1", n)
	}
}

// Who gives up is not waited for, takes nobody along, and is not published any more if
// it had not begun.
func TestWhoGivesUpTakesNobodyAlong(t *testing.T) {
	t.Parallel()
	needs(t, roomToWait)
	b := bustest.Start(t)
	records := newCounted(b)
	together := throttledispatcher.NewTogether(records, slog.New(slog.DiscardHandler))
	ctx, giveUp := context.WithCancel(t.Context())
	first, second, third := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { first <- together.Publish(ctx, numbered(1)) }()
	<-records.begun
	go func() { second <- together.Publish(t.Context(), numbered(2)) }()
	go func() { third <- together.Publish(ctx, numbered(3)) }()
	for together.Waiting() < 2 {
		runtime.Gosched()
	}
	giveUp()
	for _, told := range []chan error{first, third} {
		if err := <-told; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up is told %v", err)
		}
	}
	close(records.goOn)
	if err := <-second; err != nil {
		t.Errorf("the other is told %v", err)
	}
	together.Wait()
	for n, want := range map[int]bool{1: true, 2: true, 3: false} {
		if _, err := b.Last(t.Context(), bus.StreamResult, numbered(n).Subject); (err == nil) != want {
			t.Errorf("message %d is stored: %v, want %v", n, err == nil, want)
		}
	}
}

// Each result is of its own trace, or of none.
func TestNoResultTakesTheTraceOfAnother(t *testing.T) {
	t.Parallel()
	needs(t, roomToWait)
	b := bustest.Start(t)
	records := newCounted(b)
	together := throttledispatcher.NewTogether(records, slog.New(slog.DiscardHandler))
	traced := telemetry.Extract(t.Context(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "")
	var group sync.WaitGroup
	group.Go(func() { _ = together.Publish(traced, numbered(1)) })
	<-records.begun
	group.Go(func() { _ = together.Publish(t.Context(), numbered(2)) })
	for together.Waiting() < 1 {
		runtime.Gosched()
	}
	close(records.goOn)
	group.Wait()
	record, err := b.Last(t.Context(), bus.StreamResult, numbered(2).Subject)
	if err != nil || record.Header[telemetry.HeaderTraceparent] != "" {
		t.Errorf("the one without a trace has %q (%v)", record.Header[telemetry.HeaderTraceparent], err)
	}
}

// muteResults refuses results while it is on, and counts questions.
type muteResults struct {
	throttledispatcher.Records
	on           bool
	asking, most atomic.Int64
}

func (m *muteResults) through(r throttledispatcher.Records) throttledispatcher.Records {
	m.Records = r
	return m
}

func (m *muteResults) Publish(ctx context.Context, message bus.Message) (bus.Ack, error) {
	if m.on && strings.HasPrefix(message.Subject, "result.") {
		return bus.Ack{}, errDead
	}
	return m.Records.Publish(ctx, message)
}

func (m *muteResults) PublishAtomic(ctx context.Context, messages []bus.Message) (bus.Ack, error) {
	if m.on {
		return bus.Ack{}, errDead
	}
	return m.Records.PublishAtomic(ctx, messages)
}

func (m *muteResults) Last(ctx context.Context, stream, subject string) (bus.Record, error) {
	n := m.asking.Add(1)
	defer m.asking.Add(-1)
	for most := m.most.Load(); n > most && !m.most.CompareAndSwap(most, n); {
		most = m.most.Load()
	}
	return m.Records.Last(ctx, stream, subject)
}

// After a start over many deliveries that are closed and whose results nobody has been
// told, the store is asked a few questions at a time: asked all at once, it answers
// none in time, and each is asked again.
func TestAStartAsksAFewQuestionsAtATime(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const orders = 300
	w := newWorld(t, 1_000_000, time.Minute)
	var group sync.WaitGroup
	for n := range orders {
		group.Go(func() { w.want(n, "") })
	}
	group.Wait()
	mute := &muteResults{on: true}
	stop := w.start(throttledispatcher.Abrupt, throttledispatcher.Through(mute.through))
	w.eventually("all are called", func() bool { return len(w.account.seen()) >= orders })
	w.eventually("all are closed on record", func() bool {
		closes := 0
		for _, block := range w.blocks() {
			closes += len(block.GetCloses())
		}
		return closes >= orders
	})
	stop()
	heard := &muteResults{}
	w.start(throttledispatcher.Through(heard.through))
	w.delivered(orders)
	if most := heard.most.Load(); most > 40 {
		t.Errorf("%d questions at a time", most)
	}
	if calls := len(w.account.seen()); calls != orders {
		t.Errorf("%d calls for %d orders", calls, orders)
	}
}
