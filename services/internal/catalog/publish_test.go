package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

const (
	// deadline is for what a slow machine may take.
	deadline = 30 * time.Second
	// key is where the document lies; a test that needs to know it says so.
	key = "current"
)

func publish(t *testing.T, b *bus.Bus, resources []catalog.Resource) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := catalog.Publish(ctx, b, resources...); err != nil {
		t.Fatal(err)
	}
}

// published returns the document that the roles work by.
func published(t *testing.T, b *bus.Bus) bus.Record {
	t.Helper()
	record, err := b.Get(t.Context(), bus.BucketCatalog, key)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func put(t *testing.T, b *bus.Bus, data []byte) uint64 {
	t.Helper()
	revision, err := b.Put(t.Context(), bus.BucketCatalog, key, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// deletion is what other tools of the bus do to a key.
func deletion(t *testing.T, b *bus.Bus) {
	t.Helper()
	message := bus.Message{Subject: bus.KeyValueSubject(bus.BucketCatalog, key), Header: map[string]string{"KV-Operation": "DEL"}}
	if _, err := b.Publish(t.Context(), message); err != nil {
		t.Fatal(err)
	}
}

// withBuffer returns a configuration that differs by one figure.
func withBuffer(t *testing.T, units int) []catalog.Resource {
	t.Helper()
	return load(t, edit{"stock.yaml", "buffer: 5", fmt.Sprint("buffer: ", units)})
}

func TestPublishWritesWhatIsNewAndNothingElse(t *testing.T) {
	b := bustest.Start(t)
	publish(t, b, load(t))
	first := published(t, b)
	if want := encode(t, load(t)); !bytes.Equal(first.Data, want) {
		t.Errorf("published %s, want %s", first.Data, want)
	}
	publish(t, b, load(t, edit{"erp.yaml", "spec:", "# a comment\nspec:"}))
	if again := published(t, b); again.Sequence != first.Sequence {
		t.Errorf("the same again makes revision %d of %d", again.Sequence, first.Sequence)
	}
	publish(t, b, withBuffer(t, 6))
	if changed := published(t, b); changed.Sequence <= first.Sequence || bytes.Equal(changed.Data, first.Data) {
		t.Errorf("a change leaves revision %d as it is", changed.Sequence)
	}
}

// Each writer's document is there as a whole, one after the other.
func TestTwoWritersDoNotMixTheirDocuments(t *testing.T) {
	b := bustest.Start(t)
	revisions := uint64(0)
	for round := range 20 {
		var writers sync.WaitGroup
		for _, resources := range [][]catalog.Resource{withBuffer(t, 10+round), withBuffer(t, 100+round)} {
			writers.Go(func() {
				if err := catalog.Publish(t.Context(), b, resources...); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		writers.Wait()
		record := published(t, b)
		if first, second := encode(t, withBuffer(t, 10+round)), encode(t, withBuffer(t, 100+round)); !bytes.Equal(record.Data, first) && !bytes.Equal(record.Data, second) {
			t.Fatalf("round %d: what is published is nobody's: %s", round, record.Data)
		}
		if record.Sequence != revisions+2 {
			t.Fatalf("round %d: revision %d follows %d, want one more for each writer", round, record.Sequence, revisions)
		}
		revisions = record.Sequence
	}
}

// Who has been overtaken replaces nothing, whether what is there now differs or was
// deleted; who has seen what is there does.
func TestAnEditionIsReplacedOnlyByWhoHasSeenIt(t *testing.T) {
	b := bustest.Start(t)
	read := func() catalog.Edition {
		t.Helper()
		e, err := catalog.Read(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	replace := func(e catalog.Edition, units int) error { return e.Replace(t.Context(), b, withBuffer(t, units)...) }
	nothing := read()
	if len(nothing.Resources) != 0 {
		t.Errorf("nothing is published, and it reads %d resources", len(nothing.Resources))
	}
	if err := replace(nothing, 6); err != nil {
		t.Fatal(err)
	}
	if err := replace(nothing, 7); !errors.Is(err, catalog.ErrReplaced) {
		t.Errorf("over what was not there any more: %v", err)
	}
	first, overtaken := read(), read()
	if err := replace(first, 7); err != nil {
		t.Fatal(err)
	}
	if err := replace(overtaken, 8); !errors.Is(err, catalog.ErrReplaced) {
		t.Errorf("one that was overtaken: %v", err)
	}
	if want := encode(t, withBuffer(t, 7)); !bytes.Equal(published(t, b).Data, want) {
		t.Error("an older one was put in the place of a newer")
	}
	before := published(t, b).Sequence
	if err := replace(read(), 7); err != nil || published(t, b).Sequence != before {
		t.Errorf("the same again: %v, revision %d after %d", err, published(t, b).Sequence, before)
	}
}

func TestPublishRefusesToReplaceANewerReleases(t *testing.T) {
	b := bustest.Start(t)
	newer := []byte(`{"format":2,"gates":[]}`)
	put(t, b, newer)
	err := catalog.Publish(t.Context(), b, load(t)...)
	if !errors.Is(err, catalog.ErrNewerFormat) || !strings.Contains(err.Error(), "publish with the newer release") {
		t.Errorf("error %v", err)
	}
	if record := published(t, b); !bytes.Equal(record.Data, newer) {
		t.Errorf("it is replaced by %s", record.Data)
	}
	// What nobody can read helps nobody, and is mended by publishing.
	put(t, b, []byte("\x00garbage"))
	publish(t, b, load(t))
	if record := published(t, b); !bytes.Equal(record.Data, encode(t, load(t))) {
		t.Errorf("garbage stays: %s", record.Data)
	}
}

// Whichever comes first, the newer release's document is there in the end: what
// was read before it was written must not be written over it.
func TestPublishNeverOverwritesWhatItHasNotRead(t *testing.T) {
	b := bustest.Start(t)
	ours, newer := [][]catalog.Resource{withBuffer(t, 1), withBuffer(t, 2)}, []byte(`{"format":2}`)
	before := encode(t, load(t))
	for round := range 200 {
		put(t, b, before)
		var writers sync.WaitGroup
		for _, resources := range ours {
			writers.Go(func() {
				if err := catalog.Publish(t.Context(), b, resources...); err != nil && !errors.Is(err, catalog.ErrNewerFormat) {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		put(t, b, newer)
		writers.Wait()
		if record := published(t, b); !bytes.Equal(record.Data, newer) {
			t.Fatalf("round %d: the newer release's document was overwritten by %s", round, record.Data)
		}
	}
}

func TestPublishAfterADeletion(t *testing.T) {
	b := bustest.Start(t)
	publish(t, b, load(t))
	deletion(t, b)
	if _, err := b.Get(t.Context(), bus.BucketCatalog, key); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("error %v, want that it is gone", err)
	}
	publish(t, b, load(t))
	published(t, b)
}

func TestPublishSaysWhenTheBusIsAway(t *testing.T) {
	server := bustest.NewServer(t)
	b := server.Bus(t)
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := catalog.Publish(ctx, b, load(t)...); !bus.IsUnavailable(err) {
		t.Errorf("error %v, want unavailable", err)
	}
}
