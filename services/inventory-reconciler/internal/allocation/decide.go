package allocation

// Evidence is what two reads of the source say about the units that are free.
// All figures are Free of something, and may be below zero.
type Evidence struct {
	// Least: by the newest read, less everything that it may not contain. It never
	// is too much.
	Least int64
	// Most: by the newest read, were all in it that may be.
	Most int64
	// Before: the same by the read before, with the orders that have come since.
	// HasBefore is false where there was none.
	Before    int64
	HasBefore bool
}

// Decide returns what a channel that shows this is to show, and whether another
// read could tell more. It raises to Least at once. It lowers only what neither
// read supports: a shop lowers its own figure when it sells, so that what it shows
// is right unless something else has happened; and Least is too little by each
// order that the source accepted while it was being read, which near the end of
// the stock would take the last units off sale again and again.
//
// Most alone would not do. The acceptances under way at the newest read are not
// known yet, nor those that a crash has cut off; by the next read they are. What
// other channels sell is subtracted in both, and is not waited for.
//
// The price: units that vanish at the source are seen one read later, and while
// it accepts orders only those beyond what it accepts during a read.
func Decide(shown int64, e Evidence) (show int64, unsure bool) {
	switch least := max(0, e.Least); {
	case shown <= 0 && least == 0:
		// Sold beyond what there is: nothing is for sale, and the shop's own
		// figure says by how much.
		return shown, false
	case shown < least:
		return least, false
	case shown <= e.Most:
		return shown, false
	case !e.HasBefore || shown <= e.Before:
		return shown, true
	default:
		return least, false
	}
}
