package catalog

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// An editor's save is several events: truncate, write, rename.
	settle = 100 * time.Millisecond
	// A folder that never rests is read all the same.
	settleAtMost = time.Second
	// For file systems that tell nobody of changes, and for a folder that was
	// replaced as a whole.
	rescan = 2 * time.Second
)

// WatchDir calls changed with what LoadDir returns, once at the start and after
// every change of the files' names or contents, until ctx is done; then it
// returns nil. Calls do not overlap. It takes what editors do (write in place,
// rename over the old file) and what Kubernetes does with a mounted ConfigMap (a
// symbolic link to another folder). The error is of the operating system's
// notification, which WatchDir does without as long as it lasts.
func WatchDir(ctx context.Context, dir string, changed func([]Resource, Problems)) error {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	defer func() { _ = events.Close() }()
	var seen [sha256.Size]byte
	ticker := time.NewTicker(rescan)
	defer ticker.Stop()
	for {
		// Adding a folder that is watched already changes nothing, and one that
		// was replaced is found again.
		_ = events.Add(dir)
		if digest, files, problem := scan(dir); digest != seen {
			seen = digest
			if problem != nil {
				changed(nil, Problems{*problem})
			} else {
				changed(load(dir, files))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case _, ok := <-events.Events:
			if !ok {
				return fmt.Errorf("watch %s: the system's notification ended", dir)
			}
			if !rest(ctx, events.Events) {
				return nil
			}
		case <-events.Errors: //nolint:errcheck // lost events; the scan above sees what they were about
		}
	}
}

// rest waits until no event came for a while; false where ctx is done.
func rest(ctx context.Context, events <-chan fsnotify.Event) bool {
	longest := time.NewTimer(settleAtMost)
	defer longest.Stop()
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-longest.C:
			return true
		case <-quiet.C:
			return true
		case _, ok := <-events:
			if !ok {
				return true
			}
			quiet.Reset(settle)
		}
	}
}

// scan reads a folder and digests all that a load of it depends on.
func scan(dir string) ([sha256.Size]byte, []file, *Problem) {
	files, problem := readDir(dir)
	digest := sha256.New()
	if problem != nil {
		fmt.Fprintf(digest, "problem %q", problem.Message)
	}
	for _, f := range files {
		fmt.Fprintf(digest, "file %q %q %d\n", f.path, f.err, len(f.data))
		_, _ = digest.Write(f.data)
	}
	return [sha256.Size]byte(digest.Sum(nil)), files, problem
}
