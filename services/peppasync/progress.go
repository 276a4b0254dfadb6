package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/peppasync/internal/importer"
)

const (
	// A terminal gets a bar that moves, a log a line once in a while.
	barEvery, lineEvery = 100 * time.Millisecond, 10 * time.Second
	barWidth            = 24
)

// progressBar shows how far an import came.
type progressBar struct {
	out  io.Writer
	live bool

	shown   time.Time
	waiting string
	width   int
}

func (b *progressBar) show(p importer.Progress) {
	every := lineEvery
	if b.live {
		every = barEvery
	}
	now := time.Now()
	if b.shown.IsZero() && !b.live {
		b.shown = now // a short one says nothing but its end
	}
	if now.Sub(b.shown) < every && p.Waiting == b.waiting {
		return
	}
	b.shown, b.waiting = now, p.Waiting
	text := progressText(p, now)
	if !b.live {
		_, _ = fmt.Fprintln(b.out, text) // nobody is left to tell
		return
	}
	_, _ = fmt.Fprintf(b.out, "\r%s%s", text, strings.Repeat(" ", max(0, b.width-len(text))))
	b.width = len(text)
}

// end leaves the bar as it is.
func (b *progressBar) end() {
	if b.live && b.width > 0 {
		_, _ = fmt.Fprintln(b.out)
	}
}

// progressText is one line: a bar, how many orders, how fast, and how long it will take.
func progressText(p importer.Progress, now time.Time) string {
	share := 1.0
	if p.Size > 0 {
		share = min(1, float64(p.Bytes)/float64(p.Size))
	}
	full := int(share * barWidth)
	text := fmt.Sprintf("[%s%s] %3.0f%%  %d orders", strings.Repeat("#", full), strings.Repeat("-", barWidth-full), 100*share, p.Orders)
	if p.Rejected > 0 {
		text += fmt.Sprintf(", %d rejected", p.Rejected)
	}
	if p.Waiting != "" {
		return text + ", waiting: " + p.Waiting
	}
	if done, took := p.Bytes-p.From, now.Sub(p.Began); done > 0 && took > 0 {
		left := time.Duration(float64(took) * float64(p.Size-p.Bytes) / float64(done))
		text += fmt.Sprintf(", %.1f MB/s, %s left", float64(done)/1e6/took.Seconds(), left.Round(time.Second))
	}
	return text
}
