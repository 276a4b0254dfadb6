package chaos

import (
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/netsuite"
)

// The memos that the flows of testdata/lanes write, and the lanes of the account.
const creation, edition = "creation", "edit"

func lanes(what terms) terms {
	what.also, what.calls, what.concurrency = "lanes", 100, 100
	what.spec["lanes"] = []any{map[string]any{"name": "express", "weight": 9}, map[string]any{"name": "bulk", "weight": 1}}
	return what
}

// TestEditOvertakesCreation lets creations wait in a long queue of a slow lane while
// their edits, and those of orders that are there, come by a fast one, cuts calls of
// which some take effect later, and kills a random one of three replicas every 2 s. No
// edit may come before its creation.
func TestEditOvertakesCreation(t *testing.T) {
	besideOthers(t)
	f := open(t, lanes(fifty()))
	span := lasting(8*time.Second, 2*time.Minute)
	f.sell(20)
	f.accepted(20, time.Minute)
	f.sell(int(90 * span.Seconds())) // more than a replica holds of a lane in memory
	if err := f.world.ERP.SetFaults([]faults.Rule{
		{Kind: faults.CutCommitLater, Operations: []string{netsuite.OpUpsert}, Probability: 0.02, Delay: jsontime.Duration(horizon - time.Second)},
		{Kind: faults.CutBeforeCommit, Operations: []string{netsuite.OpUpsert}, Probability: 0.02},
	}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(span); time.Now().Before(end); {
		f.editing(20, 1500*time.Millisecond)
		f.killing(100*time.Millisecond, 50*time.Millisecond)
	}
	if err := f.world.ERP.SetFaults(nil); err != nil {
		t.Fatal(err)
	}
	f.settled(2*span + time.Minute)
	e := f.evidence()
	for _, what := range e.editedFirst(creation) {
		t.Error(what)
	}
	waited, overtook := f.overtaking(e)
	t.Logf("%d orders were edited before they were created, %d edits overtook a creation", waited, overtook)
	if waited < 5 || overtook < 5 {
		t.Error("the lanes were not used as this test means them: want 5 of each at least")
	}
}

// overtaking counts the orders that were edited while their creation waited, and the
// edits of other orders that the ERP took before the last creation, all of which
// were sold before the first edit was made.
func (f *field) overtaking(e evidence) (waited, overtook int) {
	var last time.Time
	for _, history := range e.history {
		if history[0].CommittedAt.After(last) {
			last = history[0].CommittedAt
		}
	}
	names := e.names()
	for id, history := range e.history {
		edited, ok := f.edited[names[strings.ToLower(id)]]
		if ok && edited.Before(history[0].ArrivedAt) {
			waited++
		}
		for _, revision := range history[1:] {
			if revision.Memo == edition && revision.CommittedAt.Before(last) {
				overtook++
			}
		}
	}
	return waited, overtook
}
