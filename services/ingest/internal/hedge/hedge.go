// Package hedge has a pack written by the first of several shards that does so: one
// that is silent, as a stream is that has lost its leader, is not waited for. A pack
// may be written more than once then. The package knows nothing of where packs go.
package hedge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Options of New. All but Silent are required.
type Options struct {
	Shards int
	// After is how long a shard may be silent until another is asked too.
	After time.Duration
	// Aside is how long a shard that was silent or failed is asked after the others:
	// one pack each time finds out whether it is back, and waits After for that.
	Aside time.Duration
	// Outage is how long packs wait for the end of an outage in which every shard
	// fails, from its begin on: long enough to connect to another server. Later they
	// fail at once, so that nobody is kept waiting for what is not there.
	Outage time.Duration
	// Write stores a pack in a shard and returns once it is durable, or ctx is done.
	Write func(ctx context.Context, shard int, pack []byte) error
	// Passing reports whether an error may be over in a moment.
	Passing func(error) bool
	// Late is told of each shard that is put aside.
	Late func(shard int)
	// Silent is called beside a write for which every shard that was asked is silent:
	// what they share may hang. It is not called again before it returns.
	Silent func(ctx context.Context)
}

// Hedge writes packs. It is safe for concurrent use.
type Hedge struct {
	options Options

	mu sync.Mutex
	// aside is until when each shard is asked after the others.
	aside []time.Time
	// outage is since when every shard fails, zero while one works.
	outage time.Time
	asking bool
}

// New returns a hedge.
func New(o Options) (*Hedge, error) {
	if o.Shards < 1 || o.After <= 0 || o.Aside <= 0 || o.Outage <= 0 || o.Write == nil || o.Passing == nil || o.Late == nil || o.Silent == nil {
		return nil, errors.New("hedge: all options are required, and positive")
	}
	return &Hedge{options: o, aside: make([]time.Time, o.Shards)}, nil
}

// outcome is how one shard's write ended.
type outcome struct {
	shard int
	err   error
}

// try is one pack on its way.
type try struct {
	hedge    *Hedge
	pack     []byte
	outcomes chan outcome
	// left are the shards that are still to be asked, the best first; open those that
	// were asked and have not answered.
	left, open []int
	last       time.Time // when one was asked
	again      bool      // all were asked a second time though the first is open
}

// Write returns nil once a shard has the pack, which is home where that answers in
// time. Every shard is asked at most once, and again only after all have failed, or once
// where none answers for as long as an outage may take. After
// an error the pack may be stored all the same. Nobody uses the pack after it returned.
func (h *Hedge) Write(ctx context.Context, home int, pack []byte) error {
	writing, cancel := context.WithCancel(ctx)
	t := &try{hedge: h, pack: pack, outcomes: make(chan outcome), left: h.order(home)}
	var beside sync.WaitGroup
	defer func() {
		cancel()
		for range t.open {
			if last := <-t.outcomes; last.err == nil {
				h.wrote(last.shard)
			}
		}
		beside.Wait()
	}()
	t.put(writing)
	tick := time.NewTicker(h.options.After)
	defer tick.Stop()
	for {
		select {
		case o := <-t.outcomes:
			if done, err := t.take(writing, o); done {
				return err
			}
		case <-tick.C:
			switch {
			case len(t.open) == 0:
				t.left = h.order(home) // all have failed: again
			case len(t.left) == 0 && !t.again && time.Since(t.last) >= h.options.Outage:
				// What answers a request is lost with the connection on which it was asked,
				// also where the pack is stored, and that may be another one by now.
				t.left, t.again = h.order(home), true
			}
			if h.silent(t.open, time.Since(t.last)) {
				beside.Go(func() {
					h.options.Silent(writing)
					h.asked()
				})
			}
			if h.worth(t.left, time.Since(t.last)) {
				t.put(writing)
			}
		case <-ctx.Done():
			return fmt.Errorf("no shard acknowledged in time: %w", context.Cause(ctx))
		}
	}
}

// put asks the next shard.
func (t *try) put(ctx context.Context) {
	shard := t.left[0]
	t.left, t.open, t.last = t.left[1:], append(t.open, shard), time.Now()
	go func() { t.outcomes <- outcome{shard, t.hedge.options.Write(ctx, shard, t.pack)} }()
}

// take reports whether the pack's outcome is known by now.
func (t *try) take(ctx context.Context, o outcome) (bool, error) {
	for i, shard := range t.open {
		if shard == o.shard {
			t.open = append(t.open[:i], t.open[i+1:]...)
			break
		}
	}
	if o.err == nil {
		t.hedge.wrote(o.shard)
		return true, nil
	}
	if ctx.Err() != nil {
		return true, o.err
	}
	passing := t.hedge.options.Passing(o.err)
	if passing {
		t.hedge.putAside(o.shard)
	}
	switch {
	case len(t.left) > 0:
		t.put(ctx)
	case len(t.open) > 0:
		// Others may still have it.
	case !passing || !t.hedge.waits():
		return true, o.err
	}
	return false, nil
}

// order returns all shards, home first and the others behind it, those that are aside
// last.
func (h *Hedge) order(home int) []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	var ready, aside []int
	for i := range h.options.Shards {
		shard := (home + i) % h.options.Shards
		if now.Before(h.aside[shard]) {
			aside = append(aside, shard)
		} else {
			ready = append(ready, shard)
		}
	}
	return append(ready, aside...)
}

// silent puts aside the shards that have not answered in time, and reports whether it
// is to be found out why nobody answers.
func (h *Hedge) silent(open []int, since time.Duration) bool {
	if since < h.options.After {
		return false
	}
	for _, shard := range open {
		h.putAside(shard)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(open) == 0 || h.asking {
		return false
	}
	h.asking = true
	return true
}

func (h *Hedge) asked() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asking = false
}

// worth reports whether the next shard is to be asked. One that is aside, as all are
// on a disk that stalls, would only have more to write: it is asked when the others
// were given as much time as it is aside.
func (h *Hedge) worth(left []int, since time.Duration) bool {
	if len(left) == 0 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return since >= h.options.Aside || !time.Now().Before(h.aside[left[0]])
}

func (h *Hedge) putAside(shard int) {
	h.mu.Lock()
	now := time.Now()
	isNew := !now.Before(h.aside[shard])
	if isNew {
		h.aside[shard] = now.Add(h.options.Aside)
	}
	h.mu.Unlock()
	if isNew {
		h.options.Late(shard)
	}
}

func (h *Hedge) wrote(shard int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.aside[shard], h.outage = time.Time{}, time.Time{}
}

// waits reports whether an outage of all shards is so new that it may be over soon.
// None is put aside then for what befell all.
func (h *Hedge) waits() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.outage.IsZero() {
		h.outage = now
	}
	clear(h.aside)
	return now.Sub(h.outage) < h.options.Outage
}
