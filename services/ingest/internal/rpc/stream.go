package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/keep"
)

const (
	// maxRejected ends a stream of which nearly nothing can be taken: what it is told of
	// them is held until its end.
	maxRejected = 1000
	// A submission of a stream that finds everything busy tries again after a while, so
	// that the stream becomes slower and does not break.
	busyMin, busyMax = 5 * time.Millisecond, 200 * time.Millisecond
)

// run is one stream.
type run struct {
	server *Server
	// link is the stream's own span: each submission has a trace of its own.
	link trace.Link

	work   sync.WaitGroup
	places chan struct{}
	// last is the newest submission of each order that is in work: those of one order
	// are stored one after the other, because where versions tell no time the later
	// arrival is the newer one.
	last map[string]chan struct{}

	mu       sync.Mutex
	response ingestv1.SubmitStreamResponse
	// broken is why the stream cannot go on. missing is the first submission that is not
	// stored, -1 where there is none.
	broken  *refusal
	missing int64
	// ended is closed once it is broken.
	ended chan struct{}
}

// SubmitStream is part of IngestService.
func (s *Server) SubmitStream(stream grpc.ClientStreamingServer[ingestv1.SubmitStreamRequest, ingestv1.SubmitStreamResponse]) error {
	ctx, span := s.start(stream.Context(), "SubmitStream")
	defer span.End()
	r := &run{
		server: s, link: trace.LinkFromContext(ctx), places: make(chan struct{}, s.config.Window),
		last: make(map[string]chan struct{}), missing: -1, ended: make(chan struct{}),
	}
	received, err := r.receive(ctx, stream)
	r.work.Wait()
	span.SetAttributes(attribute.Int64("peppasync.events", received), attribute.Int64("peppasync.stored", r.response.GetStored()))
	if r.broken != nil {
		span.SetAttributes(attribute.String("error.type", r.broken.Kind))
		progress := &ingestv1.Progress{StoredFromFirst: received}
		if r.missing >= 0 {
			progress.StoredFromFirst = r.missing
		}
		return r.broken.status("submission.", progress)
	}
	if err != nil {
		return err // the caller has hung up, or what it sends is no message
	}
	slices.SortFunc(r.response.GetRejected(), func(a, b *ingestv1.Rejection) int { return cmp.Compare(a.GetIndex(), b.GetIndex()) })
	return stream.SendAndClose(&r.response)
}

// receive takes in what the stream brings until it ends or is broken, and returns how
// many came.
func (r *run) receive(
	ctx context.Context, stream grpc.ClientStreamingServer[ingestv1.SubmitStreamRequest, ingestv1.SubmitStreamResponse],
) (received int64, err error) {
	type arrival struct {
		request *ingestv1.SubmitStreamRequest
		err     error
	}
	arrivals := make(chan arrival, 1)
	idle := time.NewTimer(r.server.config.Idle)
	defer idle.Stop()
	for {
		// Beside, so that a stream that says nothing more can be ended: Recv itself ends
		// with the stream. It is asked for one at a time, because each takes memory.
		go func() {
			request, err := stream.Recv()
			arrivals <- arrival{request, err}
		}()
		idle.Reset(r.server.config.Idle)
		select {
		case a := <-arrivals:
			switch {
			case errors.Is(a.err, io.EOF):
				return received, nil
			case a.err != nil:
				return received, a.err
			}
			r.take(ctx, received, a.request.GetSubmission())
			received++
		case <-idle.C:
			detail := fmt.Sprintf("nothing was handed in for %v: end a stream that has nothing more to hand in", r.server.config.Idle)
			r.fail(received, of(keep.Unavailable("idle", detail, keep.Soon), ""))
		case <-r.server.stopping:
			r.fail(received, of(keep.Unavailable("stopping", "this instance is stopping", keep.Soon), ""))
		case <-r.ended:
		}
		if r.isBroken() {
			return received, nil
		}
	}
}

// take begins to work on a submission.
func (r *run) take(ctx context.Context, index int64, sub *ingestv1.Submission) {
	ctx, span := r.server.config.Tracer.Start(ctx, ingestv1.IngestService_ServiceDesc.ServiceName+"/SubmitStream submission",
		trace.WithNewRoot(), trace.WithLinks(r.link), trace.WithSpanKind(trace.SpanKindServer))
	a, no := r.server.admit(ctx, sub)
	if no != nil {
		r.server.tell(span, no)
		span.End()
		r.fail(index, no)
		return
	}
	held := r.server.config.Keeper.Memory().Share()
	no = r.whileBusy(ctx, func(context.Context) *refusal {
		if !reserve(held, sub) {
			return of(keep.OutOfMemory(), "")
		}
		return nil
	})
	if no != nil {
		r.server.tell(span, no)
		span.End()
		r.fail(index, no)
		return
	}
	r.places <- struct{}{}
	r.mu.Lock()
	// One before it, of this order too, may have failed and come again; then this one has
	// to come after it.
	late := r.broken != nil
	before, done := r.last[a.order], make(chan struct{})
	r.last[a.order] = done
	r.mu.Unlock()
	r.work.Go(func() {
		defer span.End()
		defer func() {
			held.Release()
			r.mu.Lock()
			if r.last[a.order] == done {
				delete(r.last, a.order)
			}
			r.mu.Unlock()
			close(done)
			<-r.places
		}()
		if before != nil {
			<-before
			late = r.isBroken()
		}
		if late {
			r.skip(index)
			return
		}
		var repetition bool
		no := r.whileBusy(ctx, func(ctx context.Context) (no *refusal) {
			repetition, no = r.server.keep(ctx, a, held)
			return no
		})
		r.server.tell(span, no)
		if no != nil {
			r.fail(index, no)
			return
		}
		r.stored(repetition)
	})
}

// whileBusy tries until there is another answer than that too much is in work, for as
// long as a submission may take.
func (r *run) whileBusy(ctx context.Context, try func(context.Context) *refusal) *refusal {
	ctx, cancel := context.WithTimeout(ctx, r.server.config.Patience)
	defer cancel()
	for wait := busyMin; ; wait = min(2*wait, busyMax) {
		no := try(ctx)
		if no == nil || no.Kind != "overloaded" {
			return no
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return no
		}
	}
}

func (r *run) isBroken() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.broken != nil
}

func (r *run) stored(repetition bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if repetition {
		r.response.Repetitions++
	} else {
		r.response.Stored++
	}
}

// skip says that a submission is not stored.
func (r *run) skip(index int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missed(index)
}

// fail says that a submission is not taken. One that is wrong is listed; whatever else it
// is ends the stream.
func (r *run) fail(index int64, no *refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missed(index)
	switch {
	case r.broken != nil:
	case len(no.violations) == 0:
		r.breakOff(no)
	case len(r.response.GetRejected()) == maxRejected:
		last := refused(http.StatusBadRequest, "too-many-wrong", "too many submissions of the stream are wrong; mend them, the last one first: "+no.Detail)
		last.violations = no.violations
		r.breakOff(last)
	default:
		r.response.Rejected = append(r.response.Rejected, &ingestv1.Rejection{Index: index, Violations: no.violations})
	}
}

// breakOff needs the mutex.
func (r *run) breakOff(why *refusal) {
	r.broken = why
	close(r.ended)
}

// missed needs the mutex.
func (r *run) missed(index int64) {
	if r.missing < 0 || index < r.missing {
		r.missing = index
	}
}
