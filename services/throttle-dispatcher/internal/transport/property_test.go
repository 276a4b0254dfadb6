package transport

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestNeverMoreRequestsThanPermits lets several callers share a connector whose
// server kills connections at random moments. Judged at the server: each permit
// shows up at most once, and none that was called void.
func TestNeverMoreRequestsThanPermits(t *testing.T) {
	deeds := []deed{reply, reply, reply, replyClose, hang, cut, cutInHead, cutInReply, early, redirect, long}
	methods := []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete}
	rapid.Check(t, func(rt *rapid.T) {
		play := rapid.SliceOfN(rapid.SampledFrom(deeds), 1, 40).Draw(rt, "deeds")
		s := serve(t, func(n int) deed { return play[n%len(play)] })
		transport := newTransport(t, Config{Endpoint: s.url(), MaxReplyBytes: 4000, MaxConnections: rapid.IntRange(1, 4).Draw(rt, "connections")})
		type call struct {
			method  string
			bytes   int
			again   bool
			ahead   time.Duration
			good    time.Duration
			timeout time.Duration
		}
		callers := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) call {
			return call{
				rapid.SampledFrom(methods).Draw(rt, "method"), rapid.SampledFrom([]int{0, 1, 5000, 300_000}).Draw(rt, "bytes"),
				rapid.Bool().Draw(rt, "idempotency key"), time.Duration(rapid.IntRange(0, 3).Draw(rt, "ahead")) * time.Millisecond,
				rapid.SampledFrom([]time.Duration{-1, 0, time.Millisecond, time.Second}).Draw(rt, "tolerance"),
				rapid.SampledFrom([]time.Duration{time.Millisecond, 10 * time.Millisecond}).Draw(rt, "timeout"),
			}
		}), 1, 8), 1, 4).Draw(rt, "callers")

		var mu sync.Mutex
		written := map[string]bool{}
		var group sync.WaitGroup
		for _, calls := range callers {
			group.Go(func() {
				for _, c := range calls {
					p := permit(0)
					p.SendAt = p.SendAt.Add(c.ahead)
					p.NotAfter = p.SendAt.Add(c.good)
					p.Deadline = p.NotAfter.Add(c.timeout)
					if c.good == time.Second {
						p.Deadline = p.SendAt.Add(10 * c.timeout)
					}
					r := request(t, c.method, s.url(), make([]byte, c.bytes))
					r.Header.Set("Permit", fmt.Sprint(p.Number))
					if c.again {
						r.Header.Set("Idempotency-Key", "k")
					}
					out := transport.Do(t.Context(), r, p)
					mu.Lock()
					written[fmt.Sprint(p.Number)] = out.Written
					mu.Unlock()
				}
			})
		}
		group.Wait()
		transport.Close()
		s.stop()
		arrivals, _ := s.count()
		used := 0
		for _, w := range written {
			if w {
				used++
			}
		}
		if arrivals > used {
			rt.Fatalf("%d requests arrived, %d permits were used", arrivals, used)
		}
		for number, times := range s.permits {
			if times > 1 || !written[number] {
				rt.Fatalf("permit %s arrived %d times, written is %v", number, times, written[number])
			}
		}
	})
}
