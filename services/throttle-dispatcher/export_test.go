package throttledispatcher

import "time"

// Records is what a worker reads and writes beside its intake.
type Records = records

// Through puts something between the dispatcher and its records.
func Through(wrap func(Records) Records) func(*Dispatcher) {
	return func(d *Dispatcher) { d.records = wrap(d.records) }
}

// Abrupt makes a stop cut off calls soon.
func Abrupt(d *Dispatcher) { d.grace = 300 * time.Millisecond }
