package ingest

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/submission"
)

// codec is gRPC's own, which counts the parts of an order before it reads them. One that
// cannot be read is an internal error to gRPC; one of too many parts is to be told so.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal is part of encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	var into **ingestv1.Submission
	switch request := v.(type) {
	case *ingestv1.SubmitRequest:
		into = &request.Submission
	case *ingestv1.SubmitStreamRequest:
		into = &request.Submission
	default:
		return c.CodecV2.Unmarshal(data, v)
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	if full, ok := submission.ReadFull(whole.ReadOnlyData()); ok {
		*into = full
		return nil
	}
	return c.CodecV2.Unmarshal(mem.BufferSlice{whole}, v)
}
