package order

import (
	"bytes"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// maxNamed bounds what the events of one fetch take of a state, of whatever topics: a
// state has to fit into a message beside a large order.
const maxNamed = 96 << 10

// Joining is what becomes of an event that only names its order.
type Joining int

const (
	// JoiningAsks: nobody asks for the order in its lane. It needs a fetch of its own.
	JoiningAsks Joining = iota
	// JoiningRepeated: this very event asks for it, or goes along already.
	JoiningRepeated
	// JoiningDone: it goes along with the fetch that is open.
	JoiningDone
	// JoiningFull: no more may go along. It asks by itself, and no state knows of it.
	JoiningFull
)

// Join returns the state with an event that goes along with an open fetch, and that
// fetch: of its lane, or for one of many any, since a live order must not wait behind
// them.
func Join(state *orderv1.State, n *orderv1.Naming, lane string) (*orderv1.State, *orderv1.Fetch, Joining) {
	at := slices.IndexFunc(state.GetFetches(), func(f *orderv1.Fetch) bool { return f.GetLane() == lane })
	if at < 0 && n.GetBulk() && len(state.GetFetches()) > 0 {
		at = 0
	}
	if at < 0 {
		return state, nil, JoiningAsks
	}
	f := state.GetFetches()[at]
	if slices.ContainsFunc(f.GetAsked(), func(m *orderv1.Naming) bool { return sameNaming(m, n) }) ||
		slices.ContainsFunc(f.GetJoined(), func(m *orderv1.Naming) bool { return sameNaming(m, n) }) {
		return state, f, JoiningRepeated
	}
	next := proto.CloneOf(state)
	f = next.GetFetches()[at]
	f.Joined = withNaming(f.GetJoined(), n)
	if named(next) > maxNamed {
		return state, nil, JoiningFull
	}
	return next, f, JoiningDone
}

// OpenFetch returns the state, nil for none, in which a fetch is open.
func OpenFetch(state *orderv1.State, key string, f *orderv1.Fetch) *orderv1.State {
	next := &orderv1.State{Key: key}
	if state != nil {
		next = proto.CloneOf(state)
	}
	next.Fetches = append(next.GetFetches(), f)
	return next
}

// FetchOf returns the open fetch whose delivery has that id, nil where there is none.
func FetchOf(state *orderv1.State, id string) *orderv1.Fetch {
	for _, f := range state.GetFetches() {
		if f.GetId() == id {
			return f
		}
	}
	return nil
}

// Covered returns the events of a fetch than which an answer is newer for certain: those
// that were there before it was asked, and those that were received before the call was
// sent, by the clocks of ingest and the throttle-dispatcher. Zero is no call.
func Covered(f *orderv1.Fetch, sent time.Time) []*orderv1.Naming {
	covered := slices.Clone(f.GetAsked())
	for _, n := range f.GetJoined() {
		if !sent.IsZero() && sent.After(n.GetReceivedAt().AsTime().Add(clockMargin)) {
			covered = append(covered, n)
		}
	}
	return covered
}

// CloseFetch returns the state after a fetch whose answer was taken in for some of its
// events, and the fetch that the others need, nil for none, whose id another names.
func CloseFetch(
	state *orderv1.State, id string, settled []*orderv1.Naming, now time.Time, another func(*orderv1.Naming) string,
) (*orderv1.State, *orderv1.Fetch) {
	next := proto.CloneOf(state)
	at := slices.IndexFunc(next.GetFetches(), func(f *orderv1.Fetch) bool { return f.GetId() == id })
	if at < 0 {
		return state, nil
	}
	f := next.GetFetches()[at]
	var rest []*orderv1.Naming
	for _, n := range slices.Concat(f.GetAsked(), f.GetJoined()) {
		if !slices.ContainsFunc(settled, func(m *orderv1.Naming) bool { return sameNaming(m, n) }) {
			rest = withNaming(rest, n)
		}
	}
	if len(rest) == 0 {
		next.Fetches = slices.Delete(next.GetFetches(), at, at+1)
		return next, nil
	}
	f.Id, f.OpenedAt, f.Asked, f.Joined = another(rest[0]), timestamppb.New(now), rest, nil
	return next, f
}

// EachTopic returns of each topic the event that came first, for the flows that take it.
// It is one of many if all of its topic were.
func EachTopic(all []*orderv1.Naming) []*orderv1.Naming {
	var each []*orderv1.Naming
	for _, n := range all {
		at := slices.IndexFunc(each, func(m *orderv1.Naming) bool { return m.GetTopic() == n.GetTopic() })
		if at < 0 {
			each = append(each, proto.CloneOf(n))
			continue
		}
		each[at].Bulk = each[at].GetBulk() && n.GetBulk()
	}
	return each
}

// withNaming has of each topic the one that was received last: the order is what matters,
// and an answer that is newer than that one is newer than all of them. It is one of many
// if all were.
func withNaming(all []*orderv1.Naming, n *orderv1.Naming) []*orderv1.Naming {
	at := slices.IndexFunc(all, func(m *orderv1.Naming) bool { return m.GetTopic() == n.GetTopic() })
	if at < 0 {
		return append(all, n)
	}
	newest := n
	if all[at].GetReceivedAt().AsTime().After(n.GetReceivedAt().AsTime()) {
		newest = all[at]
	}
	newest = proto.CloneOf(newest)
	newest.Bulk = all[at].GetBulk() && n.GetBulk()
	all[at] = newest
	return all
}

func sameNaming(a, b *orderv1.Naming) bool {
	return a.GetTopic() == b.GetTopic() && a.GetReleases() == b.GetReleases() && bytes.Equal(a.GetEvent(), b.GetEvent())
}

// named is what events take of a state.
func named(state *orderv1.State) int {
	size := 0
	for _, f := range state.GetFetches() {
		size += proto.Size(f)
	}
	return size
}
