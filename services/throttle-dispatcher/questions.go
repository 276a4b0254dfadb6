package throttledispatcher

import "time"

const (
	// quickly is how long a harmless question waits for its reply, so that a system
	// that comes back is noticed within about a second even if it swallowed the question
	// before and takes one call at a time.
	quickly    = 900 * time.Millisecond
	probeEvery = 500 * time.Millisecond
	// manyPlaces is from how many parallel calls on several questions may be under way.
	manyPlaces = 8
	// questionsInVain is how many harmless questions in a row may fail before something
	// else is tried in the place of one: a call, or a patient question.
	questionsInVain = 3
	// patientPart: where one question is under way at a time, a patient one comes after
	// so many times its own time of quick ones.
	patientPart = 3
	// rarest is the longest time until the next question after a quick one, however few
	// places there are, and however long a call may take: so late is it noticed that a
	// system is back which answers at once, but while a patient one has the only place.
	rarest = 15 * time.Second
	// cutPart: where questions are cut off, those of a sixteenth of the outage's time are
	// no more than half of the places: one in an eighth of it, divided by the places.
	cutPart = 8
)

// questions follows the harmless questions, which find a system back that is down. A
// quick one finds one that answers at once; a patient one finds one that takes longer
// than that for each reply, and would be down for ever.
type questions struct {
	// underWay is how many are; patient: one of them is a patient one.
	underWay int
	patient  bool
	// inVain is how many of the latest probes were a question, in vain; cut: the newest
	// that ended was sent, and got no reply.
	inVain int
	cut    bool
	// late: the newest patient one got a reply.
	late bool
	// patience is how long the next patient one waits, patientAt when it may go, and
	// notBefore when the next of any kind may.
	patience             time.Duration
	patientAt, notBefore time.Time
}

// begin takes in that an outage begins.
func (q *questions) begin(now time.Time, places int) {
	q.inVain, q.cut, q.late, q.notBefore = 0, false, false, time.Time{}
	q.patience = 2 * quickly
	q.rest(now, places)
}

// rest says when the next patient question may go. Where places are few it would hold
// up the quick ones, so that they have the larger part of the time.
func (q *questions) rest(now time.Time, places int) {
	q.patientAt = now
	if places < manyPlaces {
		q.patientAt = now.Add(patientPart * q.patience)
	}
}

// room reports whether there is a place for one more. One that is swallowed must not
// hold up the next, which would find the system back. With the grace for its bytes it
// takes up a place for 1.9 s, so that where there are few places, more at a time would
// leave none.
func (q *questions) room(places int) bool {
	if places < manyPlaces {
		return q.underWay < 1
	}
	quick := q.underWay
	if q.patient {
		quick--
	}
	return quick < 2
}

// wait returns how long the next one waits for its reply, and whether it is a patient
// one: where several in a row were cut off.
func (q *questions) wait(now time.Time, callTimeout time.Duration) (wait time.Duration, patient bool) {
	if q.patient || !q.cut || q.inVain < questionsInVain || now.Before(q.patientAt) || callTimeout <= quickly {
		return quickly, false
	}
	return min(q.patience, callTimeout), true
}

// asked takes in that one was sent, in an outage that has lasted so long. The system
// may go on working on those that were cut off, so that they take up places of it: in a
// long outage they become rarer, until as many as half of the places are cut off in the
// time that a call may take, or one every 15 s is. What cannot be sent at all is tried as often as ever.
func (q *questions) asked(now time.Time, patient bool, lasted, callTimeout time.Duration, places int) {
	q.underWay++
	q.patient = q.patient || patient
	every := probeEvery
	if q.cut {
		every = max(every, min(min(lasted/cutPart, 2*callTimeout)/time.Duration(places), rarest))
	}
	q.notBefore = now.Add(every)
}

// ended takes in that one is over: sent tells one that was written from one that could
// not be.
func (q *questions) ended(now time.Time, patient, sent, replied bool, callTimeout time.Duration, places int) {
	q.cut = sent && !replied
	if !patient {
		return
	}
	if q.late = replied; q.cut {
		q.patience = min(2*q.patience, max(quickly, callTimeout))
	}
	q.rest(now, places)
}
