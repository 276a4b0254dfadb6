package shopify

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// item is a variant with its inventory item.
type item struct {
	sku             string
	variantID, id   int64
	cents           int64
	available       int
	committed       int
	continueSelling bool
	lowest, highest int
	zeros           int
	zeroSince       time.Time
	zeroFor         time.Duration
}

// Change is one change of available at the shop.
type Change struct {
	At  time.Time `json:"at"`
	SKU string    `json:"sku"`
	// Cause is "start", "sale", "cancel", "edit" or "set".
	Cause string `json:"cause"`
	// Delta is the change of available; Available and Committed are the figures after it.
	Delta     int `json:"delta"`
	Available int `json:"available"`
	Committed int `json:"committed"`
	// Reference is the order, or the referenceDocumentUri of a set.
	Reference string `json:"reference,omitempty"`
}

func (s *Shop) addItem(i int64, it Item) error {
	if it.SKU == "" {
		return errors.New("sku is missing")
	}
	if s.bySKU[it.SKU] != nil {
		return fmt.Errorf("sku %q is listed twice", it.SKU)
	}
	cents, err := parsePrice(it.Price)
	if err != nil {
		return err
	}
	known := &item{
		sku: it.SKU, variantID: 6_000_000 + i + 1, id: 5_000_000 + i + 1, cents: cents, available: it.Available, committed: it.Committed,
		continueSelling: it.ContinueSelling, lowest: it.Available, highest: it.Available,
	}
	s.items = append(s.items, known)
	s.bySKU[it.SKU], s.byID[known.id] = known, known
	s.change(known, 0, 0, "start", "")
	return nil
}

func parsePrice(price string) (int64, error) {
	if price == "" {
		price = "25.00"
	}
	whole, fraction, ok := strings.Cut(price, ".")
	if !ok {
		fraction = "00"
	}
	cents, err := strconv.ParseUint(whole+fraction, 10, 48)
	if err != nil || len(fraction) != 2 {
		return 0, fmt.Errorf("price %q: want a decimal text with two places, such as \"25.00\"", price)
	}
	return int64(cents), nil
}

// change moves stock and writes it down; it needs the lock (or a shop that nobody else has yet).
func (s *Shop) change(it *item, available, committed int, cause, reference string) {
	now := time.Now()
	before := it.available
	it.available += available
	it.committed += committed
	it.lowest, it.highest = min(it.lowest, it.available), max(it.highest, it.available)
	if it.available <= 0 && it.zeroSince.IsZero() {
		it.zeros++
		it.zeroSince = now
	}
	if it.available > 0 && !it.zeroSince.IsZero() {
		it.zeroFor += now.Sub(it.zeroSince)
		it.zeroSince = time.Time{}
	}
	if cause == "sale" {
		s.tally.oversold += max(0, -it.available) - max(0, -before)
	}
	s.tally.changes = append(s.tally.changes, Change{
		At: now, SKU: it.sku, Cause: cause, Delta: available, Available: it.available, Committed: it.committed, Reference: reference,
	})
}

// Changes returns every change of available so far, in order.
func (s *Shop) Changes() []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tally.changes)
}

// Stock is one SKU as the shop shows it.
type Stock struct {
	SKU       string `json:"sku"`
	Available int    `json:"available"`
	Committed int    `json:"committed"`
	OnHand    int    `json:"onHand"`
	// LowestAvailable and HighestAvailable are the extremes that the shop ever showed.
	LowestAvailable  int `json:"lowestAvailable"`
	HighestAvailable int `json:"highestAvailable"`
	// Zeros counts how often available came down to zero or less, ZeroMs for how long it was there in all.
	Zeros  int     `json:"zeros"`
	ZeroMs float64 `json:"zeroMs"`
}

// stock needs the lock.
func (s *Shop) stock() []Stock {
	now := time.Now()
	all := make([]Stock, 0, len(s.items))
	for _, it := range s.items {
		zero := it.zeroFor
		if !it.zeroSince.IsZero() {
			zero += now.Sub(it.zeroSince)
		}
		all = append(all, Stock{
			SKU: it.sku, Available: it.available, Committed: it.committed, OnHand: it.available + it.committed,
			LowestAvailable: it.lowest, HighestAvailable: it.highest, Zeros: it.zeros, ZeroMs: float64(zero) / float64(time.Millisecond),
		})
	}
	return all
}
