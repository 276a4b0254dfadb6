package throttledispatcher

// Records is what a worker reads and writes beside its intake.
type Records = records

// Through puts something between the dispatcher and its records.
func Through(wrap func(Records) Records) func(*Dispatcher) {
	return func(d *Dispatcher) { d.records = wrap(d.records) }
}
