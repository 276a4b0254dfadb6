package transport

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/transport/blackhole"
)

// A host that comes back is noticed sooner than by the kernel, whose questions
// come further and further apart.
func TestAHostThatComesBackIsNoticedWithinASecond(t *testing.T) {
	t.Parallel()
	hole := blackhole.Open(t)
	connected := make(chan time.Time, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		if c, err := reach(ctx, "tcp", hole.Address()); err == nil {
			connected <- time.Now()
			_ = c.Close()
		}
		close(connected)
	}()
	// The kernel alone would ask again at 11 s, older ones at 15 s.
	select {
	case <-connected:
		t.Fatal("connected to a black hole")
	case <-time.After(7500 * time.Millisecond):
	}
	listener := hole.Fill(t)
	defer func() { _ = listener.Close() }()
	back := time.Now()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	at, ok := <-connected
	if !ok {
		t.Fatal("never connected")
	}
	if late := at.Sub(back); late > time.Second {
		t.Errorf("connected %v after the host was back, want within a second", late)
	}
}

func TestReachSaysWhatIsWrongAtOnce(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	before := time.Now()
	if _, err := reach(t.Context(), "tcp", address); err == nil || time.Since(before) > dialAgain {
		t.Errorf("error %v after %v, want a refusal at once", err, time.Since(before))
	}
}
