package ingest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// However many calls come at the same moment, no more are in work than the bound says:
// each may hold a message that is counted nowhere else.
func TestCallsAtTheSameMomentAreBounded(t *testing.T) {
	const most, connections, calls = 4, 4, 100
	f := start(t, bustest.Start(t), func(b *bounds) { b.calls = most }).ready(t)
	ctx, cancel := context.WithCancel(as(t.Context(), secret))
	var refused atomic.Int64
	var open sync.WaitGroup
	for range connections {
		client := f.program(t)
		for range calls {
			open.Go(func() {
				s, err := client.SubmitStream(ctx)
				if err == nil {
					err = s.RecvMsg(new(ingestv1.SubmitStreamResponse))
				}
				if status.Code(err) == codes.ResourceExhausted {
					refused.Add(1)
				}
			})
		}
	}
	f.eventually(t, "refused", func() bool { return refused.Load() == connections*calls-most })
	cancel()
	open.Wait()
	f.eventually(t, "taken", func() bool {
		_, err := submit(as(t.Context(), secret), f.program(t), whole("feed", "1", nil))
		return err == nil
	})
}

// Calls that nobody works on, because there is no such method or their callers have hung
// up, give their places back.
func TestCallsThatComeToNothingGiveTheirPlacesBack(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.calls = 2 }).ready(t)
	conn, ctx := f.dial(t), as(t.Context(), secret)
	for range 20 {
		err := conn.Invoke(ctx, "/peppasync.ingest.v1.IngestService/Nothing", &ingestv1.SubmitRequest{}, &ingestv1.SubmitResponse{})
		if code := status.Code(err); code != codes.Unimplemented && code != codes.ResourceExhausted {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(ctx, time.Microsecond)
		_ = conn.Invoke(short, ingestv1.IngestService_Submit_FullMethodName, &ingestv1.SubmitRequest{}, &ingestv1.SubmitResponse{})
		cancel()
	}
	f.eventually(t, "both places free", func() bool {
		one, err := f.program(t).SubmitStream(ctx)
		if err != nil {
			return false
		}
		_, second := submit(ctx, f.program(t), whole("feed", "1", nil))
		_, first := one.CloseAndRecv()
		return first == nil && second == nil
	})
}

// A caller who promises a message and does not send it keeps nobody out for long.
func TestACallWithoutItsMessageIsCut(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) {
		b.calls, b.requestTimeout, b.patience, b.idleTimeout = 1, 200*time.Millisecond, time.Second, 300*time.Millisecond
	}).ready(t)
	ctx, cancel := context.WithTimeout(as(t.Context(), secret), patient)
	defer cancel()
	for _, method := range []string{ingestv1.IngestService_Submit_FullMethodName, ingestv1.IngestService_SubmitStream_FullMethodName} {
		silent, err := f.dial(t).NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, method)
		if err != nil {
			t.Fatal(err)
		}
		err = silent.RecvMsg(new(ingestv1.SubmitResponse))
		if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Unavailable || ctx.Err() != nil {
			t.Fatalf("%s: %v", method, err)
		}
		f.eventually(t, "taken", func() bool {
			_, err := submit(ctx, f.program(t), whole("feed", "1", nil))
			return err == nil
		})
	}
}

// Whoever looks around keeps nobody from asking whether this instance lives, and may not
// look for ever.
func TestWhoLooksAroundKeepsNoProbeOut(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.requestTimeout = 2 * time.Second }).ready(t)
	var looking []grpc.BidiStreamingClient[reflectionv1.ServerReflectionRequest, reflectionv1.ServerReflectionResponse]
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	for range f.bounds.otherCalls {
		s, err := reflectionv1.NewServerReflectionClient(f.dial(t)).ServerReflectionInfo(ctx)
		if err != nil {
			t.Fatal(err)
		}
		list := &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}
		if err := s.Send(list); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
		looking = append(looking, s)
	}
	if _, err := healthv1.NewHealthClient(f.dial(t)).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil {
		t.Errorf("a probe is answered %v", err)
	}
	for _, s := range looking {
		if _, err := s.Recv(); status.Code(err) != codes.DeadlineExceeded || ctx.Err() != nil {
			t.Errorf("it ended with %v", err)
		}
	}
}

// While a secret cannot be read nobody can tell strangers from its program. They do not
// take the places of those who are known.
func TestWhoCannotBeToldFromAStrangerKeepsNoProgramOut(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.calls = 4 }).ready(t) // "lost" has such a secret
	for range 2 * f.bounds.otherCalls {
		if _, err := f.program(t).SubmitStream(as(t.Context(), "guess")); err != nil {
			t.Fatal(err)
		}
	}
	f.eventually(t, "full", func() bool {
		_, err := submit(as(t.Context(), "guess"), f.program(t), whole("feed", "1", nil))
		return status.Code(err) == codes.ResourceExhausted
	})
	if _, err := submit(as(t.Context(), secret), f.program(t), whole("feed", "1", nil)); err != nil {
		t.Errorf("a program that is known is answered %v", err)
	}
}
