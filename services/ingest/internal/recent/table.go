package recent

import "math/bits"

// Time is cut into slices (of 12 s, where events are remembered for a week), and an
// event is remembered with the number of its slice in two bytes, modulo ring; 0 is an
// empty place. Forgetting is then a copy of the table without what is too old, once
// in sweepEvery slices. With one byte, slices would be so long that a spike fits into
// one, and who has to forget some of it could not tell the oldest.
const (
	slicesKept = 50_000
	sweepEvery = 4_000
	ring       = 65_535
)

// Numbers in the table differ by less than ring, so that the two bytes tell which
// they are; it does not compile otherwise.
const _ = uint(ring - slicesKept - sweepEvery - 1)

// A table is full where 4 of 5 places are taken, and grows by a quarter: between
// them an event takes 18 bytes / 0.8 to 18 / 0.64, so 23 to 28 bytes. A Go map of
// the same keys takes 18 to 50, doubles, and forgets only as a whole.
const (
	smallest    = 64
	fullAt      = 5 // of these, 4
	growQuarter = 4
)

// table is a hash table with linear probing. The zero value with a bound is ready
// to use.
type table struct {
	most  int
	count int
	keys  []Key
	// marks says which slice each key is of; 0 where there is none.
	marks []uint16
	// swept is the slice in which it was last looked for what is too old; none has a
	// number above swept+sweepEvery-1.
	swept int64
	// floor: all of this slice and before was forgotten for want of room, or some.
	floor int64
}

func (t *table) has(key Key) bool {
	if t.count == 0 {
		return false
	}
	_, found := t.find(key)
	return found
}

// find returns the place of a key, or the one that it would take. There always is
// an empty one.
func (t *table) find(key Key) (place int, found bool) {
	high, _ := bits.Mul64(key[1], uint64(len(t.keys)))
	for place = int(high); t.marks[place] != 0; { //nolint:gosec // it is below the length
		if t.keys[place] == key {
			return place, true
		}
		if place++; place == len(t.keys) {
			place = 0
		}
	}
	return place, false
}

// advance makes number the present slice, and forgets what is too old by then. A
// clock that goes back changes nothing.
func (t *table) advance(number int64) {
	if number-t.swept < sweepEvery {
		return
	}
	left := 0
	for _, mark := range t.marks {
		if mark != 0 && numberOf(mark, t.swept) >= number-slicesKept {
			left++
		}
	}
	// It gives back what a spike has taken, once that is forgotten.
	size := min(len(t.keys), max(smallest, left+left/2))
	t.copy(size, func(n int64) bool { return n >= number-slicesKept })
	t.swept = number
}

// takes says whether there is a place for an event of a slice that is no newer than
// what came in since.
func (t *table) takes(number int64) bool {
	return t.count < t.most && number > t.floor && number >= t.swept-slicesKept
}

// makeRoom forgets the oldest eighth where there is no place left.
func (t *table) makeRoom() {
	if t.count < t.most {
		return
	}
	ages := make([]uint16, slicesKept+sweepEvery) // a shard has fewer than 65,536 events
	newest := t.swept + sweepEvery - 1
	for _, mark := range t.marks {
		if mark != 0 {
			ages[newest-numberOf(mark, t.swept)]++
		}
	}
	keep, age := t.most-max(1, t.most/8), 0
	for ; int(ages[age]) <= keep; age++ { // ends: there are more than are kept
		keep -= int(ages[age])
	}
	// Of the slice that only a part of has a place, any will do.
	t.floor = newest - int64(age)
	t.copy(len(t.keys), func(n int64) bool {
		if n == t.floor {
			keep--
			return keep >= 0
		}
		return n > t.floor
	})
}

// add takes in a key that is not there; number is within what advance allows.
func (t *table) add(key Key, number int64) {
	number = min(max(number, t.swept-slicesKept), t.swept+sweepEvery-1)
	if fullAt*(t.count+1) > (fullAt-1)*len(t.keys) {
		t.copy(max(smallest, len(t.keys)+len(t.keys)/growQuarter), func(int64) bool { return true })
	}
	place, _ := t.find(key)
	t.keys[place], t.marks[place] = key, markOf(number)
	t.count++
}

// copy replaces the table by one of a size with the keys whose slices stay.
func (t *table) copy(size int, stays func(number int64) bool) {
	keys, marks := t.keys, t.marks
	t.keys, t.marks, t.count = make([]Key, size), make([]uint16, size), 0
	for i, mark := range marks {
		if mark == 0 || !stays(numberOf(mark, t.swept)) {
			continue
		}
		place, _ := t.find(keys[i])
		t.keys[place], t.marks[place] = keys[i], mark
		t.count++
	}
}

func markOf(number int64) uint16 { return uint16(number%ring) + 1 } //nolint:gosec // 1 to ring; times are after 1970

// numberOf returns the number of a mark in a table that was last swept at a slice.
func numberOf(mark uint16, swept int64) int64 {
	newest := swept + sweepEvery - 1
	return newest - (newest-int64(mark-1)+ring)%ring
}
