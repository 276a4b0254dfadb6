package chaos

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A killed replica stays away for a second to three. Its death is noticed within about
// one (ADR 0008), so that most of what it fed has another owner before it is back.
const (
	awayAtLeast = time.Second
	awayAtMost  = 3 * time.Second
)

// toll is what was killed.
type toll struct {
	kills []killed
	// away are the kills of the one that fed the ERP that were to last, renamed the
	// returns under another name.
	away, renamed int
	// back is when each of the dead starts again.
	back map[int]time.Time
}

// killed is one kill of a replica.
type killed struct {
	replica string
	at      time.Time
	// fed: it fed the ERP. takenOver: others said that they took over what it fed.
	fed, takenOver bool
}

// killing kills a replica every so often, for so long: every second or third time (see
// terms.feederEvery) the one that feeds the ERP, else one of the others. One in four of
// those after the first comes back at once, one in three under a name that none had
// before. It returns with the last kill; who is away then comes back while there are
// edits, kills and waits.
func (f *field) killing(every, lasting time.Duration) {
	f.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	next := time.Now()
	for end := next.Add(lasting); time.Now().Before(end); {
		for next = next.Add(every); time.Now().Before(next); <-tick.C {
			f.comeBack()
		}
		f.kill()
		f.edit()
	}
}

func (f *field) kill() {
	f.t.Helper()
	if f.toll.back == nil {
		f.toll.back = make(map[int]time.Time)
	}
	for len(f.toll.back) > f.terms.replicas-2 { // one at least must be there to notice
		f.bringBack(f.longestAway())
	}
	feeder := f.feeder()
	victim, away := feeder, awayAtLeast+time.Duration(f.random.Int64N(int64(awayAtMost-awayAtLeast)))
	if len(f.toll.kills)%max(f.terms.feederEvery, 2) > 0 {
		for victim = f.random.IntN(f.terms.replicas); victim == feeder || f.isAway(victim); {
			victim = f.random.IntN(f.terms.replicas)
		}
	}
	if len(f.toll.kills) > 0 && f.random.IntN(4) == 0 {
		away = 0
	}
	if victim == feeder && away > 0 {
		f.toll.away++
	}
	f.toll.kills = append(f.toll.kills, killed{replica: f.product.Owner(victim), at: time.Now(), fed: victim == feeder})
	if err := f.product.KillReplica(victim); err != nil {
		f.t.Fatal(err)
	}
	f.toll.back[victim] = time.Now().Add(away)
	f.comeBack()
}

func (f *field) isAway(i int) bool {
	_, away := f.toll.back[i]
	return away
}

// feeder returns the replica that feeds the ERP. After a kill nobody does for a moment.
func (f *field) feeder() (feeder int) {
	f.t.Helper()
	f.until(10*time.Second, "a replica feeds the ERP", func() bool {
		feeder = f.product.Feeder(f.t.Context(), "netsuite")
		return feeder >= 0
	})
	return feeder
}

// comeBack starts the dead whose time has come.
func (f *field) comeBack() {
	f.t.Helper()
	for i := range f.terms.replicas {
		if at, dead := f.toll.back[i]; dead && !time.Now().Before(at) {
			f.bringBack(i)
		}
	}
}

func (f *field) bringBack(i int) {
	f.t.Helper()
	delete(f.toll.back, i)
	if f.random.IntN(3) == 0 {
		f.product.RenameReplica(i)
		f.toll.renamed++
	}
	if err := f.product.StartReplica(f.t.Context(), i); err != nil {
		f.t.Fatal(err)
	}
}

func (f *field) longestAway() int {
	first := -1
	for i := range f.terms.replicas {
		if at, dead := f.toll.back[i]; dead && (first < 0 || at.Before(f.toll.back[first])) {
			first = i
		}
	}
	return first
}

// tookOver says that others found a replica silent. It is what the product's log says
// to its operators.
var tookOver = regexp.MustCompile(`^time=(\S+) .*msg="a replica fell silent; its connectors are taken over".* replica=(\S+)`)

// diedWithin says whether what fed the ERP was killed within so long after a moment.
func (f *field) diedWithin(moment time.Time, within time.Duration) bool {
	return slices.ContainsFunc(f.toll.kills, func(k killed) bool {
		after := k.at.Sub(moment)
		return k.fed && after >= 0 && after < within
	})
}

// takenOver judges by what the replicas say how often the ERP got another owner because
// one fell silent: without that, kills show nothing that a restart does not.
func (f *field) takenOver() {
	f.t.Helper()
	data, err := os.ReadFile(f.log)
	if err != nil {
		f.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		said := tookOver.FindStringSubmatch(line)
		if said == nil {
			continue
		}
		at, err := time.Parse(time.RFC3339, said[1])
		if err != nil {
			f.t.Fatal(err)
		}
		for i, kill := range slices.Backward(f.toll.kills) {
			if kill.replica == said[2] && kill.at.Before(at) {
				f.toll.kills[i].takenOver = true
				break
			}
		}
	}
	fed, taken := 0, 0
	for _, kill := range f.toll.kills {
		if kill.fed {
			fed++
			if kill.takenOver {
				taken++
			}
		}
	}
	f.t.Logf("%d kills, %d of them of the replica that fed the ERP, %d of these to stay away; taken over by another %d times; %d came back under another name",
		len(f.toll.kills), fed, f.toll.away, taken, f.toll.renamed)
	// Who is away for little more than a second may be back before others are certain.
	if want := max(1, f.toll.away/2); taken < want {
		f.t.Errorf("another replica took the ERP over %d times, want %d at least after %d kills", taken, want, len(f.toll.kills))
	}
}
