package lease

import (
	"maps"
	"testing"
	"time"
)

// What a table moves is told with the decision: the watch may bring the table back
// before its writer knows that it is stored, and then nothing differs any more.
func TestADecisionTellsWhatItMoves(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	m := New("me", "s")
	m.Connectors(now, []string{"a", "b", "c"})
	m.SawTable(1, Table{LastEpoch: 3, Leases: map[string]Lease{
		"a": {Owner: "dead", Session: "d", Epoch: 1}, "b": {Owner: "dead", Session: "d", Epoch: 2}, "c": {Owner: "me", Session: "s", Epoch: 3},
	}})
	for beat := range uint64(6) {
		m.SawMember(now.Add(time.Duration(beat)*Beat), Member{Owner: "me", Session: "s", Number: beat + 1})
	}
	d := m.Decide(now, nil)
	if want := map[string]int{"dead": 2}; d.Write == nil || !maps.Equal(d.Taken, want) || len(d.Given) != 0 {
		t.Errorf("it takes %v and gives %v, want %v and nothing", d.Taken, d.Given, want)
	}
	m.SawTable(d.Base+1, *d.Write)
	m.SawMember(now, Member{Owner: "other", Session: "o", Number: 1})
	m.Leave()
	d = m.Decide(now, nil)
	if want := map[string]int{"other": 3}; d.Write == nil || !maps.Equal(d.Given, want) || len(d.Taken) != 0 {
		t.Errorf("it takes %v and gives %v, want nothing and %v", d.Taken, d.Given, want)
	}
}
