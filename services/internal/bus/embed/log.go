package embed

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// logAdapter writes the server's log to slog: its notices are details here, its
// warnings and errors stay what they are.
type logAdapter struct {
	log *slog.Logger

	mu        sync.Mutex
	lastFatal string
}

func newLogAdapter(log *slog.Logger) *logAdapter {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &logAdapter{log: log.With("component", "nats-server")}
}

// fatal returns what the server could not go on with, or "".
func (a *logAdapter) fatal() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lastFatal
}

func (a *logAdapter) Noticef(format string, v ...any) { a.write(slog.LevelDebug, format, v) }
func (a *logAdapter) Warnf(format string, v ...any)   { a.write(slog.LevelWarn, format, v) }
func (a *logAdapter) Errorf(format string, v ...any)  { a.write(slog.LevelError, format, v) }
func (a *logAdapter) Debugf(string, ...any)           {}
func (a *logAdapter) Tracef(string, ...any)           {}

func (a *logAdapter) Fatalf(format string, v ...any) {
	a.mu.Lock()
	a.lastFatal = fmt.Sprintf(format, v...)
	a.mu.Unlock()
	a.write(slog.LevelError, format, v)
}

func (a *logAdapter) write(level slog.Level, format string, v []any) {
	a.log.Log(context.Background(), level, fmt.Sprintf(format, v...)) //nolint:sloglint // the words are the server's
}
