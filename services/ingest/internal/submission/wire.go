package submission

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
)

// Numbers of fields that are read here: of both requests, and of Submission.
const (
	fieldSubmission protowire.Number = 1
	fieldOrder      protowire.Number = 4
	fieldBody       protowire.Number = 5
)

// ReadFull reads the bytes of a SubmitRequest or SubmitStreamRequest (both have the
// submission in the same field) whose order has more parts than any may have, and reports
// whether it is such a one. What it returns in place of the order has as many parts, so
// that Check refuses it, and nothing else: reading the parts would take sixty times their
// bytes. Bytes that are no message are for others to refuse.
func ReadFull(data []byte) (*ingestv1.Submission, bool) {
	n := repeated((&ingestv1.SubmitRequest{}).ProtoReflect().Descriptor(), data)
	if n <= order.MaxParts {
		return nil, false
	}
	s := &ingestv1.Submission{}
	each(data, func(number protowire.Number, _, value []byte) {
		if number == fieldSubmission {
			each(value, func(number protowire.Number, field, _ []byte) {
				if number != fieldOrder && number != fieldBody {
					// What is no text here leaves its field empty, which is refused too.
					_ = proto.UnmarshalOptions{Merge: true, DiscardUnknown: true}.Unmarshal(field, s)
				}
			})
		}
	})
	s.Content = &ingestv1.Submission_Order{Order: &orderv1.Order{Id: "unread", Tags: make([]string, n)}}
	return s, true
}

// repeated counts the elements of all lists and maps in a message.
func repeated(message protoreflect.MessageDescriptor, data []byte) (n int) {
	fields := message.Fields()
	each(data, func(number protowire.Number, _, value []byte) {
		field := fields.ByNumber(number)
		if field == nil || value == nil {
			return
		}
		if field.Cardinality() == protoreflect.Repeated {
			n++
		}
		if field.Message() != nil && !field.IsMap() {
			n += repeated(field.Message(), value)
		}
	})
	return n
}

// each calls visit for each field of a message: with the whole of it, and its value where
// that is text, bytes or a message, nil for others. It ends where the message is none.
func each(data []byte, visit func(number protowire.Number, field, value []byte)) {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return
		}
		m := protowire.ConsumeFieldValue(number, kind, data[n:])
		if m < 0 {
			return
		}
		var value []byte
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(data[n:])
		}
		visit(number, data[:n+m], value)
		data = data[n+m:]
	}
}
