package certificate

import "slices"

// bag is a sorted bag of times in nanoseconds. They come nearly in order, so
// adding is a short move at the end, and they are forgotten at the front.
type bag struct {
	at   []int64
	head int
}

func (b *bag) live() []int64 { return b.at[b.head:] }

func (b *bag) clone() bag { return bag{at: slices.Clone(b.live())} }

func (b *bag) add(v int64) {
	if n := len(b.at); n == b.head || b.at[n-1] <= v {
		b.at = append(b.at, v)
		return
	}
	i, _ := slices.BinarySearch(b.live(), v)
	b.at = slices.Insert(b.at, b.head+i, v)
}

// atLeast counts the times from v on.
func (b *bag) atLeast(v int64) int {
	live := b.live()
	// Mostly all that is kept counts, or all but the oldest.
	for i := range min(len(live), 4) {
		if live[i] >= v {
			return len(live) - i
		}
	}
	i, _ := slices.BinarySearch(live, v)
	return len(live) - i
}

// forget drops every time before v.
func (b *bag) forget(v int64) {
	for b.head < len(b.at) && b.at[b.head] < v {
		b.head++
	}
	if b.head > 64 && b.head > len(b.at)/2 {
		b.at = b.at[:copy(b.at, b.live())]
		b.head = 0
	}
}

// move adds all of other, each later by d, and empties it.
func (b *bag) move(other *bag, d int64) {
	merged := make([]int64, 0, len(b.live())+len(other.live()))
	merged = append(merged, b.live()...)
	for _, v := range other.live() {
		merged = append(merged, v+d)
	}
	slices.Sort(merged)
	*b, *other = bag{at: merged}, bag{}
}
