package lease

import (
	"cmp"
	"hash/fnv"
	"io"
	"slices"
)

// share says who should have what: every member about the same number, and as
// little as possible moved. held is who has what, all of them members; free is
// what nobody has. A member keeps what it has up to its share; the rest and what
// is free goes to members with room, by rendezvous hashing, so that replicas
// that know the same decide the same. It returns an owner for each connector of
// held and free, and none where there are no members.
func share(members []string, held map[string]string, free []string) map[string]string {
	if len(members) == 0 {
		return map[string]string{}
	}
	has := make(map[string][]string, len(members))
	for name, owner := range held {
		has[owner] = append(has[owner], name)
	}
	// Those that have most keep one more where it does not divide evenly.
	members = slices.SortedFunc(slices.Values(members), func(a, b string) int {
		return cmp.Or(len(has[b])-len(has[a]), cmp.Compare(a, b))
	})
	total := len(held) + len(free)
	each, more := total/len(members), total%len(members)
	room := make(map[string]int, len(members))
	shares := make(map[string]string, total)
	rest := slices.Clone(free)
	for i, member := range members {
		size := each
		if i < more {
			size++
		}
		mine := has[member]
		keep := min(size, len(mine))
		if keep < len(mine) { // else it keeps all, in whatever order: this is asked at every beat
			slices.SortFunc(mine, func(a, b string) int {
				return cmp.Or(cmp.Compare(score(member, b), score(member, a)), cmp.Compare(a, b))
			})
		}
		for _, name := range mine[:keep] {
			shares[name] = member
		}
		rest = append(rest, mine[keep:]...)
		room[member] = size - keep
	}
	slices.Sort(rest)
	for _, name := range rest {
		best := ""
		for _, member := range members {
			if room[member] > 0 && (best == "" || score(member, name) > score(best, name)) {
				best = member
			}
		}
		shares[name] = best
		room[best]--
	}
	return shares
}

// score ranks a member for a connector, alike on every replica.
func score(member, connector string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, member)
	_, _ = h.Write([]byte{0})
	_, _ = io.WriteString(h, connector)
	// FNV leaves names that differ in their last byte close together.
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
