package outage

import "time"

// Works is what accepted calls prove: that the external system is up for calls of
// that kind, as of when they were sent. Its zero value proves nothing.
//
// The kinds are apart because a system may be half down: one that still answers
// queries and takes no orders would make every order look bad.
type Works struct{ sent map[string]time.Time }

// Accepted takes in that a call of the kind was accepted that was sent then. One
// that was sent before an outage and is answered after its beginning proves
// nothing of the time since, so it is not the reply's time that counts.
func (w *Works) Accepted(kind string, sent time.Time) {
	if w.sent == nil {
		w.sent = map[string]time.Time{}
	}
	if sent.After(w.sent[kind]) {
		w.sent[kind] = sent
	}
}

// Failed takes in that a call of the kind met an outage, perhaps the beginning of
// one: what was accepted before it proves no more.
func (w *Works) Failed(kind string) { delete(w.sent, kind) }

// Down takes in that the system as a whole is down.
func (w *Works) Down() { clear(w.sent) }

// Suspect is a delivery whose calls are answered as if the system were down. It
// may be the first to meet an outage, or be itself what the system cannot bear;
// what becomes of others tells. Its zero value is no suspect.
type Suspect struct {
	times int
	last  time.Time
}

// Met takes in such an answer that came then.
func (s *Suspect) Met(at time.Time) {
	s.times++
	s.last = at
}

// Before reports whether its newest such answer came before then.
func (s *Suspect) Before(at time.Time) bool { return s.last.Before(at) }

// Alone reports whether calls of one of these kinds have been accepted that were
// sent since its newest such answer, and none has met an outage after them. Then
// it is the delivery that is bad, and not the system.
func (s *Suspect) Alone(works *Works, kinds ...string) bool {
	if s.times == 0 {
		return false
	}
	for _, kind := range kinds {
		if works.sent[kind].After(s.last) {
			return true
		}
	}
	return false
}

// Wait returns how long it steps aside, so that others are asked before it: one
// gap longer each time, up to one for each of the waiting, itself included. A
// fixed bound of three gaps would let four such deliveries take all the turns;
// this way any number of them lets others through. Without others to ask it is
// one gap, since nothing else would notice that the outage is over.
func (s *Suspect) Wait(gap time.Duration, waiting int) time.Duration {
	return gap * time.Duration(max(1, min(s.times, waiting)))
}
