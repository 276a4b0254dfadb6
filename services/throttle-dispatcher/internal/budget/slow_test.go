package budget

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// ramp plays an endless backlog whose replies take 20 ms, while the part of the
// pace grows from a tenth to the whole over a minute, and returns how many calls
// go out in each of two minutes.
func ramp(t *testing.T, limits Limits) (during, after int) {
	t.Helper()
	b, err := New(limits)
	if err != nil {
		t.Fatal(err)
	}
	type flight struct {
		number int64
		ends   time.Time
	}
	var flying []flight
	for tick := range 2 * 60 * 50 {
		now := epoch.Add(time.Duration(tick) * 20 * time.Millisecond)
		for len(flying) > 0 && !flying[0].ends.After(now) {
			b.Settle(flying[0].number, flying[0].ends)
			flying = flying[1:]
		}
		b.Slow(min(1, 0.1+0.9*now.Sub(epoch).Minutes()))
		for _, p := range b.Reserve(now, 19*time.Millisecond, 1000) {
			flying = append(flying, flight{p.Number, p.SendAt.Add(20 * time.Millisecond)})
			if now.Sub(epoch) < time.Minute {
				during++
			} else {
				after++
			}
		}
	}
	return during, after
}

func TestSlowGrowsToTheWholePace(t *testing.T) {
	// The mean of the part over the minute is 0.55.
	tests := map[string]struct {
		limits        Limits
		during, after int
	}{
		"even":        {Limits{Windows: []Window{{Name: "w", Calls: 1000, Per: time.Minute, Headroom: 1}}}, 549, 999},
		"burst":       {Limits{Windows: []Window{{Name: "w", Calls: 1000, Per: time.Minute}}, Pacing: Burst}, 550, 1000},
		"concurrency": {Limits{Concurrency: []Concurrency{{Name: "c", Calls: 10}}}, 18000, 30000},
		"no pace":     {Limits{Windows: []Window{{Name: "w", Calls: 1000, Per: time.Hour}}}, 1000, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			during, after := ramp(t, test.limits)
			t.Logf("%d calls while it grows, %d in the minute after", during, after)
			for _, n := range []struct{ got, want int }{{during, test.during}, {after, test.after}} {
				if n.got < n.want*97/100 || n.got > n.want*103/100 {
					t.Errorf("%d calls, want about %d", n.got, n.want)
				}
			}
		})
	}
}

// After an outage the first call goes as soon as it might have gone; the gaps after
// it are long.
func TestFirstCallIsNotSlowed(t *testing.T) {
	b, err := New(Limits{Windows: []Window{{Name: "w", Calls: 60, Per: time.Minute}}})
	if err != nil {
		t.Fatal(err)
	}
	b.Reserve(epoch, 0, 1) // the probe
	b.Slow(0.1)
	for _, want := range []time.Duration{time.Second, 11 * time.Second, 21 * time.Second} {
		at, _ := b.Next(epoch)
		if at.Sub(epoch) != want {
			t.Errorf("the next call goes after %v, want %v", at.Sub(epoch), want)
		}
		for _, p := range b.Reserve(at, 0, 1) {
			b.Settle(p.Number, at)
		}
	}
}

// Slow never lets a call go earlier than it might have gone.
func TestSlowOnlySlowsDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := scenarios(universe{windows: 2, concurrency: true}).Draw(t, "scenario")
		b, err := New(s.Limits)
		if err != nil {
			t.Fatal(err)
		}
		now := epoch
		for _, st := range s.Steps {
			now = now.Add(st.Wait)
			part := float64(st.Max) / 12
			b.Slow(part)
			slowed, may := b.Next(now)
			b.Slow(1)
			full, mayFull := b.Next(now)
			if may && !mayFull || may && slowed.Before(full) {
				t.Fatalf("at %v of the pace a call goes at %v, at the whole at %v (%v)", part, slowed, full, mayFull)
			}
			b.Slow(part)
			for _, p := range b.Reserve(now, st.Horizon, st.Max) {
				if st.Calls%2 == 0 {
					b.Settle(p.Number, p.SendAt.Add(st.Wait))
				}
			}
		}
	})
}
