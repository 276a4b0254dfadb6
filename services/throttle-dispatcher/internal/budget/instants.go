package budget

import "slices"

// instants is a sorted bag of times in nanoseconds. Times are added nearly in
// order, so adding is a short move at the end, and they are dropped at the
// front: amortized constant time, and memory of at most twice what it holds.
type instants struct {
	at   []int64
	head int
}

func (x *instants) live() []int64 { return x.at[x.head:] }

func (x *instants) len() int { return len(x.at) - x.head }

func (x *instants) add(v int64) {
	if n := len(x.at); n == x.head || x.at[n-1] <= v {
		x.at = append(x.at, v)
		return
	}
	i, _ := slices.BinarySearch(x.live(), v)
	x.at = slices.Insert(x.at, x.head+i, v)
}

// remove takes one v out and says whether there was one.
func (x *instants) remove(v int64) bool {
	i, found := slices.BinarySearch(x.live(), v)
	if found {
		x.at = slices.Delete(x.at, x.head+i, x.head+i+1)
	}
	return found
}

// dropBefore forgets every time before v.
func (x *instants) dropBefore(v int64) {
	for x.head < len(x.at) && x.at[x.head] < v {
		x.head++
	}
	if x.head > 64 && x.head > len(x.at)/2 {
		x.at = x.at[:copy(x.at, x.live())]
		x.head = 0
	}
}

// largest returns the k-th largest, k from 0.
func (x *instants) largest(k int) int64 { return x.at[len(x.at)-1-k] }
