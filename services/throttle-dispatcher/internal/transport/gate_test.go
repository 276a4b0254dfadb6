package transport

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// calls makes so many at a time under permits that are good for long, and returns
// their outcomes as they end.
func calls(t *testing.T, transport *Transport, url string, n int, timeout time.Duration) <-chan Outcome {
	t.Helper()
	outcomes := make(chan Outcome, n)
	for range n {
		r := request(t, http.MethodPut, url, []byte("x"))
		go func() { outcomes <- transport.Do(t.Context(), r, permit(timeout)) }()
	}
	return outcomes
}

func TestNoMoreCallsAreUnderWayThanAllowed(t *testing.T) {
	const all, allowed = 6, 2
	s := serve(t, always(hang))
	var short atomic.Int64
	transport := newTransport(t, Config{Endpoint: s.url(), MaxConnections: all, Short: func() { short.Add(1) }})
	if n := transport.Allow(allowed); n != 0 {
		t.Errorf("%d calls are under way before the first", n)
	}
	outcomes := calls(t, transport, s.url(), all, minute)
	arrived := func(n int) bool {
		arrivals, _ := s.count()
		return arrivals == n
	}
	eventually(t, "as many as allowed arrive", func() bool { return arrived(allowed) && short.Load() == all-allowed })
	if n := transport.Allow(allowed + 2); n != allowed+2 {
		t.Errorf("%d are under way once %d are allowed", n, allowed+2)
	}
	eventually(t, "two more arrive", func() bool { return arrived(allowed + 2) })
	// A lower bound lets those that are under way go on and nothing begin.
	if n := transport.Allow(1); n != allowed+2 {
		t.Errorf("%d are under way under a lower bound, want %d still", n, allowed+2)
	}
	transport.Recall()
	for range all - allowed - 2 {
		if o := <-outcomes; o.Written || !errors.Is(o.Err, ErrRecalled) {
			t.Errorf("a call that was waiting for room: %v", o.Err)
		}
	}
	if !arrived(allowed + 2) {
		t.Errorf("other than %d requests arrived", allowed+2)
	}
	s.stop() // cuts those that hang
	for range allowed + 2 {
		<-outcomes
	}
}

// What waits for room gives up when its permit expires.
func TestACallWithoutRoomKeepsToItsPermit(t *testing.T) {
	s := serve(t, always(reply))
	transport := newTransport(t, Config{Endpoint: s.url()})
	transport.Allow(0)
	p := permit(minute)
	p.NotAfter = p.SendAt.Add(50 * time.Millisecond)
	if o := transport.Do(t.Context(), request(t, http.MethodPut, s.url(), nil), p); o.Written || !errors.Is(o.Err, ErrPermitExpired) {
		t.Errorf("written %v, %v", o.Written, o.Err)
	}
	transport.Allow(1)
	if o := transport.Do(t.Context(), request(t, http.MethodPut, s.url(), nil), permit(minute)); o.Status != http.StatusOK {
		t.Errorf("the next one: %v", o.Err)
	}
	if n, _ := s.count(); n != 1 {
		t.Errorf("%d requests arrived, want 1", n)
	}
}

// A call that was cut off is under way until its bytes are gone, and what never was
// written is not.
func TestACallThatWasCutIsUnderWayForTheGrace(t *testing.T) {
	s := serve(t, script(hang))
	const grace = 100 * time.Millisecond
	transport := newTransport(t, Config{Endpoint: s.url(), MaxConnections: 2, Grace: grace})
	transport.Allow(1)
	cut := transport.Do(t.Context(), request(t, http.MethodPut, s.url(), nil), permit(50*time.Millisecond))
	if !cut.Written || cut.Status != 0 {
		t.Fatalf("written %v, status %d, %v", cut.Written, cut.Status, cut.Err)
	}
	next := transport.Do(t.Context(), request(t, http.MethodPut, s.url(), nil), permit(minute))
	if next.Status != http.StatusOK || next.FirstByteAt.Before(cut.SettledAt) {
		t.Errorf("the next one began %v before the one before had ended: %v", cut.SettledAt.Sub(next.FirstByteAt), next.Err)
	}
}

// However calls end, the gate counts each once.
func TestTheGateIsEmptyInTheEnd(t *testing.T) {
	s := serve(t, script(cut, reply, replyClose, cutInHead, cutInReply, early, reply, upgrade, long, cut))
	transport := newTransport(t, Config{Endpoint: s.url(), MaxConnections: 4, Grace: time.Millisecond, MaxReplyBytes: 16})
	transport.Allow(2)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 10 {
				p := permit(200 * time.Millisecond)
				p.NotAfter = p.SendAt.Add(100 * time.Millisecond)
				transport.Do(t.Context(), request(t, http.MethodPut, s.url(), []byte("x")), p)
			}
		})
	}
	group.Wait()
	eventually(t, "none is under way", func() bool { return transport.Allow(2) == 0 })
}
