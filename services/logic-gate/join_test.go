package logicgate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
)

const (
	made    = "store/order/created"
	changed = "store/order/statusUpdated"
)

// store is a shop whose events only name their order. Its clock, that of ingest and that
// of the dispatcher are one, and move by a second with each change.
type store struct {
	*world
	mu   sync.Mutex
	now  int
	note map[int]int // of each order, the second of its newest change
	// answered are the calls that were, reads how many.
	answered map[string]bool
	reads    int
}

// newStore has a flow that takes new orders and one that takes changed ones.
func newStore(t *testing.T) *store {
	t.Helper()
	first, second := flow("first", "true", false, made), flow("second", "true", false, changed)
	for _, f := range []*v1alpha1.FlowSpec{&first.Spec, &second.Spec} {
		f.From[0].Connector = "store"
	}
	second.Spec.Deliver[0].Connector, second.Steps[0].Spec.Connector = "wms", "wms"
	catalog := snapshot(first, second)
	catalog.Connectors["store"] = connector("store", v1alpha1.SystemBigCommerce)
	catalog.Connectors["store"].Spec.Lanes = []v1alpha1.Lane{{Name: "standard", Weight: 9}, {Name: "bulk", Weight: 1}}
	s := &store{world: newWorld(t, first), note: map[int]int{}, answered: map[string]bool{}}
	s.store.Replace(catalog)
	return s
}

func second(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }

// changes has an order changed, and returns the event that tells of it.
func (s *store) changes(id int, topic string) *eventv1.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now++
	s.note[id] = s.now
	e := s.event(topic, fmt.Appendf(nil, `{"scope":%q,"data":{"type":"order","id":%d},"n":%d}`, topic, id, s.now))
	e.Connector, e.ReceivedAt = "store", timestamppb.New(second(s.now))
	return e
}

// passes lets so much time pass, in which nothing changes, that a call which is sent then
// is certainly later than what came before.
func (s *store) passes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += 3
}

// read returns what a call that is sent now is answered.
func (s *store) read(d *dispatchv1.Delivery) func(*dispatchv1.Result) {
	id, err := listing.ParseOrderID(d.GetArguments())
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	s.answered[d.GetId()] = true
	note := s.note[int(id[0]-'0')]
	value, err := listing.OrderValue(&orderv1.Order{Id: id, Name: "#" + id, Note: fmt.Sprint(note), UpdatedAt: timestamppb.New(second(note))})
	if err != nil {
		panic(err)
	}
	at := timestamppb.New(second(s.now))
	return func(r *dispatchv1.Result) { r.Value, r.IssuedAt = value, at }
}

// open returns the calls that are not answered.
func (s *store) open() []*dispatchv1.Delivery {
	var open []*dispatchv1.Delivery
	for id, d := range s.dispatched() {
		s.mu.Lock()
		if d.GetOperation() == connectors.OperationReadOrder && !s.answered[id] {
			open = append(open, d)
		}
		s.mu.Unlock()
	}
	return open
}

// call waits for the one call that is open.
func (s *store) call() *dispatchv1.Delivery {
	s.t.Helper()
	s.eventually("one call", func() bool { return len(s.open()) == 1 })
	return s.open()[0]
}

// settled says that an order is as the shop has it, that both flows know that it is, and
// that nothing more is asked.
func (s *store) settled(id int) bool {
	state := s.state(fmt.Sprint("store_", id))
	s.mu.Lock()
	note := s.note[id]
	s.mu.Unlock()
	flows := map[string]int64{}
	for _, d := range state.GetDeliveries() {
		flows[d.GetFlow()] = max(flows[d.GetFlow()], d.GetRevision())
	}
	return state.GetOrder().GetNote() == fmt.Sprint(note) && len(state.GetFetches()) == 0 && len(flows) == 2
}

func TestEventsThatNameAnOrderJoinTheCallThatWaits(t *testing.T) {
	s := newStore(t)
	gate, _ := s.start(nil)
	const spike = 40
	s.capture(0, s.changes(5, made))
	d := s.call()
	for range spike / 4 {
		s.capture(1, s.changes(5, changed), s.changes(5, changed), s.changes(5, changed), s.changes(5, changed))
	}
	s.eventually("all have joined", func() bool { return gate.Stats().Joined == spike })
	s.passes()
	s.comesBack(d, s.read(d))
	s.eventually("both flows have the newest", func() bool { return s.settled(5) })
	if s.reads != 1 || len(s.open()) != 0 || len(s.holds()) != 0 {
		t.Errorf("%d events cost %d reads, %d more are open, %d holds", spike+1, s.reads, len(s.open()), len(s.holds()))
	}
	if got := s.standing("store_5"); got != "first.erp.1 OPEN, second.erp.1 OPEN" {
		t.Errorf("the deliveries are %s", got)
	}
}

// The answer of a call that was sent before an event came may not have what it tells.
func TestAnEventBehindTheCallHasItAskedOnceMore(t *testing.T) {
	s := newStore(t)
	gate, _ := s.start(nil)
	s.capture(0, s.changes(5, made))
	d := s.call()
	s.passes()
	answer := s.read(d)
	for range 3 {
		s.capture(0, s.changes(5, changed))
	}
	s.eventually("they have joined", func() bool { return gate.Stats().Joined == 3 })
	s.comesBack(d, answer)
	again := s.call()
	if again.GetId() == d.GetId() || again.GetLane() != "standard" || again.GetKey() != "store_5" || again.GetEvent().GetTopic() != changed {
		t.Errorf("it asks once more by %v", again)
	}
	if note := s.state("store_5").GetOrder().GetNote(); note != "1" {
		t.Errorf("what was answered is not taken in, the note is %q", note)
	}
	// Nothing but the second answer covers them, however the clocks differ.
	s.mu.Lock()
	s.now -= 60
	s.mu.Unlock()
	s.comesBack(again, s.read(again))
	s.eventually("the newest counts", func() bool { return s.settled(5) })
	if s.reads != 2 || len(s.open()) != 0 {
		t.Errorf("%d reads, %d more are open", s.reads, len(s.open()))
	}
}

func TestALiveEventDoesNotWaitBehindMany(t *testing.T) {
	s := newStore(t)
	gate, _ := s.start(nil)
	many := func() *eventv1.Event {
		e := s.changes(5, changed)
		e.Bulk = true
		return e
	}
	s.capture(0, many())
	if d := s.call(); d.GetLane() != "bulk" {
		t.Errorf("many are asked for in lane %s", d.GetLane())
	}
	s.capture(0, s.changes(5, made))
	s.eventually("the live one asks by itself", func() bool { return len(s.open()) == 2 })
	s.capture(0, many(), s.changes(5, changed))
	s.eventually("both have joined", func() bool { return gate.Stats().Joined == 2 })
	s.passes()
	for _, d := range s.open() {
		if d.GetLane() == "standard" {
			s.comesBack(d, s.read(d))
		}
	}
	s.eventually("the live ones are settled", func() bool { return len(s.state("store_5").GetDeliveries()) == 2 })
	for _, d := range s.open() {
		s.comesBack(d, s.read(d))
	}
	s.eventually("and then all", func() bool { return s.settled(5) && len(s.open()) == 0 })
}

// What is refused for good is held for each topic, and each asks again when it is let go.
func TestWhatHasJoinedACallIsHeldWithIt(t *testing.T) {
	s := newStore(t)
	gate, _ := s.start(nil)
	s.capture(0, s.changes(5, made), s.changes(5, changed), s.changes(5, changed))
	s.eventually("they have joined", func() bool { return gate.Stats().Joined == 2 })
	s.passes()
	d := s.call()
	s.read(d)
	s.holdsIt(d)
	at := timestamppb.New(second(s.now))
	s.comesBack(d, func(r *dispatchv1.Result) {
		r.Outcome, r.Cause, r.IssuedAt = dispatchv1.Outcome_OUTCOME_HELD, &dispatchv1.Cause{Code: "http-400"}, at
	})
	s.eventually("each topic is held", func() bool { return len(s.holds()) == 2 })
	s.eventually("the call is closed", func() bool { return len(s.state("store_5").GetFetches()) == 0 })
	topics := map[string]bool{}
	for _, hold := range s.holds() {
		topics[hold.GetEvent().GetTopic()] = true
		s.mended(hold.GetDelivery())
	}
	if !topics[made] || !topics[changed] {
		t.Errorf("held are %v", topics)
	}
	s.eventually("one asks, the other has joined", func() bool { return gate.Stats().Released == 2 })
	d = s.call()
	s.comesBack(d, s.read(d))
	s.eventually("all is settled", func() bool { return s.settled(5) && len(s.open()) == 0 })
}

// A spike of topics, or of bodies, must not fill the order's state.
func TestWhatDoesNotFitIntoTheStateAsksByItself(t *testing.T) {
	s := newStore(t)
	gate, _ := s.start(nil)
	large := func(topic string) *eventv1.Event {
		e := s.changes(5, topic)
		e.Body = append(e.GetBody(), make([]byte, maxThin*5/8)...)
		for i := len(e.GetBody()) - maxThin*5/8; i < len(e.GetBody()); i++ {
			e.Body[i] = ' '
		}
		return e
	}
	s.capture(0, large(made), large(changed), large("store/order/updated"))
	s.eventually("the third asks by itself", func() bool { return len(s.open()) == 2 && gate.Stats().Joined == 1 })
	s.passes()
	for _, d := range s.open() {
		s.comesBack(d, s.read(d))
	}
	s.eventually("all is settled", func() bool { return s.settled(5) && len(s.open()) == 0 })
}

// The answer was read by a gate that knows of no joining: whoever joins later must not
// wait for it.
func TestACallThatNobodyClosedIsLookedAfter(t *testing.T) {
	s := newStore(t)
	gate, stop := s.start(nil)
	s.capture(0, s.changes(5, made))
	d := s.call()
	stop()
	before := s.state("store_5")
	before.Fetches[0].OpenedAt = timestamppb.New(time.Now().Add(-2 * longWait))
	state := proto.CloneOf(before)
	data, err := proto.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	stream := bus.OrderStream(bus.OrderShard("store_5", gate.settler.shards))
	if _, err := s.bus.Publish(t.Context(), bus.Message{Subject: bus.OrderStateSubject("store_5"), Data: data, ExpectStream: stream}); err != nil {
		t.Fatal(err)
	}
	// Answered, and its result acknowledged by the older build.
	s.passes()
	s.comesBack(d, s.read(d))
	s.acknowledgeResults()
	gate, _ = s.start(nil)
	s.capture(0, s.changes(5, changed))
	next := s.call()
	s.passes()
	s.comesBack(next, s.read(next))
	s.eventually("all is settled", func() bool { return s.settled(5) && len(s.open()) == 0 })
	if gate.Stats().Joined != 1 || s.reads != 2 {
		t.Errorf("%d joined, %d reads", gate.Stats().Joined, s.reads)
	}
}

// acknowledgeResults takes every result in the gate's place.
func (s *store) acknowledgeResults() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	options := bus.ConsumerOptions{
		Stream: bus.StreamResult, Durable: bus.Consumer(Role), AckWait: 400 * time.Millisecond, MaxAckPending: maxUnsettled, Prefetch: prefetch,
		Filters: []string{bus.ResultFilter(Role)},
	}
	err := s.bus.Consume(ctx, options, func(ctx context.Context, m *bus.Incoming) {
		if err := m.Ack(ctx); err != nil {
			s.t.Error(err)
		}
		cancel()
	})
	if err != nil {
		s.t.Error(err)
	}
}

// Killed after any number of writes, a gate is followed by one that brings the order to
// the same end, for the flows of every topic.
func TestKilledWhileEventsJoin(t *testing.T) {
	const most = 13 // and some more, by which all is done
	for writes := range most {
		t.Run(fmt.Sprint("after ", writes, " writes"), func(t *testing.T) {
			s := newStore(t)
			killer := deadlyAfter(writes)
			_, kill := s.start(killer.before)
			dead := func() bool {
				select {
				case <-killer.died:
					return true
				default:
					return false
				}
			}
			s.capture(0, s.changes(5, made))
			s.eventually("it asks", func() bool { return dead() || len(s.open()) == 1 })
			s.capture(0, s.changes(5, changed))
			s.capture(1, s.changes(5, "store/order/updated"))
			s.eventually("they join", func() bool { return dead() || len(s.state("store_5").GetFetches()[0].GetJoined()) == 2 })
			s.passes()
			for _, d := range s.open() {
				answer := s.read(d)
				s.capture(0, s.changes(5, changed)) // behind the call
				s.comesBack(d, answer)
			}
			s.eventually("it asks once more", func() bool { return dead() || len(s.open()) == 1 })
			kill()
			s.start(nil)
			s.eventually("the order is as the shop has it", func() bool {
				for _, d := range s.open() {
					s.passes()
					s.comesBack(d, s.read(d))
				}
				return s.settled(5) && len(s.open()) == 0
			})
			if holds := s.holds(); len(holds) != 0 {
				t.Errorf("held are %v", holds)
			}
		})
	}
}

// Two gates with a bus that fails in all ways work on orders whose events come twice and
// in any order, while the calls are answered at any time.
func TestNoEventThatNamesAnOrderIsLostOnAFailingBus(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	s := newStore(t)
	for n := range uint64(2) {
		s.start(func(r records) records { return &forgetful{records: r, random: rand.New(rand.NewPCG(seed, 2+n))} })
	}
	const orders, rounds = 3, 12
	told := 0
	for range rounds {
		for id := 1; id <= orders; id++ {
			topic := changed
			if s.note[id] == 0 {
				topic = made
			}
			e := s.changes(id, topic)
			s.capture(random.IntN(2), e)
			told++
			if random.IntN(3) == 0 {
				s.capture(random.IntN(2), e)
			}
		}
		if random.IntN(3) == 0 {
			for _, d := range s.open() {
				s.comesBack(d, s.read(d))
			}
		}
	}
	s.eventually("every order is as the shop has it", func() bool {
		for _, d := range s.open() {
			s.passes()
			s.comesBack(d, s.read(d))
		}
		for id := 1; id <= orders; id++ {
			if !s.settled(id) {
				return false
			}
		}
		return len(s.open()) == 0
	})
	t.Logf("%d events, %d reads", told, s.reads)
	for subject, hold := range s.holds() {
		t.Errorf("%s: %v", subject, hold.GetCause())
	}
}
