package ingest

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/rpc"
)

const (
	// messageFrame is what a message may have beyond the largest event, so that one which
	// is a little too large is told so and not cut off.
	messageFrame = 64 << 10
	// callWindow and connectionWindow are the bytes that a caller may send ahead of what is
	// read: fixed, because by default they grow to 16 MiB for each connection.
	callWindow, connectionWindow = 256 << 10, 1 << 20
	// callsPerConnection is what one caller may have in work.
	callsPerConnection = 128
	// pingAfter a connection is silent it is asked whether it is still there, pingPatience
	// is how long it may take to answer, and pingLeast how often a caller may ask.
	pingAfter, pingPatience, pingLeast = 30 * time.Second, 10 * time.Second, 10 * time.Second
)

// serveGRPC serves IngestService until ctx is done, and returns when the last call has
// ended or the grace is over.
func (in *Ingest) serveGRPC(ctx context.Context) error {
	if in.config.GRPC == nil {
		return nil
	}
	crowd := newCrowd(in.config.GRPC, in.bounds.callers)
	gate := &gate{bounds: in.bounds, crowd: crowd, standing: in.programs.Standing}
	server := grpc.NewServer(
		grpc.InTapHandle(gate.tap), grpc.ForceServerCodecV2(newCodec()), grpc.StatsHandler(gate), grpc.WaitForHandlers(true),
		grpc.MaxRecvMsgSize(in.bounds.eventBytes+messageFrame), grpc.MaxConcurrentStreams(callsPerConnection),
		grpc.MaxHeaderListSize(uint32(in.bounds.headerBytes)), //nolint:gosec // 32 KiB
		grpc.StaticStreamWindowSize(callWindow), grpc.StaticConnWindowSize(connectionWindow),
		grpc.ConnectionTimeout(in.bounds.headerTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: in.bounds.idleTimeout, Time: pingAfter, Timeout: pingPatience}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingLeast, PermitWithoutStream: true}),
	)
	ingestv1.RegisterIngestServiceServer(server, in.programs)
	healthv1.RegisterHealthServer(server, &healthService{ready: in.health.ready})
	reflection.Register(server)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(crowd) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	in.programs.Stop()
	last := time.AfterFunc(in.bounds.grace, server.Stop) // what is left is a stream that is handed in again
	defer last.Stop()
	server.GracefulStop()
	if err := <-ended; !errors.Is(err, grpc.ErrServerStopped) { // that is a server which was told to stop before it began
		return err
	}
	return nil
}

// gate bounds what callers may have in work, and lets no stranger hand anything in: a
// message is read as a whole before anybody sees whom it is for. It is a stats.Handler,
// because that is told of each call's end.
type gate struct {
	bounds   bounds
	crowd    *crowd
	standing func(context.Context) rpc.Standing
	// calls are those of IngestService that are in work; doubtful those of which nobody
	// can tell yet whether a stranger makes them. checks are questions of health, and
	// questions all others: both are for everybody, and whoever looks around must not keep
	// those out who ask whether this instance lives.
	calls, doubtful, checks, questions atomic.Int64
}

// tap decides about a call before its message is read.
func (g *gate) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !isSubmission(info.FullMethodName) {
		counter := &g.questions
		if strings.HasPrefix(info.FullMethodName, "/"+healthv1.Health_ServiceDesc.ServiceName+"/") {
			counter = &g.checks
		}
		return g.enter(ctx, counter, g.bounds.otherCalls, g.bounds.requestTimeout, false)
	}
	counter, most := &g.calls, g.bounds.calls
	switch g.standing(metadata.NewIncomingContext(ctx, info.Header)) {
	case rpc.Known:
	case rpc.Doubtful:
		counter, most = &g.doubtful, g.bounds.otherCalls
	case rpc.Stranger:
		return ctx, status.Error(codes.Unauthenticated,
			`"authorization: Bearer <secret>" is missing in the metadata, or is of no connector (spec.webhook.secretRef)`)
	}
	patience := g.bounds.requestTimeout + g.bounds.patience
	if info.FullMethodName == ingestv1.IngestService_SubmitStream_FullMethodName {
		patience = 0 // each of its messages has a time of its own
	}
	return g.enter(ctx, counter, most, patience, true)
}

// enter counts a call, unless there are as many as there may be. With a patience it is
// cut after that time, so that one whose message never comes keeps nobody out.
func (g *gate) enter(ctx context.Context, counter *atomic.Int64, most int64, patience time.Duration, submission bool) (context.Context, error) {
	if counter.Add(1) > most {
		counter.Add(-1)
		return ctx, rpc.Busy("too many calls are in work at the moment")
	}
	p := &place{counter: counter, submission: submission, cancel: func() {}}
	if patience > 0 {
		ctx, p.cancel = context.WithTimeout(ctx, patience)
	}
	// A call may end before anybody works on it, and then nothing else tells of its end.
	p.forget = context.AfterFunc(ctx, func() {
		if p.state.CompareAndSwap(placeTaken, placeLeft) {
			p.leave()
		}
	})
	return context.WithValue(ctx, placeKey{}, p), nil
}

func isSubmission(method string) bool {
	return strings.HasPrefix(method, "/"+ingestv1.IngestService_ServiceDesc.ServiceName+"/")
}

// place is what a call takes of a bound, from its headers to its end.
type place struct {
	counter    *atomic.Int64
	submission bool
	state      atomic.Int32
	// forget stops the wait for the end of a call that nobody works on; cancel ends the
	// time of the call.
	forget func() bool
	cancel context.CancelFunc
}

const (
	placeTaken int32 = iota
	placeWorking
	placeLeft
)

// begin says that somebody works on the call; leave is called then at its end.
func (p *place) begin() {
	if !p.state.CompareAndSwap(placeTaken, placeWorking) {
		p.counter.Add(1) // its caller has hung up, and it is worked on all the same
	}
	p.forget()
}

func (p *place) leave() {
	p.cancel()
	p.counter.Add(-1)
}

type (
	placeKey struct{}
	guestKey struct{}
)

// TagRPC is part of stats.Handler.
func (g *gate) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC is part of stats.Handler.
func (g *gate) HandleRPC(ctx context.Context, s stats.RPCStats) {
	p, entered := ctx.Value(placeKey{}).(*place)
	if !entered {
		return
	}
	guest, known := ctx.Value(guestKey{}).(*guest)
	switch s.(type) {
	case *stats.Begin:
		p.begin()
		if known && p.submission {
			guest.begin()
		}
	case *stats.End:
		p.leave()
		if known && p.submission {
			guest.end()
		}
	}
}

// TagConn is part of stats.Handler.
func (g *gate) TagConn(ctx context.Context, info *stats.ConnTagInfo) context.Context {
	if guest := g.crowd.find(info.RemoteAddr); guest != nil {
		return context.WithValue(ctx, guestKey{}, guest)
	}
	return ctx
}

// HandleConn is part of stats.Handler.
func (g *gate) HandleConn(context.Context, stats.ConnStats) {}

// healthService tells what /readyz tells.
type healthService struct {
	healthv1.UnimplementedHealthServer
	ready func(context.Context) error
}

// Check is part of the standard health service.
func (h *healthService) Check(ctx context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if name := r.GetService(); name != "" && name != ingestv1.IngestService_ServiceDesc.ServiceName {
		return nil, status.Errorf(codes.NotFound, "there is no service %q here", name)
	}
	answer := &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}
	if h.ready(ctx) != nil {
		answer.Status = healthv1.HealthCheckResponse_NOT_SERVING
	}
	return answer, nil
}

// addrOf names a connection for as long as it is open.
func addrOf(address net.Addr) string { return address.Network() + " " + address.String() }
