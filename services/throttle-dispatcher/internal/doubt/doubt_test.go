package doubt_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/doubt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return epoch.Add(d) }

// once is a call that must not be repeated blindly, in a system that may commit
// ten minutes late.
var once = doubt.Facts{Effect: connectors.EffectOnce, Findable: true, Horizon: 10 * time.Minute, MostUnanswered: 3}

func TestWhatIsDoneFirst(t *testing.T) {
	blind, often, none := once, once, once
	blind.Findable = false
	often.Effect = connectors.EffectIdempotent
	none.Effect = connectors.EffectNone
	arises := func(d *doubt.Doubt) { d.Arises(at(time.Second)) }
	tests := map[string]struct {
		happens func(d *doubt.Doubt)
		facts   doubt.Facts
		want    doubt.Action
	}{
		"nothing is in doubt":                                 {func(*doubt.Doubt) {}, once, doubt.Send},
		"in doubt, to be found":                               {arises, once, doubt.LookUp},
		"in doubt, with no way to find out":                   {arises, blind, doubt.Park},
		"in doubt, a repetition is harmless":                  {arises, often, doubt.Send},
		"in doubt, only a question":                           {arises, none, doubt.Send},
		"said to be there already, though harmless to repeat": {func(d *doubt.Doubt) { d.Claimed(epoch) }, often, doubt.LookUp},
		"an earlier owner left nothing open":                  {func(d *doubt.Doubt) { d.Remains(time.Time{}) }, once, doubt.Send},
		"an earlier owner left it open":                       {func(d *doubt.Doubt) { d.Remains(epoch) }, once, doubt.LookUp},
		"an earlier owner repeated it in vain":                {func(d *doubt.Doubt) { d.Remains(epoch) }, often, doubt.Send},
		"in doubt, and then refused":                          {func(d *doubt.Doubt) { arises(d); d.Known() }, once, doubt.Send},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var d doubt.Doubt
			test.happens(&d)
			if got, _ := d.Next(epoch, test.facts); got != test.want {
				t.Errorf("action %d, want %d", got, test.want)
			}
		})
	}
}

func TestNotFoundCountsOnlyFromTheHorizonOn(t *testing.T) {
	const arrived, certain = 30 * time.Second, 30*time.Second + 10*time.Minute
	tests := map[string]struct {
		issued, now time.Duration
		presence    connectors.Presence
		want        doubt.Action
		until       time.Duration
	}{
		"found at once":                            {0, time.Second, connectors.Present, doubt.Deliver, 0},
		"found long after":                         {time.Hour, time.Hour, connectors.Present, doubt.Deliver, 0},
		"not found at once":                        {0, time.Second, connectors.Absent, doubt.Wait, 2 * time.Second},
		"not found though it has arrived":          {arrived, arrived, connectors.Absent, doubt.Wait, arrived + time.Second},
		"not found just before":                    {certain - 1, certain - 1, connectors.Absent, doubt.Wait, certain},
		"asked before and answered after":          {certain - 1, certain + 5*time.Second, connectors.Absent, doubt.Wait, certain},
		"not found when nothing can come any more": {certain, certain, connectors.Absent, doubt.Send, 0},
		"asked then, and not told":                 {certain, certain, connectors.PresenceUnknown, doubt.Wait, certain + time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var d doubt.Doubt
			d.Arises(at(arrived))
			got, until := d.Answered(test.presence, at(test.issued), at(test.now), once)
			if got != test.want || got == doubt.Wait && !until.Equal(at(test.until)) {
				t.Errorf("action %d until %v, want %d until %v", got, until.Sub(epoch), test.want, test.until)
			}
			if d.Open() == (got == doubt.Send) {
				t.Errorf("open is %v after action %d", d.Open(), got)
			}
		})
	}
}

// Look-ups are calls too: a quarter of an hour costs some twenty, and the last of
// them comes when it can tell.
func TestLookUpsBecomeRare(t *testing.T) {
	var d doubt.Doubt
	d.Arises(epoch)
	facts := once
	facts.Horizon = 15 * time.Minute
	now, n := epoch, 0
	for {
		action, until := d.Next(now, facts)
		if action == doubt.Wait {
			now = until
			continue
		}
		if action != doubt.LookUp {
			t.Fatalf("action %d", action)
		}
		n++
		if action, _ := d.Answered(connectors.Absent, now, now, facts); action == doubt.Send {
			break
		}
	}
	if n > 22 || !now.Equal(at(15*time.Minute)) {
		t.Errorf("%d look-ups, the last after %v", n, now.Sub(epoch))
	}
	t.Logf("%d look-ups in %v", n, now.Sub(epoch))
}

func TestLookUpsThatGiveNoAnswer(t *testing.T) {
	var d doubt.Doubt
	d.Arises(epoch)
	now := epoch
	for range 100 { // an outage of hours
		now = d.Unanswered(now, true)
		if action, _ := d.Next(now, once); action != doubt.LookUp {
			t.Fatalf("action %d in an outage", action)
		}
	}
	if waited := now.Sub(epoch); waited > 2*time.Minute {
		t.Errorf("it is asked again only after %v, though what passes by itself is worth asking again soon", waited/100)
	}
	d.Unanswered(now, false)
	d.Unanswered(now, false)
	if action, until := d.Next(now, once); action != doubt.Wait || !until.After(now) {
		t.Errorf("action %d until %v", action, until)
	}
	d.Answered(connectors.Absent, now, now, once)
	for i := range 3 {
		if action, _ := d.Next(now.Add(time.Hour), once); action != doubt.LookUp {
			t.Errorf("action %d after %d look-ups without an answer", action, i)
		}
		d.Unanswered(now, false)
	}
	if action, _ := d.Next(now.Add(time.Hour), once); action != doubt.Park {
		t.Errorf("action %d after three in a row, want a person to look", action)
	}
}

// What may be repeated is repeated at once, and what follows in its key waits
// until the first one cannot come after it.
func TestWhatFollowsWaitsForWhatMayUndoIt(t *testing.T) {
	upsert := doubt.Facts{Effect: connectors.EffectIdempotent, Horizon: 15 * time.Minute, Overwrites: true}
	keyed := upsert
	keyed.Overwrites = false
	var d doubt.Doubt
	if !d.KeyFreeAt(upsert).IsZero() {
		t.Error("nothing was in doubt, and the key is held")
	}
	d.Arises(at(time.Minute))
	d.Arises(at(time.Second)) // settled earlier, as by another clock
	d.Known()                 // the third attempt was accepted
	if got := d.KeyFreeAt(upsert); !got.Equal(at(16 * time.Minute)) {
		t.Errorf("free after %v, want 16m", got.Sub(epoch))
	}
	if got := d.KeyFreeAt(keyed); !got.IsZero() {
		t.Errorf("a late call without effect holds its key until %v", got.Sub(epoch))
	}
	if action, _ := d.Next(epoch, upsert); action != doubt.Send || d.Open() {
		t.Errorf("action %d", action)
	}
}
