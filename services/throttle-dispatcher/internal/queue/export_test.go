package queue

// Depth returns how many items each lane holds.
func (q *Queue[T]) Depth() map[string]int {
	depth := make(map[string]int, len(q.order))
	for _, l := range q.order {
		depth[l.name] = l.length
	}
	return depth
}
