package feedback_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
)

func TestPausesGrowWhileNothingPasses(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var r feedback.Refusals
	now := epoch
	// refused is the pause after a call that went when the one before was over.
	refused := func(asked time.Duration, said bool) time.Duration {
		pause := r.Pause(now, now.Add(100*ms), now.Add(100*ms), asked, said, random)
		now = now.Add(100*ms + pause + ms)
		return pause
	}
	var whole time.Duration
	for n, want := 0, feedback.FirstPause; n < 40; n, want = n+1, min(2*want, feedback.LongestPause) {
		pause := refused(0, false)
		if pause < max(feedback.FirstPause, want/2) || pause > want {
			t.Errorf("pause %d in a row is %v, want %v to %v", n+1, pause, want/2, want)
		}
		whole += pause
	}
	if whole < 2*time.Hour {
		t.Errorf("40 pauses take %v", whole)
	}
	if pause := refused(7*time.Second, true); pause != 7*time.Second {
		t.Errorf("one that asks for 7 s pauses for %v", pause)
	}
	if pause := refused(0, false); pause < feedback.LongestPause/2 {
		t.Errorf("one that asks for nothing after it pauses for %v", pause)
	}
	r.Passed(now)
	if pause := refused(0, false); pause != feedback.FirstPause {
		t.Errorf("the first one after a call that passed pauses for %v", pause)
	}
}

func TestRefusalsTogetherAreOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var r feedback.Refusals
	for range 20 {
		if pause := r.Pause(epoch, epoch.Add(time.Second), epoch.Add(time.Second), 0, false, random); pause != feedback.FirstPause {
			t.Fatalf("one of twenty that were under way together pauses for %v", pause)
		}
	}
	r.Passed(epoch) // it was under way with them
	pause := r.Pause(epoch.Add(7*time.Second), epoch.Add(8*time.Second), epoch.Add(8*time.Second), 0, false, random)
	if pause < feedback.FirstPause || pause > 2*feedback.FirstPause {
		t.Errorf("the second in a row pauses for %v", pause)
	}
	if r.Forget(); r.Pause(epoch.Add(20*time.Second), epoch.Add(21*time.Second), epoch.Add(21*time.Second), 0, false, random) != feedback.FirstPause {
		t.Error("it does not forget")
	}
}

// Without this, a system that says "at once" to every call would be asked at the
// whole pace.
func TestNoTimeIsBelievedOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var r feedback.Refusals
	at := epoch.Add
	for range 2 { // both were under way
		if pause := r.Pause(epoch, at(100*ms), at(100*ms), 0, true, random); pause != 0 {
			t.Errorf("it pauses for %v, and was asked for no time", pause)
		}
	}
	if pause := r.Pause(at(200*ms), at(300*ms), at(300*ms), 0, true, random); pause < feedback.FirstPause {
		t.Errorf("refused again at once, it pauses for %v", pause)
	}
	r.Passed(at(time.Minute))
	if pause := r.Pause(at(time.Minute), at(time.Minute+100*ms), at(time.Minute+100*ms), 0, true, random); pause != 0 {
		t.Errorf("after a call that passed it pauses for %v", pause)
	}
}

// On a busy machine a refusal is acted on late, and the calls that went meanwhile tell as
// much as others: those that were refused are one with it, and one that passed ends the row.
func TestWhatPassesBeforeARefusalIsHeardCounts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var r feedback.Refusals
	replied, heard := epoch.Add(10*ms), epoch.Add(100*ms)
	if pause := r.Pause(epoch, replied, heard, 0, true, random); pause != 0 {
		t.Fatalf("one that asks for no wait pauses for %v", pause)
	}
	if pause := r.Pause(epoch.Add(20*ms), epoch.Add(30*ms), epoch.Add(110*ms), 0, true, random); pause != 0 {
		t.Errorf("one that went before the first was heard pauses for %v", pause)
	}
	r.Passed(epoch.Add(40 * ms))
	if pause := r.Pause(epoch.Add(120*ms), epoch.Add(130*ms), epoch.Add(140*ms), 0, true, random); pause != 0 {
		t.Errorf("one after a call that passed pauses for %v", pause)
	}
}
