package chaos

import (
	"context"
	"flag"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/runner"
)

// What the tests are run with.
var (
	long = flag.Bool("long", false, "the long form of each test, which takes minutes")
	seed = flag.Uint64("seed", 0, "repeats what the run that printed it did; 0 for another run")
)

// build is the product's binary, made when it is first asked for.
var build struct {
	folder string
	once   sync.Once
	path   string
	err    error
}

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "peppasync-chaos-")
	if err != nil {
		panic(err)
	}
	build.folder = folder
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(folder); err != nil {
			panic(err)
		}
		os.Exit(code)
	}))
}

func binary(t *testing.T) string {
	t.Helper()
	build.once.Do(func() {
		root, err := runner.Root()
		if err != nil {
			build.err = err
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		build.path, build.err = runner.Build(ctx, root, build.folder, false)
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

// lasting returns how long something goes on in the form of the test that is run.
func lasting(short, inLong time.Duration) time.Duration {
	if *long {
		return inLong
	}
	return short
}

// besideOthers lets a test run beside others of its kind, which judge nothing by the clock
// and mostly wait. In the long form everything has the machine to itself.
func besideOthers(t *testing.T) {
	t.Helper()
	if !*long {
		t.Parallel()
	}
}
