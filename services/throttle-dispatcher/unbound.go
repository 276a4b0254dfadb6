package throttledispatcher

import "time"

// unboundTold is from when on it is worth a line in the log that a delivery cannot be bound.
// What it refers to is read in 2 s or not at all: on a busy machine one of many readings is
// late now and then, and is repeated within a second or two.
const unboundTold = 10 * time.Second

// unbound are the deliveries whose binding fails, each since when. The log hears of them
// once when one has failed for long, and once when none is left. The zero value has none.
type unbound struct {
	since map[string]time.Time
	// told is since when those fail that the log was told of.
	told trouble
}

// fails takes in that a delivery could not be bound, and reports whether to tell of it.
func (u *unbound) fails(id string, now time.Time) (tell bool) {
	if u.since == nil {
		u.since = map[string]time.Time{}
	}
	since, known := u.since[id]
	if !known {
		u.since[id] = now
		return false
	}
	return now.Sub(since) >= unboundTold && u.told.begins(since)
}

// binds takes in that a delivery was bound, or is over. It returns how long some could not
// be, where the log was told so and none is left.
func (u *unbound) binds(id string, now time.Time) (lasted time.Duration, was bool) {
	if delete(u.since, id); len(u.since) > 0 {
		return 0, false
	}
	return u.told.ends(now)
}
