package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// prompt is how soon a role works by a change.
const prompt = 2 * time.Second

// lines is a log that is read line by line.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func newLog() (lines, *slog.Logger) {
	l := make(lines, 100)
	return l, slog.New(slog.NewTextHandler(l, nil))
}

// next waits for a line.
func (l lines) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-l:
		return line
	case <-time.After(deadline):
		t.Fatalf("nothing is logged in %v", deadline)
		return ""
	}
}

func (l lines) none(t *testing.T) {
	t.Helper()
	select {
	case line := <-l:
		t.Errorf("logged: %s", line)
	default:
	}
}

// begun is a Watch that waits for its first catalog.
type begun chan result

type result struct {
	store *catalog.Store
	err   error
}

func begin(ctx context.Context, b *bus.Bus, log *slog.Logger) begun {
	first := make(begun, 1)
	go func() {
		store, err := catalog.Watch(ctx, b, systems.Set(), log)
		first <- result{store, err}
	}()
	return first
}

func (b begun) wait(t *testing.T) *catalog.Store {
	t.Helper()
	select {
	case got := <-b:
		if got.err != nil {
			t.Fatal(got.err)
		}
		return got.store
	case <-time.After(deadline):
		t.Fatalf("no catalog after %v", deadline)
		return nil
	}
}

// awaitBuffer waits until the snapshot has that buffer, and returns how long it
// took.
func awaitBuffer(t *testing.T, store *catalog.Store, units int64) time.Duration {
	t.Helper()
	begin, late := time.Now(), time.After(deadline)
	for {
		changed := store.Changed()
		got := store.Current().StockPools["main"].Spec.Buffer
		if got == units {
			return time.Since(begin)
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("the buffer is %d after %v, want %d", got, deadline, units)
		}
	}
}

func TestWatchFollowsWhatIsPublished(t *testing.T) {
	b := bustest.Start(t)
	publish(t, b, load(t))
	logged, log := newLog()
	store := begin(t.Context(), b, log).wait(t)
	if got, want := store.Current().Revision, published(t, b).Sequence; got != want || len(store.Current().Connectors) != 4 || store.Current().Flows[0].When == nil {
		t.Errorf("revision %d with %d connectors, want revision %d, compiled", got, len(store.Current().Connectors), want)
	}
	slowest := time.Duration(0)
	for units := range int64(20) {
		publish(t, b, withBuffer(t, int(units)))
		// Whoever cannot wait reads it.
		if newest, err := store.Newest(t.Context()); err != nil || newest.StockPools["main"].Spec.Buffer != units {
			t.Errorf("the newest is %v (%v), want a buffer of %d", newest, err, units)
		}
		took := awaitBuffer(t, store, units)
		slowest = max(slowest, took)
		if took > prompt {
			t.Errorf("a change was seen after %v, want %v", took, prompt)
		}
		if got, want := store.Current().Revision, published(t, b).Sequence; got != want {
			t.Errorf("revision %d, want %d", got, want)
		}
	}
	logged.none(t)
	t.Logf("the slowest change was seen %v after it was written", slowest)
}

// What a role cannot work by changes nothing, and is one line of the log; the
// next good one is taken.
func TestWatchKeepsTheOldCatalog(t *testing.T) {
	valid := string(encode(t, load(t)))
	b := bustest.Start(t)
	publish(t, b, load(t))
	logged, log := newLog()
	store := begin(t.Context(), b, log).wait(t)
	twoMistakes := strings.Replace(strings.Replace(valid, `"weight":7`, `"weight":0`, 1), `"weight":2`, `"weight":0`, 1)
	units := int64(10)
	for name, test := range map[string]struct{ data, want string }{
		"not JSON":              {"\x00\n\nnothing", "cannot be read"},
		"empty":                 {"", "cannot be read"},
		"of a newer release":    {`{"format":99,"gates":[{}]}`, "newer format"},
		"with an unknown field": {strings.Replace(valid, `"lanes"`, `"lane"`, 1), "unknown field"},
		"with two mistakes":     {twoMistakes, "expected a whole number from 1 to 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			before := store.Current()
			revision := put(t, b, []byte(test.data))
			line := logged.next(t)
			for _, want := range []string{test.want, "level=ERROR", fmt.Sprint("revision=", revision), "the old one stays"} {
				if !strings.Contains(line, want) {
					t.Errorf("the log lacks %q: %s", want, line)
				}
			}
			if strings.Count(line, "\n") != 1 {
				t.Errorf("more than a line: %q", line)
			}
			if store.Current() != before {
				t.Error("the snapshot changed")
			}
			units++
			put(t, b, encode(t, withBuffer(t, int(units))))
			awaitBuffer(t, store, units)
			logged.none(t)
		})
	}
}

func TestWatchKeepsTheOldCatalogOverADeletion(t *testing.T) {
	b := bustest.Start(t)
	publish(t, b, load(t))
	logged, log := newLog()
	store := begin(t.Context(), b, log).wait(t)
	before := store.Current()
	deletion(t, b)
	if line := logged.next(t); !strings.Contains(line, "it was deleted") || store.Current() != before {
		t.Errorf("logged %s, the snapshot changed: %v", line, store.Current() != before)
	}
	publish(t, b, withBuffer(t, 6))
	awaitBuffer(t, store, 6)
}

func TestWatchSurvivesARestartOfTheServer(t *testing.T) {
	server := bustest.NewServer(t)
	b := server.Bus(t)
	publish(t, b, load(t))
	_, log := newLog()
	store := begin(t.Context(), b, log).wait(t)
	before := store.Current()
	changed := store.Changed()
	for units := int64(6); units < 9; units++ {
		server.Restart(t)
		publishWhenItCan(t, b, withBuffer(t, int(units)))
		awaitBuffer(t, store, units)
	}
	select {
	case <-changed:
	default:
		t.Error("the change was not announced")
	}
	if before.StockPools["main"].Spec.Buffer != 5 {
		t.Error("a snapshot that a role holds was changed")
	}
	// Nothing is new after a restart alone, and nobody is told so.
	changed = store.Changed()
	server.Restart(t)
	publishWhenItCan(t, b, withBuffer(t, 8))
	publishWhenItCan(t, b, withBuffer(t, 9))
	select {
	case <-changed:
	case <-time.After(deadline):
		t.Fatalf("no change after %v", deadline)
	}
	if got := store.Current().StockPools["main"].Spec.Buffer; got != 9 {
		t.Errorf("a change was announced with buffer %d, want only 9", got)
	}
}

// publishWhenItCan publishes once the connection is there again.
func publishWhenItCan(t *testing.T, b *bus.Bus, resources []catalog.Resource) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := catalog.Publish(ctx, b, resources...)
		if err == nil {
			return
		}
		if !bus.IsUnavailable(err) {
			t.Fatal(err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("the server does not come back: %v", err)
		}
	}
}

// A role may start before anything is published, and before there is a server.
func TestWatchWaitsForTheFirstCatalog(t *testing.T) {
	server := bustest.NewServer(t)
	b := server.Bus(t)
	server.Stop()
	logged, log := newLog()
	first := begin(t.Context(), b, log)
	server.StartAgain(t)
	for !strings.Contains(logged.next(t), "waiting for a catalog to work by") {
	}
	revision := put(t, b, []byte("garbage"))
	for line := ""; !strings.Contains(line, fmt.Sprint("revision=", revision)); {
		line = logged.next(t)
	}
	select {
	case got := <-first:
		t.Fatalf("it starts without a catalog: %v", got.err)
	default:
	}
	publish(t, b, load(t))
	if store := first.wait(t); store.Current().Revision != revision+1 {
		t.Errorf("revision %d, want %d", store.Current().Revision, revision+1)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	b := bustest.Start(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	_, log := newLog()
	first := begin(ctx, b, log)
	cause := errors.New("enough")
	cancel(cause)
	select {
	case got := <-first:
		if got.store != nil || !errors.Is(got.err, cause) {
			t.Errorf("store %v, error %v, want %v", got.store, got.err, cause)
		}
	case <-time.After(deadline):
		t.Fatal("it goes on")
	}
}

// Of many changes the newest counts, whichever were seen.
func TestWatchEndsAtTheNewest(t *testing.T) {
	b := bustest.Start(t)
	publish(t, b, load(t))
	logged, log := newLog()
	store := begin(t.Context(), b, log).wait(t)
	for units := range 50 {
		put(t, b, encode(t, withBuffer(t, 100+units)))
	}
	awaitBuffer(t, store, 149)
	if data := published(t, b).Data; !bytes.Equal(data, encode(t, withBuffer(t, 149))) {
		t.Errorf("published %s", data)
	}
	logged.none(t)
}
