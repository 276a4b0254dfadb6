package cluster_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/test/cluster"
)

// TestAble asks where the other tests run a node, and where the kernel withholds what a node
// needs although the user is root.
func TestAble(t *testing.T) {
	t.Parallel()
	if err := cluster.Able(t.Context()); err != nil {
		t.Errorf("the machine that runs a node: %v", err)
	}
	program := t.TempDir() + "/peppasync-cluster"
	if said, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./peppasync-cluster").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if said, err := exec.CommandContext(t.Context(), program, "able").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	// Root of a container has no CAP_SYS_ADMIN.
	said, err := exec.CommandContext(t.Context(), "setpriv", "--bounding-set", "-sys_admin,-net_admin", "--inh-caps", "-all", program, "able").CombinedOutput()
	if err == nil || !strings.Contains(string(said), "this machine withholds") {
		t.Errorf("without the capability it says %v: %s", err, said)
	}
}
