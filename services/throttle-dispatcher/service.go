package throttledispatcher

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/certificate"
)

// watchEvery is how often a watcher is told.
const watchEvery = time.Second

// serve serves DispatcherService until the returned function is called.
func (d *Dispatcher) serve() (stop func()) {
	if d.config.Listener == nil {
		return func() {}
	}
	server := grpc.NewServer()
	dispatcherv1.RegisterDispatcherServiceServer(server, &service{dispatcher: d})
	healthy := health.NewServer()
	healthy.SetServingStatus(dispatcherv1.DispatcherService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(server, healthy)
	reflection.Register(server)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(d.config.Listener); err != nil {
			d.config.Logger.Error("the gRPC service ended; connectors are fed without it", "error", err)
		}
	}()
	return func() {
		healthy.Shutdown()
		// Nothing is lost with a watcher that is cut off.
		server.Stop()
		<-served
	}
}

// service is DispatcherService.
type service struct {
	dispatcherv1.UnimplementedDispatcherServiceServer
	dispatcher *Dispatcher
}

// ListConnectors is part of DispatcherService.
func (s *service) ListConnectors(ctx context.Context, r *dispatcherv1.ListConnectorsRequest) (*dispatcherv1.ListConnectorsResponse, error) {
	connectors, err := s.list(ctx, r.GetConnector())
	if err != nil {
		return nil, err
	}
	return &dispatcherv1.ListConnectorsResponse{Connectors: connectors}, nil
}

// WatchConnectors is part of DispatcherService.
func (s *service) WatchConnectors(r *dispatcherv1.WatchConnectorsRequest, stream grpc.ServerStreamingServer[dispatcherv1.WatchConnectorsResponse]) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		connectors, err := s.list(stream.Context(), r.GetConnector())
		if err != nil {
			return err
		}
		if err := stream.Send(&dispatcherv1.WatchConnectorsResponse{Connectors: connectors}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// list describes one connector, or all where name is empty.
func (s *service) list(ctx context.Context, name string) ([]*dispatcherv1.Connector, error) {
	named := s.dispatcher.connectors()
	names := slices.Sorted(maps.Keys(named))
	if name != "" {
		if _, ok := named[name]; !ok {
			return nil, status.Errorf(codes.NotFound, "the catalog has no connector %q", name)
		}
		names = []string{name}
	}
	ctx, cancel := context.WithTimeout(ctx, busPatience)
	defer cancel()
	connectors := make([]*dispatcherv1.Connector, 0, len(names))
	for _, name := range names {
		described, _ := s.dispatcher.describe(ctx, name)
		connectors = append(connectors, described)
	}
	return connectors, nil
}

// describe tells about a connector what its worker shows and what the bus has for
// it, or had when it answered last: state and certificate are wanted most while it
// is silent; and when the last of each lane in which something waits will have
// arrived, where that is known. ctx bounds how long the bus is asked.
func (d *Dispatcher) describe(ctx context.Context, name string) (c *dispatcherv1.Connector, lanes map[string]time.Time) {
	slot := d.board.slot(name)
	shown := slot.shown.Load()
	if shown == nil {
		return d.absent(ctx, name), nil
	}
	pending, _ := slot.backlog(ctx, d.config.Bus, shown) // else what it said last
	clock := shown.promise(pending)
	allowed := clock
	allowed.Gap = shown.declared
	c = &dispatcherv1.Connector{
		Name: name, State: shown.state, Owner: d.config.Owner, AsOf: timestamppb.New(shown.at),
		DownSince: timestamp(shown.downSince), CountedThrough: timestamppb.New(shown.report.Through),
		PacePerMinute: shown.report.Pace, AllowedPerMinute: allowed.PerMinute(), PaceShare: shown.part,
		Waiting: int64(clock.Waiting()), InFlight: int64(shown.flying - shown.unsent), Latency: durationpb.New(shown.report.Latency),
	}
	if shown.notBefore.After(shown.at) && shown.state != dispatcherv1.State_STATE_RUNNING {
		c.ClosedUntil, c.ClosedBecause = timestamppb.New(shown.notBefore), shown.because
	}
	for _, l := range shown.report.Limits {
		limit := limitOf(l)
		limit.UsedByOthers = int64(shown.taken[l.Name].Others)
		c.Limits = append(c.Limits, limit)
	}
	for n, l := range clock.Lanes {
		c.Lanes = append(c.Lanes, &dispatcherv1.Lane{Name: l.Name, Weight: shown.weight(n), Waiting: int64(l.Waiting)})
	}
	if at, ok := clock.Drained(); ok {
		start := shown.at
		if shown.maySend() {
			c.Eta, lanes = timestamppb.New(at), clock.Ends()
		} else {
			// As if it might send from now on.
			clock.NotBefore = start
			at, _ = clock.Drained()
		}
		if clock.NotBefore.After(start) {
			start = clock.NotBefore
		}
		c.DrainsIn = durationpb.New(max(0, at.Sub(start)))
	}
	return c, lanes
}

// absent tells about a connector that no worker of this replica feeds.
func (d *Dispatcher) absent(ctx context.Context, name string) *dispatcherv1.Connector {
	c := &dispatcherv1.Connector{Name: name, State: dispatcherv1.State_STATE_STARTING, AsOf: timestamppb.Now()}
	owner, err := d.ownerOf(ctx, name)
	// Where there is no table yet, or nobody can tell: who it was last, if anybody.
	if c.Owner = d.board.slot(name).ownedBy(owner, err == nil); c.GetOwner() != "" && c.GetOwner() != d.config.Owner {
		c.State = dispatcherv1.State_STATE_ELSEWHERE
	}
	return c
}

// ownerOf returns which replica has a connector, empty for none.
func (d *Dispatcher) ownerOf(ctx context.Context, name string) (string, error) {
	record, err := d.config.Bus.Get(ctx, bus.BucketLease, leaseTable)
	if err != nil {
		return "", err
	}
	table, err := decodeTable(record)
	if err != nil {
		return "", err
	}
	return table.Leases[name].Owner, nil
}

func limitOf(s certificate.Standing) *dispatcherv1.Limit {
	l := &dispatcherv1.Limit{
		Name: s.Name, Calls: int64(s.Calls), Headroom: int64(s.Headroom), LargestWindowCount: int64(s.Largest),
		LargestWindowSent: int64(s.LargestSent), LastWindowCount: int64(s.Last),
		Since: timestamp(s.Since), LargestWindowAt: timestamp(s.ReachedAt),
	}
	if s.Per > 0 {
		l.Per = durationpb.New(s.Per)
	}
	if b := s.Bucket; s.IsBucket() {
		l.Refill = &dispatcherv1.Refill{Amount: b.Refill, Per: durationpb.New(time.Duration(b.Per)), Points: b.Points}
	}
	if s.ArrivesWithin > 0 {
		l.ArrivesWithin = durationpb.New(s.ArrivesWithin)
	}
	return l
}

// GetDelivery is part of DispatcherService.
func (s *service) GetDelivery(ctx context.Context, r *dispatcherv1.GetDeliveryRequest) (*dispatcherv1.GetDeliveryResponse, error) {
	d := s.dispatcher
	if r.GetConnector() == "" || r.GetDeliveryId() == "" {
		return nil, status.Error(codes.InvalidArgument, "connector and delivery_id are required")
	}
	if _, ok := d.connectors()[r.GetConnector()]; !ok {
		return nil, status.Errorf(codes.NotFound, "the catalog has no connector %q", r.GetConnector())
	}
	slot := d.board.slot(r.GetConnector())
	shown := slot.shown.Load()
	if shown == nil {
		return nil, status.Errorf(codes.Unavailable, "this replica does not feed connector %s, or not yet; ask the others, or again", r.GetConnector())
	}
	patience, cancel := context.WithTimeout(ctx, busPatience)
	pending, silent := slot.backlog(patience, d.config.Bus, shown)
	cancel()
	here, lane, err := slot.hold(ctx, r.GetConnector(), r.GetDeliveryId())
	if err != nil {
		return nil, err
	}
	if here != nil {
		// The bus need not answer for it: pending is what it said last.
		if here.GetProgress() != dispatcherv1.Progress_PROGRESS_CLOSED {
			shown.foretell(here, lane, pending)
		}
		return &dispatcherv1.GetDeliveryResponse{Delivery: here}, nil
	}
	if silent != nil {
		return nil, unavailable(silent)
	}
	found, err := d.find(ctx, shown, pending, r.GetDeliveryId())
	if err != nil {
		return nil, err
	}
	if found.GetProgress() != dispatcherv1.Progress_PROGRESS_CLOSED {
		shown.foretell(found, found.GetLane(), pending)
	}
	return &dispatcherv1.GetDeliveryResponse{Delivery: found}, nil
}

// hold asks the worker for a delivery that it holds, nil where it holds none of that
// id, and for the lane in which it stands.
func (s *slot) hold(ctx context.Context, connector, id string) (here *dispatcherv1.Delivery, lane string, err error) {
	if !s.ask(ctx, func(w *worker) { here, lane = w.lookUp(id) }) {
		return nil, "", status.Errorf(codes.Unavailable, "connector %s has no time to look; ask again", connector)
	}
	return here, lane, nil
}

// find looks for a delivery in the queue behind the worker, and among the results. Its
// ahead is that of its lane.
func (d *Dispatcher) find(ctx context.Context, shown *snapshot, pending map[string]bus.Backlog, id string) (*dispatcherv1.Delivery, error) {
	connector := shown.spec.Name
	waits, err := d.config.Bus.Last(ctx, bus.StreamDispatch, bus.DispatchDeliveryFilter(connector, id))
	switch {
	case err == nil:
		return d.behind(ctx, shown, pending, id, waits)
	case !errors.Is(err, bus.ErrNotFound):
		return nil, unavailable(err)
	}
	result, err := d.config.Bus.Last(ctx, bus.StreamResult, bus.ResultDeliveryFilter(id))
	switch {
	case err == nil:
		return &dispatcherv1.Delivery{
			Id: id, Connector: connector, Progress: dispatcherv1.Progress_PROGRESS_CLOSED, ClosedAt: timestamppb.New(result.Time),
		}, nil
	case !errors.Is(err, bus.ErrNotFound):
		return nil, unavailable(err)
	}
	return nil, status.Errorf(codes.NotFound, "connector %s has no delivery %q, and there is no result of it", connector, id)
}

// lookUp tells about a delivery that the worker holds, nil where it holds none of
// that id, and in which lane it stands: after a long wait it is not the one that it
// came by.
func (w *worker) lookUp(id string) (_ *dispatcherv1.Delivery, lane string) {
	j, ok := w.jobs[id]
	if !ok {
		return nil, ""
	}
	d := &dispatcherv1.Delivery{
		Id: id, Connector: w.name, Lane: j.delivery.GetLane(), Key: j.delivery.GetKey(), Progress: dispatcherv1.Progress_PROGRESS_CLOSED,
	}
	place, waits := w.queue.Place(id)
	switch {
	case !waits: // its result is being published
	case place.Taken:
		d.Progress = dispatcherv1.Progress_PROGRESS_SENDING
	case place.NotBefore.After(time.Now()):
		d.Progress, d.NotBefore, d.Ahead = dispatcherv1.Progress_PROGRESS_RETRYING, timestamppb.New(place.NotBefore), int64(place.Ahead)
	default:
		d.Progress, d.Ahead = dispatcherv1.Progress_PROGRESS_WAITING, int64(place.Ahead)
	}
	return d, place.Lane
}

// behind tells about a delivery that still waits in the stream. How many of its
// lane are before it follows from its place between the newest that was handed
// over and the last of the lane.
func (d *Dispatcher) behind(
	ctx context.Context, shown *snapshot, pending map[string]bus.Backlog, id string, waits bus.Record,
) (*dispatcherv1.Delivery, error) {
	found := &dispatcherv1.Delivery{Id: id, Connector: shown.spec.Name, Progress: dispatcherv1.Progress_PROGRESS_WAITING}
	asked := &dispatchv1.Delivery{}
	if err := proto.Unmarshal(waits.Data, asked); err != nil {
		return nil, status.Errorf(codes.DataLoss, "the message of delivery %q cannot be read: %v", id, err)
	}
	found.Lane, found.Key = asked.GetLane(), asked.GetKey()
	newest, err := d.config.Bus.Last(ctx, bus.StreamDispatch, bus.DispatchLaneFilter(shown.spec.Name, found.GetLane()))
	if err != nil {
		return nil, unavailable(err)
	}
	backlog := pending[found.GetLane()]
	for _, l := range shown.lanes {
		if l.Name == found.GetLane() {
			found.Ahead = int64(l.Waiting)
		}
	}
	if waits.Sequence > backlog.Delivered && newest.Sequence > backlog.Delivered {
		share := float64(waits.Sequence-backlog.Delivered) / float64(newest.Sequence-backlog.Delivered)
		found.Ahead += max(0, int64(math.Round(share*float64(backlog.Pending)))-1) // itself is among them
	}
	return found, nil
}

// foretell turns a delivery's place in the lane in which it stands into its place
// among all, and that into a time.
func (s *snapshot) foretell(d *dispatcherv1.Delivery, lane string, pending map[string]bus.Backlog) {
	clock := s.promise(pending)
	turn := 0
	if d.GetProgress() != dispatcherv1.Progress_PROGRESS_SENDING {
		turn = clock.Turn(lane, int(d.GetAhead()))
		d.Ahead = int64(turn - 1)
	}
	if !s.maySend() && turn > 0 {
		return
	}
	at := clock.Arrival(turn)
	if again := d.GetNotBefore(); again != nil {
		at = latest(at, clock.Opens(again.AsTime()).Add(s.report.Latency))
	}
	d.Eta = timestamppb.New(at)
}

// weight is the declared weight of the n-th lane.
func (s *snapshot) weight(n int) int64 {
	for _, l := range s.spec.Spec.Lanes {
		if l.Name == s.lanes[n].Name {
			return int64(l.Weight)
		}
	}
	return 1
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// unavailable is what a caller hears when the bus does not answer.
func unavailable(err error) error {
	return status.Errorf(codes.Unavailable, "the bus does not answer; ask again: %s", strings.TrimPrefix(err.Error(), "bus: "))
}
