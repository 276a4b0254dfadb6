package webhook

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/peppasync/peppasync/services/ingest/internal/keep"
)

// firstBuffer is what a body gets at first. A sender that announces more has to
// send it before memory is spent on it: what it holds is at most twice what it
// has sent. As many senders as there may be connections, sending a byte each,
// must not take the memory that others need.
const firstBuffer = 1 << 10

// readBody reads a body of at most limit bytes, and takes memory for it as it
// comes in. A length that is announced wrongly is caught either way: net/http
// cuts what is longer, and reports what is shorter.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, held *keep.Share) ([]byte, *keep.Problem) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	size := int64(firstBuffer)
	if r.ContentLength >= 0 {
		// One byte more, so that the end is seen without growing.
		size = min(size, r.ContentLength+1)
	}
	if !held.Take(size) {
		return nil, keep.OutOfMemory()
	}
	body := http.MaxBytesReader(w, r.Body, limit)
	buffer := make([]byte, 0, size)
	for {
		n, err := body.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case errors.Is(err, io.EOF):
			return buffer, nil
		case err != nil:
			return nil, unreadable(err, limit)
		}
		if len(buffer) < cap(buffer) {
			continue
		}
		grown := min(2*size, limit+1)
		if !held.Take(grown - size) {
			return nil, keep.OutOfMemory()
		}
		size = grown
		larger := make([]byte, len(buffer), size)
		copy(larger, buffer)
		buffer = larger
	}
}

// mostDiscarded is how much of a refused body is read to get the answer through: a
// few times what is taken, and nothing that is worth sending for its own sake.
const mostDiscarded = 8 << 20

// discardRest reads what is left of a refused body, into no memory that counts. A
// sender that is answered and cut off in the middle of its body may find its
// connection reset before it reads the answer, and would send again and again what
// is refused every time. It ends at the latest with the server's time for a request.
// Who asks before it sends (RFC 9110, section 10.1.1) or announces more than that is
// answered at once.
func discardRest(r *http.Request) {
	if r.ContentLength > mostDiscarded || r.Header.Get("Expect") != "" {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, mostDiscarded) // it is refused in any case
}

func unreadable(err error, limit int64) *keep.Problem {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &keep.Problem{Status: http.StatusRequestTimeout, Kind: "slow-body", Detail: "the body did not come in time"}
	}
	return &keep.Problem{Status: http.StatusBadRequest, Kind: "unreadable-body", Detail: "the body broke off, or its framing is wrong"}
}

func tooLarge(limit int64) *keep.Problem {
	return &keep.Problem{
		Status: http.StatusRequestEntityTooLarge, Kind: "too-large",
		Detail: fmt.Sprintf("the body is larger than the %d bytes that are taken (spec.webhook.maxBodyBytes of the Connector)", limit),
	}
}
