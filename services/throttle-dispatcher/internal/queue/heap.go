package queue

// line is a heap of keys: the one that comes first by before is at index 0.
type line[T any] struct {
	keys   []*key[T]
	before func(a, b *key[T]) bool
}

func (l *line[T]) len() int { return len(l.keys) }

// first must not be called on an empty line.
func (l *line[T]) first() *key[T] { return l.keys[0] }

func (l *line[T]) push(k *key[T]) {
	l.keys = append(l.keys, k)
	l.up(len(l.keys) - 1)
}

// pop must not be called on an empty line.
func (l *line[T]) pop() *key[T] {
	k := l.keys[0]
	l.removeAt(0)
	return k
}

// remove takes k out and reports whether it was there. Its time grows with the
// line's length.
func (l *line[T]) remove(k *key[T]) bool {
	for i, other := range l.keys {
		if other == k {
			l.removeAt(i)
			return true
		}
	}
	return false
}

func (l *line[T]) removeAt(i int) {
	last := len(l.keys) - 1
	l.keys[i] = l.keys[last]
	l.keys[last] = nil
	l.keys = l.keys[:last]
	if i < last {
		l.down(i)
		l.up(i)
	}
}

func (l *line[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !l.before(l.keys[i], l.keys[parent]) {
			return
		}
		l.keys[i], l.keys[parent] = l.keys[parent], l.keys[i]
		i = parent
	}
}

func (l *line[T]) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(l.keys) {
			return
		}
		if right := child + 1; right < len(l.keys) && l.before(l.keys[right], l.keys[child]) {
			child = right
		}
		if !l.before(l.keys[child], l.keys[i]) {
			return
		}
		l.keys[i], l.keys[child] = l.keys[child], l.keys[i]
		i = child
	}
}
