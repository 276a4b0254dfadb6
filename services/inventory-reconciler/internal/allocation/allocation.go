// Package allocation decides what a shop may show: what the source of truth has,
// less what the shops sold and the source does not contain yet. It is pure:
// order states and reads in, figures out.
package allocation

// Pool is stock that is true at one connector and sold by others.
type Pool struct {
	Name string
	// Source is the connector whose figure is true.
	Source string
	// Channels are the connectors that sell it.
	Channels []string
	SKUs     []string
}

// MaxUnits is more of a SKU than any order wants or any source has. What says
// more counts as this much, so that no sum over orders overflows: that takes nine
// thousand million orders.
const MaxUnits = 1_000_000_000

// Figures are what one target is computed from, in units.
type Figures struct {
	// Available is the source's own figure, which it lowers when it accepts an
	// order (NetSuite quantityAvailable, never quantityOnHand).
	Available int64
	Buffer    int64
	// Committed is what the channels sold and Available does not contain.
	Committed int64
	// Unseen is what the channels say that they sold and the engine has not
	// heard of.
	Unseen int64
}

// Free returns the units that are promised to nobody; below zero where more is
// promised than there is.
func Free(f Figures) int64 { return f.Available - f.Buffer - f.Committed - f.Unseen }

// Target returns the units that a channel may show: never below zero.
func Target(f Figures) int64 { return max(0, Free(f)) }

// Unseen returns the units of open orders that a channel counts and the engine
// does not know: sales whose webhook is on its way. known is Ledger.Open.
//
// Why subtracting it is enough: let an order be s units at the shop, k units as
// the engine knows it and h units as the source contains it. The target is
// P - sum(h) - sum(max(0, k-h)) - max(0, sum(s)-sum(k)), with P the units that
// ever came in; h + max(0, k-h) >= k, so the target is at most P - sum(s): what
// is truly free.
func Unseen(counted, known int64) int64 {
	return max(0, counted-known)
}
