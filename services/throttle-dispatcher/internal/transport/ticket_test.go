package transport

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// pair returns two connections to a server, and a ticket whose context's end
// tells why it was stopped.
func pair(t *testing.T, p budget.Permit) (first, second *conn, tk *ticket, ctx context.Context) {
	t.Helper()
	s := serve(t, always(hang))
	transport := newTransport(t, Config{Endpoint: s.url()})
	dial := func() *conn {
		c, err := transport.dial(t.Context(), "tcp", s.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c.(*conn)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	t.Cleanup(func() { stop(nil) })
	return dial(), dial(), &ticket{permit: p, stop: stop, gate: &gate{most: 1}}, ctx
}

func TestATicketIsGoodForOneConnection(t *testing.T) {
	first, second, tk, ctx := pair(t, permit(minute))
	tk.arm(first)
	for range 3 { // a long request is written in several pieces
		if n, err := first.Write([]byte("x")); n != 1 || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	tk.arm(second)
	if n, err := second.Write([]byte("x")); n != 0 || !errors.Is(err, ErrNoPermit) || !errors.Is(context.Cause(ctx), ErrNoPermit) {
		t.Errorf("second connection: wrote %d, %v, stopped for %v", n, err, context.Cause(ctx))
	}
	if written := tk.finish(true); !written {
		t.Error("nothing counts as written")
	}
	if n, err := first.Write([]byte("x")); n != 0 || !errors.Is(err, ErrNoPermit) {
		t.Errorf("after the end: wrote %d, %v", n, err)
	}
}

func TestAnEndedTicketLetsNothingThrough(t *testing.T) {
	first, _, tk, _ := pair(t, permit(minute))
	tk.arm(first)
	if written := tk.finish(false); written {
		t.Error("something counts as written")
	}
	if n, err := first.Write([]byte("x")); n != 0 || !errors.Is(err, ErrNoPermit) {
		t.Errorf("wrote %d, %v", n, err)
	}
}

func TestALateFirstByteIsRefused(t *testing.T) {
	p := permit(minute)
	p.NotAfter = time.Now().Add(-1)
	first, _, tk, ctx := pair(t, p)
	tk.arm(first)
	if n, err := first.Write([]byte("x")); n != 0 || !errors.Is(err, ErrPermitExpired) || !errors.Is(context.Cause(ctx), ErrPermitExpired) {
		t.Errorf("wrote %d, %v, stopped for %v", n, err, context.Cause(ctx))
	}
}

// Between the check of the permit and the write, a reply that answers nothing
// may end the call; the write must not follow.
func TestAWriteUnderWayIsCountedOrStopped(t *testing.T) {
	first, _, tk, _ := pair(t, permit(minute))
	tk.arm(first)
	if ok, err := tk.begin(first); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if tk.finish(true) {
		t.Error("something counts as written")
	}
	if n, err := first.Conn.Write([]byte("x")); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("the write that was under way: %d, %v", n, err)
	}
}

func TestALostConnectionStopsTheRequestBeforeTheReplyOnly(t *testing.T) {
	first, _, tk, ctx := pair(t, permit(minute))
	tk.heard(first, 0, net.ErrClosed) // not this request's yet
	if _, err := tk.begin(first); err != nil {
		t.Fatal(err)
	}
	tk.heard(first, 5, nil)
	tk.heard(first, 0, net.ErrClosed) // may be how the reply ends
	if err := context.Cause(ctx); err != nil {
		t.Errorf("stopped for %v", err)
	}
}
