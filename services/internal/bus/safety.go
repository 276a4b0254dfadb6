package bus

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// quorumServers is from how many servers on a stream is to have as many copies: with
// fewer, the loss of one disk loses what was acknowledged.
const quorumServers = 3

// Servers returns how many servers of a cluster the connection knows, 1 for a server
// alone. A name that stands for all of them counts once, and the servers then tell of
// each other.
func (b *Bus) Servers() int {
	if !b.clustered.Load() {
		return 1
	}
	discovered := len(b.nc.DiscoveredServers())
	return max(1, discovered, len(b.nc.Servers())-discovered)
}

// Refused returns why a topology is not to be applied, nil where nothing speaks against
// it: fewer than three copies where there are three servers.
func (b *Bus) Refused(t Topology) error {
	if servers, copies := b.Servers(), t.withDefaults().Replicas; servers >= quorumServers && copies < quorumServers {
		return fmt.Errorf("bus: %d copies of each stream were asked for, and NATS has %d servers: ask for %d, "+
			"or the loss of one server loses what senders were told is kept", copies, servers, quorumServers)
	}
	return nil
}

// Unsafe returns one sentence for each thing by which a stream that is there could lose
// what it acknowledged; none where all keep it. Apply mends what can be changed.
func (b *Bus) Unsafe(ctx context.Context, t Topology) ([]string, error) {
	var found []string
	for _, wanted := range t.withDefaults().streams() {
		bounded, cancel := b.bound(ctx)
		config, err := b.streamConfig(bounded, wanted.Name)
		cancel()
		if err != nil {
			return nil, describe(because(bounded, err), "look at how stream %s is made", wanted.Name)
		}
		found = append(found, unsafeIn(config, b.Servers())...)
	}
	return found, nil
}

func unsafeIn(c jetstream.StreamConfig, servers int) []string {
	var found []string
	if servers >= quorumServers && c.Replicas < quorumServers {
		found = append(found, fmt.Sprintf("stream %s has %d copies where NATS has %d servers: it needs %d", c.Name, c.Replicas, servers, quorumServers))
	}
	// An order stream keeps the newest of each subject, and discards by nothing else:
	// schedules allow no other way (Topology.order).
	bounded := c.MaxBytes > 0 || c.MaxMsgs > 0 || c.MaxAge > 0
	if c.Discard == jetstream.DiscardOld && (bounded || !strings.HasPrefix(c.Name, PrefixOrder+"_")) {
		found = append(found, fmt.Sprintf("stream %s discards its oldest messages when it is full: it must refuse the newest (discard: new)", c.Name))
	}
	if c.PersistMode == jetstream.AsyncPersistMode {
		found = append(found, fmt.Sprintf("stream %s acknowledges before it has written (persist_mode: async): it has to be made anew without that", c.Name))
	}
	if c.Storage != jetstream.FileStorage {
		found = append(found, fmt.Sprintf("stream %s is kept in memory: it has to be made anew on disk", c.Name))
	}
	return found
}

// Tally returns how many records each subject of a stream holds, of those that a filter
// selects. It costs as much as there are subjects: it is for streams that hold few, or
// for who asks seldom.
func (b *Bus) Tally(ctx context.Context, stream, filter string) (map[string]uint64, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, describe(because(ctx, err), "count what %s holds", stream)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, describe(because(ctx, err), "count what %s holds on %s", stream, filter)
	}
	return info.State.Subjects, nil
}

// SubjectPart returns one part of a subject that was made here, such as the connector of
// a DispatchSubject, which is the third.
func SubjectPart(subject string, n int) string {
	parts := strings.Split(subject, ".")
	if n < 1 || n > len(parts) {
		return ""
	}
	text, err := Text(parts[n-1])
	if err != nil {
		return parts[n-1]
	}
	return text
}
