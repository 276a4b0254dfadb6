package budget

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// timeline is a queue of things to do in virtual time.
type timeline []due

type due struct {
	at int64
	do func()
}

func (q timeline) Len() int           { return len(q) }
func (q timeline) Less(i, j int) bool { return q[i].at < q[j].at }
func (q timeline) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *timeline) Push(x any)        { *q = append(*q, x.(due)) }
func (q *timeline) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// feed plays a dispatcher with an endless backlog: every 50 ms it asks for the
// send times of the next 100 ms; writes are up to 2 ms late, a stall of 150 ms
// comes about once a minute, requests are on their way for a quarter of reply.
// It returns the arrivals from warm to end.
func feed(t *testing.T, limits Limits, reply, warm, end time.Duration, random *rand.Rand) []time.Duration {
	t.Helper()
	b, err := New(limits)
	if err != nil {
		t.Fatal(err)
	}
	var q timeline
	var arrivals []time.Duration
	at := func(when int64, do func()) { heap.Push(&q, due{when, do}) }
	clock := func(n int64) time.Time { return epoch.Add(time.Duration(n)) }
	var stalled int64
	var tick func(now int64)
	tick = func(now int64) {
		if random.IntN(1200) == 0 {
			stalled = now + int64(150*time.Millisecond)
		}
		for _, p := range b.Reserve(clock(now), 100*time.Millisecond, 1000) {
			write := max(int64(p.SendAt.Sub(epoch)), stalled) + random.Int64N(int64(2*time.Millisecond))
			if clock(write).After(p.NotAfter) {
				at(write, func() { b.Void(p.Number) })
				continue
			}
			arrivals = append(arrivals, time.Duration(write)+reply/4)
			at(write, func() { b.Issued(p.Number, clock(write)) })
			at(write+int64(reply), func() { b.Settle(p.Number, clock(write+int64(reply))) })
		}
		at(now+int64(50*time.Millisecond), func() { tick(now + int64(50*time.Millisecond)) })
	}
	tick(0)
	for len(q) > 0 && q[0].at < int64(end) {
		heap.Pop(&q).(due).do()
	}
	slices.Sort(arrivals)
	from, _ := slices.BinarySearch(arrivals, warm)
	to, _ := slices.BinarySearch(arrivals, end)
	return arrivals[from:to]
}

func largest(arrivals []time.Duration, per time.Duration) int {
	most, from := 0, 0
	for to := range arrivals {
		for arrivals[to]-arrivals[from] > per {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

// TestCloseToTheLimit measures what a backlog gets: at least 99% of the smaller
// of N - headroom per W and N per W + min(reply, J), and never more than N in a
// closed window.
func TestCloseToTheLimit(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name                string
		calls               int
		per, arrives, reply time.Duration
		pacing              Pacing
	}{
		{"100 a minute", 100, time.Minute, 0, 200 * ms, Even},
		{"100 a minute, slow replies", 100, time.Minute, 0, 5000 * ms, Even},
		{"1,000 a minute", 1000, time.Minute, 0, 200 * ms, Even},
		{"50 a second", 50, time.Second, 0, 20 * ms, Even},
		{"50 a second, slower", 50, time.Second, 0, 200 * ms, Even},
		{"50 a second, J = 20 ms", 50, time.Second, 20 * ms, 80 * ms, Even},
		{"50 a second, J = 60 ms, slow replies", 50, time.Second, 60 * ms, 200 * ms, Even},
		{"1,000 a second", 1000, time.Second, 0, 200 * ms, Even},
		{"1,000 a second, J = 60 ms", 1000, time.Second, 60 * ms, 200 * ms, Even},
		{"1,000 a second, replies of 20 s, J", 1000, time.Second, 5001 * ms, 20 * time.Second, Even},
		{"400 a second in bursts", 400, time.Second, 0, 200 * ms, Burst},
	} {
		t.Run(c.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, uint64(c.calls)))
			warm := 3 * (c.per + c.reply)
			length := max(20*c.per, time.Minute)
			limits := Limits{Pacing: c.pacing, Windows: []Window{{Name: "w", Calls: c.calls, Per: c.per, Headroom: 1, ArrivesWithin: c.arrives}}}
			arrivals := feed(t, limits, c.reply, warm, warm+length, random)
			delay := c.reply
			if c.arrives > 0 {
				delay = min(delay, c.arrives)
			}
			bound := float64(c.calls)
			if c.pacing == Burst {
				bound = float64(c.calls - 1)
			}
			theory := math.Min(float64(c.calls-1)/c.per.Seconds(), bound/(c.per+delay).Seconds())
			got := float64(len(arrivals)) / length.Seconds()
			most := largest(arrivals, c.per)
			t.Logf("%.3f/s of %.3f/s allowed (%.2f%%), largest window %d of %d", got, theory, 100*got/theory, most, c.calls)
			if got < 0.99*theory {
				t.Errorf("rate %.3f/s is below 99%% of %.3f/s", got, theory)
			}
			if most > c.calls {
				t.Errorf("%d arrivals in a window of %v, allowed are %d", most, c.per, c.calls)
			}
		})
	}
}

// BenchmarkCall is the cost of one call at 1,000 a second under windows of a
// second, a minute and an hour, with 200 calls in flight.
func BenchmarkCall(b *testing.B) {
	budget, err := New(Limits{
		Windows: []Window{
			{Name: "second", Calls: 1000, Per: time.Second, Headroom: 1, ArrivesWithin: 20 * time.Millisecond},
			{Name: "minute", Calls: 100_000, Per: time.Minute, Headroom: 1},
			{Name: "hour", Calls: 5_000_000, Per: time.Hour},
		},
		Concurrency: []Concurrency{{Name: "parallel", Calls: 400}},
	})
	if err != nil {
		b.Fatal(err)
	}
	now := epoch
	var flying []Permit
	call := func() {
		for len(flying) < 200 {
			permits := budget.Reserve(now, 0, 10)
			if len(permits) == 0 {
				at, ok := budget.Next(now)
				if !ok {
					b.Fatal("no permit and none in flight")
				}
				now = at
				continue
			}
			for _, p := range permits {
				budget.Issued(p.Number, now.Add(time.Microsecond))
			}
			flying = append(flying, permits...)
		}
		budget.Settle(flying[0].Number, now)
		flying = flying[1:]
	}
	for range 100_000 {
		call()
	}
	b.ReportAllocs()
	for b.Loop() {
		call()
	}
}
