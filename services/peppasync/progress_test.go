package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/peppasync/internal/importer"
)

func TestProgressText(t *testing.T) {
	now := time.Date(2026, 11, 27, 14, 47, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		progress importer.Progress
		want     string
	}{
		"the beginning": {importer.Progress{Size: 100}, "[------------------------]   0%  0 orders"},
		"the middle": {importer.Progress{Summary: importer.Summary{Orders: 12, Rejected: 1}, Bytes: 60e6, From: 40e6, Size: 100e6, Began: now.Add(-10 * time.Second)},
			"[##############----------]  60%  12 orders, 1 rejected, 2.0 MB/s, 20s left"},
		"nothing is taken": {importer.Progress{Bytes: 1, Size: 2, Waiting: "full"}, "[############------------]  50%  0 orders, waiting: full"},
		"an empty file":    {importer.Progress{}, "[########################] 100%  0 orders"},
	} {
		if got := progressText(test.progress, now); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// A terminal sees one line that changes, a log a line once in a while.
func TestProgressBar(t *testing.T) {
	var terminal, log bytes.Buffer
	live, plain := &progressBar{out: &terminal, live: true}, &progressBar{out: &log}
	for _, bar := range []*progressBar{live, plain} {
		bar.show(importer.Progress{Size: 2})
		bar.show(importer.Progress{Size: 2, Waiting: "the store of the other side is full"})
		bar.show(importer.Progress{Size: 2, Bytes: 2})
		bar.end()
	}
	if text := terminal.String(); strings.Count(text, "\r") != 3 || strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, " \n") {
		t.Errorf("the terminal shows %q", text)
	}
	if text := log.String(); strings.Contains(text, "\r") || strings.Count(text, "\n") != 2 {
		t.Errorf("the log shows %q", text)
	}
}
