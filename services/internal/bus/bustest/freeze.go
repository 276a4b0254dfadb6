//go:build unix

package bustest

import (
	"syscall"
	"testing"
)

// Freeze stops a node in the middle of whatever it does, until the returned
// function is called: its peers and clients hear nothing, and nothing is lost.
func (c *Cluster) Freeze(t testing.TB, node int) (thaw func()) {
	t.Helper()
	c.mu.Lock()
	process := c.running[node].Process
	c.mu.Unlock()
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatalf("bustest: freezing node %d: %v", node, err)
	}
	return func() {
		if err := process.Signal(syscall.SIGCONT); err != nil {
			t.Errorf("bustest: thawing node %d: %v", node, err)
		}
	}
}
