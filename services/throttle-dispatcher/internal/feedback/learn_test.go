package feedback_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/services/connectors/quota"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

func window(calls int, per time.Duration) budget.Limits {
	return budget.Limits{Windows: []budget.Window{{Name: "w", Calls: calls, Per: per, Headroom: 1}}}
}

// Others take half of an account: few calls are refused, and what is free is used.
func TestHalfOfTheAccountIsFree(t *testing.T) {
	for _, c := range []struct {
		calls       int
		per         time.Duration
		clock       bool
		tells, asks bool
		refused     float64 // share of the calls
		used        float64 // share of what is free
	}{
		{calls: 100, per: time.Minute, refused: 0.03, used: 0.85},
		{calls: 100, per: time.Minute, asks: true, refused: 0.03, used: 0.85},
		{calls: 100, per: time.Minute, tells: true, asks: true, refused: 0.01, used: 0.93},
		{calls: 100, per: time.Minute, clock: true, refused: 0.04, used: 0.85},
		{calls: 100, per: time.Minute, clock: true, asks: true, refused: 0.03, used: 0.85},
		{calls: 100, per: time.Minute, clock: true, tells: true, asks: true, refused: 0.01, used: 0.90},
		// Each refusal costs a pause of 5 s here, and jitter puts 26 calls into a second in
		// the place of 25.
		{calls: 50, per: time.Second, refused: 0.02, used: 0.80},
		{calls: 50, per: time.Second, tells: true, asks: true, refused: 0.02, used: 0.85},
		{calls: 1000, per: time.Minute, tells: true, asks: true, refused: 0.02, used: 0.93},
	} {
		t.Run(fmt.Sprintf("%d per %v, clock %v, tells %v, asks %v", c.calls, c.per, c.clock, c.tells, c.asks), func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			s := &server{calls: c.calls, per: c.per, clock: c.clock, tells: c.tells, asks: c.asks, others: c.per / time.Duration(c.calls/2)}
			const warm, lasts = 15 * time.Minute, 75 * time.Minute
			client := play(t, s, window(c.calls, c.per), within(random, 150*ms, 400*ms), lasts, nil)
			calls, accepted := since(s.ours, warm), since(s.accepted, warm)
			refused := 1 - float64(accepted)/float64(calls)
			free := float64(c.calls) / 2 * float64((lasts-warm)/c.per)
			t.Logf("%.2f%% refused, %.1f%% of what is free used; part of the pace at the end %.3f",
				100*refused, 100*float64(accepted)/free, client.parts[len(client.parts)-1])
			if refused > c.refused || float64(accepted) < c.used*free {
				t.Errorf("want at most %.1f%% refused and at least %.1f%% used", 100*c.refused, 100*c.used)
			}
			if most := largest(s.ours, c.per); most > c.calls {
				t.Errorf("%d calls in a window, allowed are %d", most, c.calls)
			}
		})
	}
}

// One throttled reply that came by chance costs little and is forgotten within
// minutes; then the pace is the declared one, to the call.
func TestOneRefusalByChance(t *testing.T) {
	for _, limits := range []budget.Limits{window(100, time.Minute), window(50, time.Second), window(1000, time.Minute)} {
		w := limits.Windows[0]
		t.Run(fmt.Sprintf("%d per %v", w.Calls, w.Per), func(t *testing.T) {
			random := rand.New(rand.NewPCG(3, 4))
			run := func(refuses int) *server {
				s := &server{calls: w.Calls, per: w.Per, asks: true, refuses: refuses}
				c := play(t, s, limits, within(random, 100*ms, 100*ms), 20*time.Minute, nil)
				for second, part := range c.parts {
					if part < 1 && second > 200 {
						t.Fatalf("part %v of the pace after %d s", part, second)
					}
				}
				return s
			}
			without, with := run(0), run(1)
			lost := len(without.accepted) - len(with.accepted)
			perMinute := float64(len(without.accepted)) / 20
			t.Logf("it cost %d calls, of %.0f a minute", lost, perMinute)
			// The 15% that it takes off, falling in a line for 3 minutes, and a second of pause.
			if share := float64(lost) / perMinute; share > 0.30 {
				t.Errorf("it cost as much as %.2f minutes without a call", share)
			}
			const half = 10 * time.Minute
			// Where the hard rule binds, the two may be out of step by a few calls.
			if a, b := since(without.ours, half), since(with.ours, half); b < a-1-a/1000 || b > a+1+a/1000 {
				t.Errorf("%d calls in the last ten minutes, %d where there was no refusal", b, a)
			}
		})
	}
}

// Refusals by chance cost a part of the pace, not most of it, however many there are.
func TestRefusalsByChance(t *testing.T) {
	for _, c := range []struct {
		limits budget.Limits
		whim   int
	}{{window(100, time.Minute), 100}, {window(50, time.Second), 140}, {window(50, time.Second), 1000}, {window(1000, time.Minute), 140}} {
		w := c.limits.Windows[0]
		t.Run(fmt.Sprintf("%d per %v, one in %d", w.Calls, w.Per, c.whim), func(t *testing.T) {
			s := &server{calls: w.Calls, per: w.Per, asks: true, whim: c.whim, random: rand.New(rand.NewPCG(7, 8))}
			p := play(t, s, c.limits, within(rand.New(rand.NewPCG(9, 10)), 100*ms, 200*ms), time.Hour, nil)
			sum, least := 0.0, 1.0
			for _, part := range p.parts {
				sum += part
				least = min(least, part)
			}
			mean := sum / float64(len(p.parts))
			t.Logf("%d refusals in an hour; %.3f of the pace in the mean, %.3f at the least", len(s.refused), mean, least)
			if mean < 0.85 {
				t.Errorf("%.3f of the pace in the mean", mean)
			}
		})
	}
}

// When others leave, the whole pace is back, exactly.
func TestOthersLeave(t *testing.T) {
	for _, tells := range []bool{false, true} {
		s := &server{calls: 100, per: time.Minute, asks: true, tells: tells, others: 1200 * ms}
		random := rand.New(rand.NewPCG(5, 6))
		c := play(t, s, window(100, time.Minute), within(random, 100*ms, 300*ms), 45*time.Minute, map[time.Duration]func(*client){
			20 * time.Minute: func(*client) { s.others = 0 },
		})
		back := 0
		for second, part := range c.parts {
			if part < 1 {
				back = second + 1
			}
		}
		t.Logf("tells %v: part %.3f at the end of the others, whole %d s after them", tells, c.parts[20*60-1], back-20*60)
		if limit := 13 * 60; back-20*60 > limit || c.parts[20*60-1] > 0.6 {
			t.Errorf("tells %v: too slow, or they were not noticed", tells)
		}
	}
}

// Without others, figures never show any: whatever the reply times, the losses, the
// kind of window, and however many calls are in flight.
func TestNobodyIsMadeUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		calls := rapid.IntRange(1, 60).Draw(t, "calls")
		per := time.Duration(rapid.IntRange(1, 20).Draw(t, "per")) * time.Second
		slowest := time.Duration(rapid.IntRange(1, 8000).Draw(t, "slowest")) * ms
		limits := window(calls, per)
		limits.Windows[0].Headroom = rapid.IntRange(0, calls-1).Draw(t, "headroom") / 3
		if rapid.Bool().Draw(t, "burst") {
			limits.Pacing = budget.Burst
		}
		s := &server{calls: calls, per: per, tells: true, asks: true, overtaken: true, clock: rapid.Bool().Draw(t, "clock")}
		if !s.clock {
			s.refuses = rapid.IntRange(0, 3).Draw(t, "refuses")
		}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		c := play(t, s, limits, within(random, ms, slowest), 3*time.Minute, nil)
		now := epoch.Add(3 * time.Minute)
		if part := c.others.Part(now); part != 1 || len(c.others.Taken(now)) > 0 {
			t.Fatalf("%+v taken, part %v, where nobody is", c.others.Taken(now), part)
		}
		if most := largest(s.ours, per); most > calls {
			t.Fatalf("%d calls in %v, allowed are %d", most, per, calls)
		}
	})
}

// Whatever a server says and does, the declared limit holds and the pace comes back.
func TestFiguresOnlyEverLower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &server{
			calls: rapid.IntRange(1, 60).Draw(t, "calls"), per: time.Duration(rapid.IntRange(1, 20).Draw(t, "per")) * time.Second,
			clock: rapid.Bool().Draw(t, "clock"), tells: rapid.Bool().Draw(t, "tells"), asks: rapid.Bool().Draw(t, "asks"),
			overtaken: true, others: time.Duration(rapid.IntRange(0, 3000).Draw(t, "others")) * ms, refuses: rapid.IntRange(0, 20).Draw(t, "refuses"),
		}
		// More or less than the server allows may be declared.
		declared := window(rapid.IntRange(2, 60).Draw(t, "declared"), s.per)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		slowest := time.Duration(rapid.IntRange(1, 4000).Draw(t, "slowest")) * ms
		c := play(t, s, declared, within(random, ms, slowest), 3*time.Minute, nil)
		if most, n := largest(s.ours, s.per), declared.Windows[0].Calls; most > n {
			t.Fatalf("%d calls in %v, declared are %d", most, s.per, n)
		}
		for _, part := range c.parts {
			if part < feedback.Least || part > 1 {
				t.Fatalf("part %v", part)
			}
		}
		if later := epoch.Add(time.Hour); min(c.pace.Part(later), c.others.Part(later)) != 1 {
			t.Fatalf("parts %v and %v an hour later", c.pace.Part(later), c.others.Part(later))
		}
	})
}

// A figure that nobody could mean, however often it is said, costs at most some
// pauses.
func TestNothingLeftForEver(t *testing.T) {
	o := feedback.NewOthers([]feedback.Window{{Name: "w", Calls: 100, Headroom: 1, Per: time.Minute}})
	now, paused := epoch, time.Duration(0)
	for range 20 {
		until := o.Heed(feedback.Reply{
			Figures: []quota.Figure{{Name: "x", Limit: 5000, ResetsAt: now.Add(24 * time.Hour)}}, Own: []int{1}, Sent: now, At: now.Add(100 * ms),
		})
		now = now.Add(600 * ms)
		if until.After(now) {
			paused += until.Sub(now)
			now = until
		}
	}
	if paused > 3*time.Minute {
		t.Errorf("%v of pauses for a figure that was wrong each time", paused)
	}
	// Once it says something else it is believed again.
	o.Heed(feedback.Reply{Figures: []quota.Figure{{Name: "x", Limit: 5000, Remaining: 7}}, Sent: now, At: now})
	if until := o.Heed(feedback.Reply{Figures: []quota.Figure{{Name: "x", Limit: 5000}}, Sent: now, At: now}); until.IsZero() {
		t.Error("nothing left, after something was, is not believed")
	}
}

// A person who ends its pause knows better than the figure: neither what was under way
// nor what follows closes the connector again, until it says something else.
func TestNothingLeftIsNotBelievedAfterAReopening(t *testing.T) {
	o := feedback.NewOthers([]feedback.Window{{Name: "day", Calls: 1000, Per: 24 * time.Hour}})
	resets := epoch.Add(20 * time.Hour)
	heed := func(name string, remaining int64, after time.Duration) (closed time.Time) {
		at := epoch.Add(after)
		return o.Heed(feedback.Reply{
			Figures: []quota.Figure{{Name: name, Limit: 1000, Remaining: remaining, ResetsAt: resets}}, Own: []int{1}, Sent: at.Add(-100 * ms), At: at,
		})
	}
	if closed := heed("a", 0, 0); !closed.Equal(resets) {
		t.Fatalf("closed until %v, want the reset", closed)
	}
	o.Reopened(epoch.Add(time.Minute))
	for _, after := range []time.Duration{time.Minute, time.Hour, 2 * time.Hour} {
		if closed := heed("a", 0, after); !closed.IsZero() {
			t.Errorf("closed again %v later, until %v", after, closed)
		}
	}
	if closed := heed("b", 0, time.Hour); !closed.Equal(resets) {
		t.Errorf("a figure of another name closes until %v, want the reset", closed)
	}
	heed("a", 7, 3*time.Hour)
	if closed := heed("a", 0, 4*time.Hour); !closed.Equal(resets) {
		t.Errorf("after it has said something else it closes until %v, want the reset", closed)
	}
}

func TestHeed(t *testing.T) {
	at := epoch.Add
	minute := feedback.Window{Name: "minute", Calls: 100, Headroom: 1, Per: time.Minute}
	hour := feedback.Window{Name: "hour", Calls: 1000, Per: time.Hour}
	tests := map[string]struct {
		windows   []feedback.Window
		figure    quota.Figure
		own       []int
		times     int
		throttled bool
		closed    time.Duration // 0 for none
		want      map[string]feedback.Taken
	}{
		"nothing left until the reset": {
			[]feedback.Window{minute}, quota.Figure{Limit: 100, ResetsAt: at(20 * time.Second)}, []int{40}, 1, false, 20 * time.Second, nil,
		},
		"nothing left, and our own calls are why": {
			[]feedback.Window{minute}, quota.Figure{Limit: 100, ResetsAt: at(20 * time.Second)}, []int{100}, 1, false, 0, nil,
		},
		"nothing left, of a quota that was not declared, for a day": {
			[]feedback.Window{minute}, quota.Figure{Limit: 5000, ResetsAt: at(24 * time.Hour)}, []int{100}, 1, false, time.Minute, nil,
		},
		"nothing left of the declared hour": {
			[]feedback.Window{minute, hour}, quota.Figure{Limit: 1000, ResetsAt: at(50 * time.Minute)}, []int{100, 400}, 1, false, 50 * time.Minute, nil,
		},
		"and of an hour that ends in a day": {
			[]feedback.Window{minute, hour}, quota.Figure{Limit: 1000, Per: time.Hour, ResetsAt: at(24 * time.Hour)}, []int{100, 400}, 1, false, time.Hour, nil,
		},
		"nothing left in a bucket": {
			[]feedback.Window{minute}, quota.Figure{Limit: 40, Bucket: true}, []int{1}, 1, false, time.Second, nil,
		},
		"a throttled reply says itself how long": {
			[]feedback.Window{minute}, quota.Figure{Limit: 40, ResetsAt: at(20 * time.Second)}, []int{1}, 1, true, 0, nil,
		},
		"others, once: it may be anything": {
			[]feedback.Window{minute}, quota.Figure{Limit: 100, Remaining: 10}, []int{40}, 2, false, 0, nil,
		},
		"others, three times": {
			[]feedback.Window{minute}, quota.Figure{Limit: 100, Remaining: 10}, []int{40}, 3, false, 0, map[string]feedback.Taken{"minute": {Others: 50, Gives: 50}},
		},
		"two calls more than ours are not worth a word": {
			[]feedback.Window{minute}, quota.Figure{Limit: 100, Remaining: 58}, []int{40}, 3, false, 0, nil,
		},
		"others for whom the declaration has left room": {
			[]feedback.Window{minute}, quota.Figure{Limit: 150, Remaining: 80}, []int{40}, 3, false, 0, map[string]feedback.Taken{"minute": {Others: 30}},
		},
		"and more of them than that": {
			[]feedback.Window{minute}, quota.Figure{Limit: 150, Remaining: 40}, []int{40}, 3, false, 0, map[string]feedback.Taken{"minute": {Others: 70, Gives: 20}},
		},
		"the server allows less than declared": {
			[]feedback.Window{minute}, quota.Figure{Limit: 60, Remaining: 30, Per: time.Minute}, []int{40}, 3, false, 0, map[string]feedback.Taken{"minute": {Gives: 40}},
		},
		"the server allows more than declared": {
			[]feedback.Window{minute}, quota.Figure{Limit: 1000, Remaining: 970, Per: time.Minute}, []int{40}, 3, false, 0, nil,
		},
		"a quota of another length": {
			[]feedback.Window{minute}, quota.Figure{Limit: 100, Remaining: 1, Per: time.Hour}, []int{40}, 3, false, 0, nil,
		},
		"a quota that resets too late to be the declared one": {
			[]feedback.Window{minute}, quota.Figure{Limit: 100, Remaining: 1, ResetsAt: at(3 * time.Minute)}, []int{40}, 3, false, 0, nil,
		},
		"found among several by its length": {
			[]feedback.Window{minute, hour}, quota.Figure{Limit: 1000, Remaining: 100, Per: time.Hour}, []int{40, 500}, 3, false, 0, map[string]feedback.Taken{"hour": {Others: 400, Gives: 400}},
		},
		"nobody knows how many are ours": {
			[]feedback.Window{minute}, quota.Figure{Limit: 100, Remaining: 10}, nil, 3, false, 0, nil,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := feedback.NewOthers(test.windows)
			var closed time.Time
			for range test.times {
				closed = o.Heed(feedback.Reply{Figures: []quota.Figure{test.figure}, Own: test.own, Sent: epoch, At: epoch, Throttled: test.throttled})
			}
			if want := at(test.closed); test.closed == 0 && !closed.IsZero() || test.closed > 0 && !closed.Equal(want) {
				t.Errorf("closed until %v, want %v", closed, test.closed)
			}
			if diff := cmp.Diff(test.want, o.Taken(epoch)); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
			longest := 2 * test.windows[len(test.windows)-1].Per
			if part := o.Part(at(longest)); part != 1 {
				t.Errorf("%v of the pace, %v later", part, longest)
			}
		})
	}
}
