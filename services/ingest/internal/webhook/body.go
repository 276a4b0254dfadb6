package webhook

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
)

// Memory bounds the bytes of bodies that are held at the same time. The zero
// value holds nothing. It is safe for concurrent use.
type Memory struct{ left atomic.Int64 }

// NewMemory returns a bound of that many bytes.
func NewMemory(bytes int64) *Memory {
	m := new(Memory)
	m.left.Store(bytes)
	return m
}

// take reports whether n bytes were free; they are the caller's then.
func (m *Memory) take(n int64) bool {
	if m.left.Add(-n) >= 0 {
		return true
	}
	m.left.Add(n)
	return false
}

// share is what one request holds of a Memory.
type share struct {
	memory *Memory
	held   int64
}

func (s *share) take(n int64) bool {
	if !s.memory.take(n) {
		return false
	}
	s.held += n
	return true
}

func (s *share) release() {
	s.memory.left.Add(s.held)
	s.held = 0
}

// firstBuffer is what a body gets at first. A sender that announces more has to
// send it before memory is spent on it: what it holds is at most twice what it
// has sent. As many senders as there may be connections, sending a byte each,
// must not take the memory that others need.
const firstBuffer = 1 << 10

// readBody reads a body of at most limit bytes, and takes memory for it as it
// comes in. A length that is announced wrongly is caught either way: net/http
// cuts what is longer, and reports what is shorter.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, held *share) ([]byte, *problem) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	size := int64(firstBuffer)
	if r.ContentLength >= 0 {
		// One byte more, so that the end is seen without growing.
		size = min(size, r.ContentLength+1)
	}
	if !held.take(size) {
		return nil, outOfMemory()
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
		if !held.take(grown - size) {
			return nil, outOfMemory()
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

func unreadable(err error, limit int64) *problem {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &problem{status: http.StatusRequestTimeout, kind: "slow-body", detail: "the body did not come in time"}
	}
	return &problem{status: http.StatusBadRequest, kind: "unreadable-body", detail: "the body broke off, or its framing is wrong"}
}

func tooLarge(limit int64) *problem {
	return &problem{
		status: http.StatusRequestEntityTooLarge, kind: "too-large",
		detail: fmt.Sprintf("the body is larger than the %d bytes that are taken (spec.webhook.maxBodyBytes of the Connector)", limit),
	}
}

func outOfMemory() *problem {
	return unavailable("overloaded", "too many bodies are being taken in at the moment", soon)
}
