package lease

// vigilLooks is how many looks in a row must find the same. They are a second
// apart. On a cluster without a quorum the old leader answers looks for up to 10 s
// while nobody's beats are stored, which says nothing about the other session.
const vigilLooks = 15

// Vigil judges whether another session of this replica's own name is silent, by
// looks at what it said last. Only looks that were answered count: whoever was
// stopped, or could not reach the store, has seen no silence. Its zero value has
// seen nothing.
type Vigil struct {
	revision uint64
	same     int
}

// Saw takes in a look: the revision of what the other session said last, 0 where
// there is nothing. It reports whether that one has been silent for long enough.
func (v *Vigil) Saw(revision uint64) (silent bool) {
	if revision != v.revision {
		v.revision, v.same = revision, 0
	}
	v.same++
	return v.same >= vigilLooks
}

// Missed takes in a look without an answer. The other session may need a while to
// find back to the store, as this one did, so the count begins anew.
func (v *Vigil) Missed() { v.same = 0 }
