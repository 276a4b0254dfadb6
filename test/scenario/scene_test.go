package scenario

import (
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner/scene"
)

// TestScene is Saturday, 2:47 PM, with every promise.
func TestScene(t *testing.T) {
	stage := open(t, scene.Options{Script: scene.Saturday(), Binary: binary(t, false)})
	judge(t, stage, stage.Play(t.Context(), scene.Acts(), scene.NewView(t.Output(), false).Watch))
	if n := lines(t, stage.Log()); n > 40 {
		t.Errorf("the product's log has %d lines; it must not have one for each order", n)
	}
}

// TestKilled is the same, with the product killed in the middle of the burst and
// again while it feeds, and started on what it left. The shop sells on, while the
// product is dead and when it is back and has not heard of those sales.
func TestKilled(t *testing.T) {
	const whileDead, after = 40, 20
	script := scene.Saturday()
	script.Later = whileDead + after
	stage := open(t, scene.Options{Script: script, Binary: binary(t, false)})
	fed := func(n int) func(scene.Progress) bool { return func(p scene.Progress) bool { return p.Fed >= n } }
	acts := []scene.Act{
		scene.BurstKilled(400, 500*time.Millisecond),
		scene.Receipt(),
		scene.KillAfter("the product is killed while it feeds", fed(480), 3*time.Second, whileDead),
		scene.Sell("the shop sells more", fed(0), after),
		scene.Maintenance(),
	}
	judge(t, stage, stage.Play(t.Context(), acts, scene.NewView(t.Output(), false).Watch))
}

// TestApart is a short scene with NATS and every role as a process of its own,
// under the race detector, which costs pace and memory. Each signs in to NATS by its own
// key, over TLS, and needs nothing that this does not allow.
func TestApart(t *testing.T) {
	stage := open(t, scene.Options{Script: scene.Saturday().Scaled(150), Binary: binary(t, true), Apart: true, Secured: true})
	t.Cleanup(func() {
		if log := stage.Log(); strings.Contains(logOf(t, log), "denies a subject") {
			t.Errorf("a role lacks a permission; see %s", log)
		}
	})
	judge(t, stage, stage.Play(t.Context(), scene.Acts(), scene.NewView(t.Output(), false).Watch), "memory", "pace")
}
