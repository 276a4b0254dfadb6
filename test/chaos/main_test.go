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
	if err := manyAtOnce(); err != nil {
		panic(err)
	}
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

// room is for three tests beside each other, on two processors too: with all processes of its
// product each takes a quarter of one.
var room = make(chan struct{}, 3)

// manyAtOnce lets room alone say how many tests run, where nobody has said it by -parallel.
func manyAtOnce() error { return flag.Set("test.parallel", "100") }

// besideOthers lets a test run beside others of its kind: they mostly wait, and judge what
// arrived in which order and in which window, which holds on a machine that is busy, too.
// What judges a pace, a pause or how late an answer is has the machine to itself, and so has
// everything in the long form.
func besideOthers(t *testing.T) {
	t.Helper()
	if *long {
		return
	}
	t.Parallel()
	room <- struct{}{}
	t.Cleanup(func() { <-room })
}

// besideAll lets a test run beside those from the beginning that waits for minutes, which would
// else be the last one, alone; or one whose own tests ask for room.
func besideAll(t *testing.T) {
	t.Helper()
	if !*long {
		t.Parallel()
	}
}
