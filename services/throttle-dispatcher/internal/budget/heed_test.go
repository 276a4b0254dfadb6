package budget

import (
	"testing"
	"time"
)

// A bucket of 40 calls at 2 a second of which a reply says what is available: the level
// follows, with what may have arrived since on top.
func TestALevelFollowsTheServer(t *testing.T) {
	at := epoch.Add
	said := func(available int64, m Mark, reply time.Duration) Said {
		return Said{Bucket: "bucket", Available: available, Mark: m, Cost: 1, Spent: 1, At: at(reply)}
	}
	spaced := leaky(40, 2, 0)
	spaced.Windows = []Window{{Name: "window", Calls: 60, Per: time.Minute}}
	for name, test := range map[string]struct {
		limits Limits
		// says plays calls, and returns whether others are proven.
		says   func(b *Budget) bool
		room   int // how many calls go at once then
		proven bool
	}{
		"less than we believe": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 1)
			m := b.Mark(epoch)
			b.Settle(p[0].Number, epoch)
			return b.Heed(epoch, said(10, m, 0))
		}, 10, true},
		"more than we believe": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 10)
			m := b.Mark(epoch)
			settleAll(b, p, epoch)
			return b.Heed(epoch, said(40, m, 0))
		}, 30, false},
		"as much as our own calls in flight can have taken": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 10)
			m := b.Mark(epoch)
			b.Settle(p[0].Number, epoch)
			return b.Heed(epoch, said(30, m, 0))
		}, 30, false},
		"calls in flight may arrive after it": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 3)
			m := b.Mark(epoch)
			b.Settle(p[0].Number, epoch)
			return b.Heed(epoch, said(10, m, 0))
		}, 8, true},
		"and so may those that have ended since": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 3)
			m := b.Mark(epoch)
			settleAll(b, p, epoch)
			return b.Heed(epoch, said(10, m, 0))
		}, 8, true},
		"and those handed out since": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 1)
			m := b.Mark(epoch)
			b.Reserve(epoch, 0, 2)
			b.Settle(p[0].Number, epoch)
			return b.Heed(epoch, said(10, m, 0))
		}, 8, true},
		"but not those that came to nothing": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 1)
			m := b.Mark(epoch)
			b.Void(b.Reserve(epoch, 0, 1)[0].Number)
			b.Settle(p[0].Number, epoch)
			return b.Heed(epoch, said(10, m, 0))
		}, 10, true},
		"two replies tell of the same others": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 2)
			m := b.Mark(epoch)
			settleAll(b, p, epoch)
			return b.Heed(epoch, said(20, m, 0)) && !b.Heed(epoch, said(20, m, 0))
		}, 19, true},
		"a call that was refused is not in it": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 1)
			m := b.Mark(epoch)
			b.Settle(p[0].Number, epoch)
			refused := said(38, m, 0)
			refused.Refused = true
			return b.Heed(epoch, refused)
		}, 38, true},
		"a call more than ours is not worth a word": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 1)
			m := b.Mark(epoch)
			b.Settle(p[0].Number, epoch)
			return b.Heed(epoch, said(38, m, 0))
		}, 39, false},
		"a call that was to leave after the reply is not in it": {spaced, func(b *Budget) bool {
			p := b.Reserve(epoch, 4*time.Second, 5)
			m := b.Mark(epoch)
			b.Settle(p[0].Number, epoch)
			return b.Heed(epoch, said(37, m, time.Second/2))
		}, 0, true},
		"nothing at all, for what we have in flight": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 10)
			m := b.Mark(epoch)
			settleAll(b, p, epoch)
			return b.Heed(epoch, said(0, m, 0))
		}, 0, true},
		"before the limits changed": {leaky(40, 2, 0), func(b *Budget) bool {
			p := b.Reserve(epoch, 0, 1)
			m := b.Mark(epoch)
			b.Settle(p[0].Number, epoch)
			if err := b.SetLimits(epoch, leaky(50, 2, 0)); err != nil {
				panic(err)
			}
			return b.Heed(epoch, said(10, m, 0))
		}, 49, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBudget(t, test.limits)
			if proven := test.says(b); proven != test.proven {
				t.Errorf("others are proven: %v", proven)
			}
			if next, ok := b.Next(epoch); !ok || next.After(at(5*time.Second)) || test.limits.Windows == nil && next.After(at(time.Second/2)) {
				t.Errorf("the next call goes at %v %v: whatever is said, it drains", next, ok)
			}
			if got := len(b.Reserve(epoch, 0, 100)); got != test.room {
				t.Errorf("%d calls go at once, want %d", got, test.room)
			}
		})
	}
}

// What others have put there is told until it has drained, and a successor knows it as
// part of the level.
func TestWhatOthersPutThereDrains(t *testing.T) {
	b := newBudget(t, leaky(40, 2, 0))
	p := b.Reserve(epoch, 0, 1)
	m := b.Mark(epoch)
	b.Settle(p[0].Number, epoch)
	b.Heed(epoch, Said{Bucket: "bucket", Available: 10, Mark: m, Cost: 1, Spent: 1, At: epoch})
	levels := b.Levels(epoch)
	for _, c := range []struct {
		after time.Duration
		want  int64
	}{{0, 29}, {5 * time.Second, 19}, {13 * time.Second, 3}, {14 * time.Second, 0}} {
		if got := b.Foreign(epoch.Add(c.after))["bucket"]; got != c.want {
			t.Errorf("%d are others' after %v, want %d", got, c.after, c.want)
		}
	}
	l := leaky(40, 2, 0)
	l.ClockTolerance = 50 * millisecond
	next := newBudget(t, l)
	next.Restore(epoch, History{LastPermit: 1, Levels: levels, Writer: "a"})
	if got := len(next.Reserve(epoch.Add(100*millisecond), 0, 100)); got != 10 {
		t.Errorf("%d calls of the next owner go at once, want 10", got)
	}
}
