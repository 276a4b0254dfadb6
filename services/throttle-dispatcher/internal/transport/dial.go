package transport

import (
	"context"
	"errors"
	"net"
	"time"
)

// dialAgain is after how long a connection that does not come is asked for once
// more. The kernel asks again after 1, 3, 7 and 15 s; a host that comes back from
// a network outage in between would be noticed that much later.
const dialAgain = 800 * time.Millisecond

// dialed is what came of one attempt.
type dialed struct {
	connection net.Conn
	err        error
}

// reach dials until one of its attempts is through or the context ends. Two run
// side by side, so that a slow one has its time, a slow look-up of the name
// included.
func reach(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan dialed)
	running := 0
	attempt := func() (giveUp context.CancelFunc) {
		one, giveUp := context.WithCancel(ctx)
		running++
		go func() {
			var dialer net.Dialer
			connection, err := dialer.DialContext(one, network, address)
			done <- dialed{connection, err}
		}()
		return giveUp
	}
	defer func() { go closeLate(done, running) }()
	again := time.NewTicker(dialAgain)
	defer again.Stop()
	older, newer := cancel, attempt()
	for started := 1; ; {
		select {
		case d := <-done:
			running--
			// One that was given up leaves the word to the newer ones.
			if d.err == nil || running == 0 || !errors.Is(d.err, context.Canceled) {
				return d.connection, d.err
			}
		case <-again.C:
			if started++; started > 2 {
				older()
			}
			older, newer = newer, attempt()
		}
	}
}

// closeLate takes in n attempts whose result is not needed any more.
func closeLate(done <-chan dialed, n int) {
	for range n {
		if d := <-done; d.connection != nil {
			_ = d.connection.Close()
		}
	}
}
