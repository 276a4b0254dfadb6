// Package arrivals is the judge of every simulated system: a log of the moments at which requests arrived, and pure
// functions over it. It trusts nothing that the caller says about itself; what counts is when a request was seen here.
package arrivals

import (
	"slices"
	"sync"
	"time"
)

// Outcome says what became of one arrival.
type Outcome uint8

// The outcomes of an arrival. Pending is the outcome of a request that has no reply yet.
const (
	Pending     Outcome = iota
	Accepted            // answered with success
	Throttled           // refused because of a limit, a penalty, or an injected throttle
	Refused             // refused for its content or its credentials
	Unavailable         // refused because the system was down (maintenance, 5xx)
	Cut                 // the connection died without a reply
)

var outcomeNames = [...]string{"pending", "accepted", "throttled", "refused", "unavailable", "cut"}

// String returns the name that reports use for the outcome.
func (o Outcome) String() string { return outcomeNames[o] }

// Arrival is one request as the judge saw it. At is the time since the log's origin.
// Write says that it was a request to change what the system holds, such as an order. Where its reply asked to be left
// alone, it was given at Answered and asked for the time Asked.
type Arrival struct {
	At       time.Duration `json:"at"`
	Outcome  Outcome       `json:"outcome"`
	Write    bool          `json:"write,omitempty"`
	Answered time.Duration `json:"answered,omitempty"`
	Asked    time.Duration `json:"asked,omitempty"`
}

// Log records arrivals in the order in which they were seen. It is safe for concurrent use. One arrival costs ten
// bytes, so minutes at a thousand calls a second are held without rotation, and every later question can be answered
// from the whole history.
type Log struct {
	mu       sync.Mutex
	origin   time.Time
	at       []time.Duration
	outcomes []Outcome
	writes   []bool
	asked    map[int]asked // of the few replies that ask to be left alone
	windows  []window
}

type asked struct{ answered, wait time.Duration }

// window follows one rolling window: head is the oldest arrival that is still inside it.
type window struct {
	length  time.Duration
	head    int
	largest int
}

// NewLog returns an empty log that counts the given rolling windows as arrivals come in.
func NewLog(windows ...time.Duration) *Log {
	l := &Log{origin: time.Now(), asked: make(map[int]asked)}
	for _, length := range windows {
		l.windows = append(l.windows, window{length: length})
	}
	return l
}

// Ticket names one arrival in its log. Counts holds, for each window of the log in the order of NewLog, how many
// arrivals lie in the closed window that ends with this one, itself included.
type Ticket struct {
	Index  int
	At     time.Time
	Counts []int
}

// Arrive records a request now. The clock is read under the lock, so the log is ordered by time.
func (l *Log) Arrive() Ticket {
	counts := make([]int, len(l.windows))
	l.mu.Lock()
	defer l.mu.Unlock()
	at := time.Since(l.origin)
	l.at = append(l.at, at)
	l.outcomes = append(l.outcomes, Pending)
	l.writes = append(l.writes, false)
	index := len(l.at) - 1
	for i := range l.windows {
		w := &l.windows[i]
		for at-l.at[w.head] > w.length {
			w.head++
		}
		counts[i] = index - w.head + 1
		w.largest = max(w.largest, counts[i])
	}
	return Ticket{Index: index, At: l.origin.Add(at), Counts: counts}
}

// Settle sets the outcome of an arrival that asked for nothing to be changed, or changed nothing.
func (l *Log) Settle(t Ticket, o Outcome) { l.settle(t, o, false) }

// SettleWrite sets the outcome of an arrival that was to change what the system holds.
func (l *Log) SettleWrite(t Ticket, o Outcome) { l.settle(t, o, true) }

func (l *Log) settle(t Ticket, o Outcome, write bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes[t.Index], l.writes[t.Index] = o, write
}

// Ask records that the reply which is given now asks its caller to wait.
func (l *Log) Ask(t Ticket, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[t.Index] = asked{time.Since(l.origin), wait}
}

// Origin is the moment from which the times of Snapshot count.
func (l *Log) Origin() time.Time { return l.origin }

// Snapshot returns a copy of all arrivals so far, ordered by time.
func (l *Log) Snapshot() []Arrival {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Arrival, len(l.at))
	for i, at := range l.at {
		a := l.asked[i]
		all[i] = Arrival{At: at, Outcome: l.outcomes[i], Write: l.writes[i], Answered: a.answered, Asked: a.wait}
	}
	return all
}

// Largest returns, for each window of NewLog, the largest number of arrivals seen in any closed rolling window so far.
func (l *Log) Largest() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	largest := make([]int, len(l.windows))
	for i, w := range l.windows {
		largest[i] = w.largest
	}
	return largest
}

// Tally counts arrivals by outcome.
func (l *Log) Tally() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	tally := make(map[string]int)
	for _, o := range l.outcomes {
		tally[o.String()]++
	}
	return tally
}

// FirstWrite returns the first accepted write that arrived at or after the given moment. A probe or a read that is
// answered is no sign of work.
func (l *Log) FirstWrite(after time.Time) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := after.Sub(l.origin)
	start, _ := slices.BinarySearch(l.at, since)
	for i := start; i < len(l.at); i++ {
		if l.outcomes[i] == Accepted && l.writes[i] {
			return l.origin.Add(l.at[i]), true
		}
	}
	return time.Time{}, false
}
