package telemetry

import (
	"io"
	"log/slog"
	"strings"
)

// NewLogger returns a logger that writes one line per record to w: JSON where
// format is "json", else text.
func NewLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if strings.EqualFold(format, "json") {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
