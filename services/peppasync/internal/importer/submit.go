package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	"github.com/peppasync/peppasync/services/peppasync/internal/orderfile"
)

const (
	// streamTimeout is how long one batch may take, which is many times what it takes.
	streamTimeout = time.Minute
	// A batch that is not taken is handed in again after what ingest asks for, or where it
	// says nothing after waitMin, and twice as long each time.
	waitMin, waitMax = 500 * time.Millisecond, 30 * time.Second
)

// submit hands items in until all are stored or wrong.
func (r *run) submit(ctx context.Context, items []orderfile.Item) (*ingestv1.SubmitStreamResponse, error) {
	if len(items) == 0 {
		return &ingestv1.SubmitStreamResponse{}, nil
	}
	began := time.Now()
	for wait := waitMin; ; wait = min(2*wait, waitMax) {
		answer, err := r.stream(ctx, items)
		if err == nil {
			return answer, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		asked, again := passes(err)
		if !again {
			return nil, explain(err)
		}
		left := r.config.Patience - time.Since(began)
		if left <= 0 {
			return nil, fmt.Errorf("nothing was taken for %v (--patience): %w; run it again, it goes on from here", r.config.Patience, explain(err))
		}
		r.tell(status.Convert(err).Message())
		pause := time.NewTimer(min(max(wait, asked), left))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, ctx.Err()
		}
	}
}

// stream hands items in once.
func (r *run) stream(ctx context.Context, items []orderfile.Item) (*ingestv1.SubmitStreamResponse, error) {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+r.config.Secret), streamTimeout)
	defer cancel()
	stream, err := r.config.Client.SubmitStream(ctx)
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		s := &ingestv1.Submission{Connector: r.config.Connector, Topic: r.config.Topic, Bulk: r.config.Bulk}
		if item.Order != nil {
			s.Content = &ingestv1.Submission_Order{Order: item.Order}
		} else {
			s.Content = &ingestv1.Submission_Body{Body: item.Body}
		}
		if err := stream.Send(&ingestv1.SubmitStreamRequest{Submission: s}); errors.Is(err, io.EOF) {
			break // the answer says why
		} else if err != nil {
			return nil, err
		}
	}
	return stream.CloseAndRecv()
}

// passes reports whether a batch may be taken later, and how long to wait for that, 0 where
// nobody says.
func passes(err error) (wait time.Duration, again bool) {
	s := status.Convert(err)
	for _, detail := range s.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return retry.GetRetryDelay().AsDuration(), true
		}
	}
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.Internal, codes.Canceled, codes.Unknown:
		// A connection that broke in the middle; the answer, if there was one, is lost.
		return 0, true
	default:
		return 0, false
	}
}

// explain says what ingest says, and what to do.
func explain(err error) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.Unauthenticated:
		return fmt.Errorf("ingest refuses the secret: %s", s.Message())
	case codes.NotFound:
		return fmt.Errorf("ingest does not know the connector: %s", s.Message())
	case codes.Unimplemented:
		return fmt.Errorf("at that address is no ingest: %s; expected that of --ingest-grpc-listen of up, or --grpc-listen of ingest", s.Message())
	default:
		return fmt.Errorf("ingest: %s (%s)", s.Message(), s.Code())
	}
}
