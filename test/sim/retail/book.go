package retail

import "time"

// Record is what every shop keeps of an order beside what is its own. The shop's lock guards it.
type Record struct {
	ID int64
	// Revision counts changes, from 1.
	Revision int
	// Told is the newest revision that a webhook told somebody of who acknowledged it; 0 for none.
	Told              int
	Spec              Spec
	Created, Modified time.Time
}

func (r *Record) record() *Record { return r }

// Order is a shop's own kind of record, which embeds Record.
type Order interface{ record() *Record }

// Book holds the orders of a shop in the order in which they were made. The shop's lock guards it.
type Book[O Order] struct {
	all  []O
	byID map[int64]O
}

// NewBook returns an empty book.
func NewBook[O Order]() Book[O] { return Book[O]{byID: make(map[int64]O)} }

// Add appends an order that was made just now.
func (b *Book[O]) Add(o O) {
	b.all = append(b.all, o)
	b.byID[o.record().ID] = o
}

// Find returns the order of an id, false where there is none.
func (b *Book[O]) Find(id int64) (O, bool) {
	o, ok := b.byID[id]
	return o, ok
}

// All returns the orders; the list is the book's own.
func (b *Book[O]) All() []O { return b.all }

// Captured returns the ids of the orders of which at least one webhook was acknowledged.
func (b *Book[O]) Captured() []int64 {
	return b.ids(func(r *Record) bool { return r.Told > 0 })
}

// Missed returns the ids of the orders of whose newest change no acknowledged webhook told: only a poll finds it.
func (b *Book[O]) Missed() []int64 {
	return b.ids(func(r *Record) bool { return r.Told < r.Revision })
}

func (b *Book[O]) ids(match func(*Record) bool) []int64 {
	ids := []int64{}
	for _, o := range b.all {
		if r := o.record(); match(r) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}
