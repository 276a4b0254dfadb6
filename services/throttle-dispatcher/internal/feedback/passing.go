package feedback

import (
	"maps"
	"slices"
	"time"
)

const (
	// A wait that a server names is heeded until so many refusals in a row of one
	// delivery stand against so many calls of others that passed meanwhile: whatever share
	// of the calls a server refuses by chance, that happens to less than one delivery in
	// 20,000 ((1/5)^4 * (4/5)^16 at the most).
	surelyRefused = 4
	surelyPassed  = 16
)

// Passing tells an account that throttles from a delivery that is refused whatever the
// pace, such as a record of which the server says that too many requests were made for
// it: what becomes of others tells. It counts, by kind of call, those that passed since
// one was refused for the account's sake. The kinds are apart because an account may
// have a limit for each. Its zero value knows of none.
type Passing struct{ kinds map[string]run }

// run are the calls of a kind that were sent after since and passed, the newest of them
// at newest.
type run struct {
	since, newest time.Time
	calls         int
	// last was refused last, and none has passed after it.
	last *OwnRefusals
}

// OwnRefusals are those of one delivery. The zero value is none.
type OwnRefusals struct {
	// first is since when they count, of which there were times since.
	first, newest time.Time
	times         int
	// all are those since it was last not refused.
	all int
}

// Refusal is what one of them is.
type Refusal struct {
	// Alone: others of its kind have passed since the first, and none was refused.
	Alone bool
	// Passed: and some of them since the one before.
	Passed bool
	// Surely: so many that chance is ruled out.
	Surely bool
	// Times is which one it is of those that came one after the other.
	Times int
}

// Passed takes in that a call of the kind was accepted that was sent then.
func (p *Passing) Passed(kind string, sent time.Time) {
	if p.kinds == nil {
		p.kinds = map[string]run{}
	}
	r := p.kinds[kind]
	r.last = nil
	if sent.After(r.since) {
		r.calls++
		r.newest = later(r.newest, sent)
	}
	p.kinds[kind] = r
}

// Refused takes in that a delivery was refused for its pace then, and judges it by the
// calls of these kinds. One that is not alone is the account's trouble, and says of all
// before it that they may have been so. Nor is one alone that comes after another with
// none between that passed: an account that throttles refuses what is under way together.
func (p *Passing) Refused(r *OwnRefusals, at time.Time, kinds ...string) Refusal {
	var newest time.Time
	calls, together := 0, false
	for _, kind := range kinds {
		of := p.kinds[kind]
		if of.since.After(r.first) {
			r.first, r.times = of.since, 0
		}
		newest = later(newest, of.newest)
		calls += of.calls
		together = together || of.last != nil && of.last != r
	}
	r.all++
	alone := r.all > 1 && newest.After(r.first) && !together
	if !alone {
		p.Throttled(at, kinds...)
	}
	for _, kind := range kinds {
		of := p.kinds[kind]
		of.last = r
		p.kinds[kind] = of
	}
	if !alone {
		r.first, r.newest, r.times = at, at, 1
		return Refusal{Times: r.all}
	}
	r.times++
	refusal := Refusal{
		Alone: true, Passed: newest.After(r.newest), Surely: r.times >= surelyRefused && calls >= surelyPassed, Times: r.all,
	}
	r.newest = at
	return refusal
}

// Throttled takes in that the account throttled calls of these kinds then; of all where
// none is named.
func (p *Passing) Throttled(at time.Time, kinds ...string) {
	if len(kinds) == 0 {
		kinds = slices.Collect(maps.Keys(p.kinds))
	}
	if p.kinds == nil {
		p.kinds = map[string]run{}
	}
	for _, kind := range kinds {
		p.kinds[kind] = run{since: at}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
