package throttledispatcher

import "time"

// trouble is a problem that the log hears of once when it begins and once when it
// is over, however often it shows itself. Its zero value is no trouble.
type trouble struct{ since time.Time }

// begins reports whether this is the beginning.
func (t *trouble) begins(now time.Time) bool {
	if !t.since.IsZero() {
		return false
	}
	t.since = now
	return true
}

// ends returns how long it lasted, and false where there was none.
func (t *trouble) ends(now time.Time) (lasted time.Duration, was bool) {
	if t.since.IsZero() {
		return 0, false
	}
	lasted = now.Sub(t.since).Round(time.Millisecond)
	t.since = time.Time{}
	return lasted, true
}
