package budget

import "time"

// InFlight returns how many permits are out: handed out and neither void nor
// settled by now.
func (b *Budget) InFlight(now time.Time) int {
	b.advance(now)
	return len(b.open) + b.abandoned.len()
}

// Live returns how many permits count against the window of that name now; 0
// where there is no such window.
func (b *Budget) Live(now time.Time, name string) int {
	b.advance(now)
	for _, w := range b.windows {
		if w.Name == name {
			return w.unknown + w.bounds.len()
		}
	}
	return 0
}
