package up

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// republishEvery is how often an edit is tried again that could not be published,
// because the disk is full, say.
const republishEvery = 2 * time.Second

// files takes what the folder says to the catalog.
type files struct {
	bus *bus.Bus
	log *slog.Logger
	// edits holds the newest edit that is not taken up yet. One goroutine sends.
	edits chan []catalog.Resource
	// published is the document of the last publication that succeeded, for the
	// log alone: one that failed may have been stored all the same. It belongs to
	// whoever publishes.
	published []byte
	// advised is the document of which was said what may be a mistake in it. It belongs to
	// whoever calls take.
	advised []byte
}

func newFiles(b *bus.Bus, log *slog.Logger) *files {
	return &files{bus: b, log: log, edits: make(chan []catalog.Resource, 1)}
}

func (f *files) publish(ctx context.Context, resources []catalog.Resource) error {
	document, err := catalog.Encode(resources)
	if err != nil {
		return err
	}
	if err := catalog.Publish(ctx, f.bus, resources...); err != nil {
		return err
	}
	if f.published != nil && !bytes.Equal(document, f.published) {
		f.log.InfoContext(ctx, "the edited configuration is taken", "resources", len(resources))
	}
	f.published = document
	return nil
}

// take takes an edited folder in, or says what is wrong with it and keeps what
// was there. One goroutine calls it.
func (f *files) take(ctx context.Context, resources []catalog.Resource, problems catalog.Problems) {
	problems = withCompiled(resources, problems)
	for _, problem := range problems {
		f.log.ErrorContext(ctx, "the edited configuration is not taken; the old one stays", "problem", problem.Error())
	}
	if len(problems) > 0 {
		return
	}
	f.advise(ctx, resources)
	select {
	case <-f.edits: // a newer one takes its place
	default:
	}
	f.edits <- resources
}

// advise says what may be a mistake in resources that are taken, once for each change of
// them: the folder is read again also where nothing has changed.
func (f *files) advise(ctx context.Context, resources []catalog.Resource) {
	document, err := catalog.Encode(resources)
	if err != nil || bytes.Equal(document, f.advised) {
		return // publish tells of the error
	}
	f.advised = document
	for _, advice := range catalog.Advice(resources, systems.Set()) {
		f.log.WarnContext(ctx, "the configuration is taken, but may have a mistake in it", "advice", advice.Error())
	}
}

// run publishes what was taken until ctx is done: an edit that does not get
// through is tried until it does, or another takes its place.
func (f *files) run(ctx context.Context) {
	var pending []catalog.Resource
	failing := false
	tick := time.NewTicker(republishEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case pending = <-f.edits:
		case <-tick.C:
			if pending == nil {
				continue
			}
		}
		err := f.publish(ctx, pending)
		switch {
		case err == nil:
			pending, failing = nil, false
		case ctx.Err() == nil && !failing:
			failing = true
			f.log.ErrorContext(ctx, "the configuration could not be published and is tried again until it is; the old one stays meanwhile", "error", err)
		}
	}
}
