// Package progress tells a person what takes long, and says nothing of what does not.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// patience is how long a step may take before it is spoken of.
	patience = 2 * time.Second
	// reminder is the time between two lines about one step.
	reminder = 15 * time.Second
)

// Log writes a line about each step that takes over two seconds. Steps may run side by side.
type Log struct {
	mu  sync.Mutex
	out io.Writer
}

// New returns a log that writes to out; nil discards.
func New(out io.Writer) *Log {
	if out == nil {
		out = io.Discard
	}
	return &Log{out: out}
}

// Sayf writes one line.
func (l *Log) Sayf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}

// Do runs a step, and returns its error with the step's name before it.
func (l *Log) Do(what string, step func() error) error {
	begin := time.Now()
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		l.watch(what, begin, ended)
	}()
	err := step()
	close(ended)
	<-watched
	took := time.Since(begin)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case took > patience:
		l.Sayf("%s: done in %.1f s", what, took.Seconds())
	}
	return nil
}

func (l *Log) watch(what string, begin time.Time, ended <-chan struct{}) {
	next := time.NewTimer(patience)
	defer next.Stop()
	for {
		select {
		case <-ended:
			return
		case <-next.C:
			l.Sayf("%s: %.0f s so far", what, time.Since(begin).Seconds())
			next.Reset(reminder)
		}
	}
}
