package webhook

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/http"
	"os"
	"sync"

	"github.com/peppasync/peppasync/services/ingest/internal/keep"
)

// firstBuffer is what a body gets at first. A sender that announces more has to
// send it before memory is spent on it: what it holds is at most twice what it
// has sent. As many senders as there may be connections, sending a byte each,
// must not take the memory that others need.
const firstBuffer = 1 << 10

// buffers are those of requests that have ended, for others: by their sizes, which are
// firstBuffer times a power of two. Larger ones, of which there are few, are left to
// the collector. A body of 4 KiB takes 7 KiB of them on its way, which would be half of
// what the collector has to do for a request. The zero value is empty.
type buffers [7]sync.Pool

// get returns an empty buffer of firstBuffer<<class bytes.
func (b *buffers) get(class int) *[]byte {
	if class < len(b) {
		if used, ok := b[class].Get().(*[]byte); ok {
			*used = (*used)[:0]
			return used
		}
	}
	return new(make([]byte, 0, firstBuffer<<class))
}

// put takes a buffer back, which nobody reads any more.
func (b *buffers) put(used *[]byte) {
	if class := bits.Len(uint(cap(*used)/firstBuffer)) - 1; class < len(b) {
		b[class].Put(used)
	}
}

// read reads a body of at most limit bytes, and takes memory for it as it comes in. A
// length that is announced wrongly is caught either way: net/http cuts what is longer,
// and reports what is shorter. What it returns is to be put back.
func (b *buffers) read(w http.ResponseWriter, r *http.Request, limit int64, held *keep.Share) (*[]byte, *keep.Problem) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	if !held.Take(firstBuffer) {
		return nil, keep.OutOfMemory()
	}
	body := http.MaxBytesReader(w, r.Body, limit)
	class := 0
	buffer := b.get(class)
	for {
		content := *buffer
		// Beside a full one, a byte tells whether more comes: most bodies fill theirs.
		var more [1]byte
		free := content[len(content):cap(content)]
		if len(free) == 0 {
			free = more[:]
		}
		n, err := body.Read(free)
		if len(content) < cap(content) {
			*buffer = content[:len(content)+n]
		} else if n > 0 {
			if !held.Take(firstBuffer << class) { // as much again
				b.put(buffer)
				return nil, keep.OutOfMemory()
			}
			class++
			larger := b.get(class)
			*larger = append(append(*larger, content...), more[:]...)
			b.put(buffer)
			buffer = larger
		}
		switch {
		case errors.Is(err, io.EOF):
			return buffer, nil
		case err != nil:
			b.put(buffer)
			return nil, unreadable(err, limit)
		}
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
