package feedback

import "time"

const (
	// Decrease is what a lowering leaves of the pace. A server with half of the
	// declared capacity is found by five of them; one that came by chance costs 15%
	// of the pace, and less and less of it for three minutes: as much as 13 seconds of
	// standing still.
	Decrease = 0.85
	// Recovery is how long the pace takes from nothing to the whole, in a straight
	// line. At a server that has a share s of the declared capacity the pace is
	// lowered about every 3 minutes times s, and its mean is some 92% of that share:
	// slower would find what was freed later, faster would be refused more often.
	Recovery = 20 * time.Minute
	// Least is the smallest part: it finds out within minutes that there is room
	// again. Pauses do the rest.
	Least = 0.05
	// refused and passed are the evidence of one call for a server that refuses 3.5% of
	// them rather than 1%: the logarithms of 3.5/1 and of 96.5/99, about. enough lowers
	// the pace: four refusals in a row, or more with calls that pass between.
	refused = 1.25
	passed  = -0.0204
	enough  = 5.0
	// A refusal that does not lower the pace keeps it where it is until so many calls
	// have passed, for no longer than that.
	heldCalls = 20
	heldFor   = time.Minute
	// halfway is what part of the pace before a lowering has to be back until the next
	// single refusal counts.
	halfway = (1 + Decrease) / 2
)

// Pace is additive increase and multiplicative decrease of the part of the pace
// that is used. Its zero value is the whole pace.
//
// A refusal tells little by itself: systems refuse for reasons of their own, too, and
// if each of these lowered the pace, fifty calls a second of which one in 140 is
// refused so would end at Least, though lowering does not help there. So refusals
// lower the pace where they are frequent, whatever it is; and a single one where
// lowering has helped: it is back at halfway of where it was lowered last, with none
// before that, or at all of it.
type Pace struct {
	// part is that of from, and of all before since the latest lowering; knee is what
	// it was lowered from. vain: there was a refusal soon after it.
	part, knee float64
	from       time.Time
	vain       bool
	// evidence of frequent refusals, from 0 on (a CUSUM test).
	evidence float64
	// heard is when the latest refusal was heard that counts.
	heard time.Time
	// held is how many calls have to pass until the pace grows, where from is not sooner.
	held int
}

// Passed takes in that a call was not refused for its pace.
func (p *Pace) Passed(now time.Time) {
	p.evidence = max(0, p.evidence+passed)
	if p.held == 0 {
		return
	}
	if p.held--; p.held == 0 && now.Before(p.from) {
		p.from = now
	}
}

// Throttled takes in a refusal of a call whose first byte left at sent, while others
// left a part of the pace; the connector is closed until resumes, and the pace
// recovers from then on. Calls that were under way together are refused together,
// and count once. It reports whether the pace was lowered.
func (p *Pace) Throttled(sent, now, resumes time.Time, others float64) bool {
	if !p.heard.IsZero() && !sent.After(p.heard) {
		return false
	}
	p.heard = now
	p.evidence += refused
	part := min(p.Part(now), others)
	helped := part >= p.knee || part >= halfway*p.knee && !p.vain
	if p.evidence < enough && !helped {
		p.vain = p.vain || part < halfway*p.knee
		p.part, p.from, p.held = p.Part(now), now.Add(heldFor), heldCalls
		return false
	}
	p.part, p.knee, p.from, p.vain, p.evidence, p.held = max(Least, part*Decrease), part, now, false, 0, 0
	if resumes.After(now) {
		p.from = resumes
	}
	return true
}

// Resumed takes in that the pause after the latest refusal is over before its time.
func (p *Pace) Resumed(now time.Time) {
	if now.Before(p.from) {
		p.from = now
	}
}

// Grows returns the part of now, from when it grows, and when it will be whole if no
// call is throttled until then; no later than now where it is.
func (p *Pace) Grows(now time.Time) (part float64, from, whole time.Time) {
	from = p.from
	if now.After(from) {
		from = now
	}
	return p.Part(now), from, p.from.Add(time.Duration((1 - p.part) * float64(Recovery)))
}

// Part returns what part of the pace is to be used; exactly 1 once it has
// recovered.
func (p *Pace) Part(now time.Time) float64 {
	if p.from.IsZero() {
		return 1
	}
	return min(1, p.part+max(0, float64(now.Sub(p.from))/float64(Recovery)))
}
