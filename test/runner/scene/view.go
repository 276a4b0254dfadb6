package scene

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	barWidth = 30
	// recent is the span that the pace is taken over.
	recent = 10 * time.Second
	// liveEvery and plainEvery are how often the line is written.
	liveEvery  = 200 * time.Millisecond
	plainEvery = 5 * time.Second
)

// View shows how far a scene is: on a terminal one line that is written over,
// else a line every few seconds. It is not safe for concurrent use.
type View struct {
	out      io.Writer
	terminal bool
	written  time.Duration
	drawn    bool
	texts    int
	held     int
	down     bool
	samples  []sample
}

// sample is how many calls and orders the ERP had seen at a moment.
type sample struct {
	at         time.Duration
	calls, fed int
}

// NewView returns a view that writes to out.
func NewView(out io.Writer, terminal bool) *View {
	return &View{out: out, terminal: terminal, written: -plainEvery}
}

// Watch is told how far things are and writes what is due.
func (v *View) Watch(p Progress) {
	if p.Down != v.down {
		v.samples = nil // the pace of before says nothing about now
	}
	v.samples = append(v.samples, sample{p.Elapsed, p.Calls, p.Fed})
	v.samples = slices.DeleteFunc(v.samples, func(s sample) bool { return p.Elapsed-s.at > recent })
	v.events(p)
	every := plainEvery
	if v.terminal {
		every = liveEvery
	}
	if p.Elapsed-v.written < every {
		return
	}
	v.written = p.Elapsed
	if v.terminal {
		fmt.Fprintf(v.out, "\r\x1b[K%s", v.line(p))
		v.drawn = true
		return
	}
	fmt.Fprintln(v.out, v.line(p))
}

// events are lines that stay.
func (v *View) events(p Progress) {
	if p.Act != "" {
		v.event(p, p.Act)
	}
	if p.Held > v.held {
		v.event(p, fmt.Sprintf("the WMS refuses an order; the next one does not wait (%d held)", p.Held))
	}
	for _, text := range p.Texts[min(v.texts, len(p.Texts)):] {
		v.event(p, "text: "+text)
	}
	if v.down && !p.Down {
		v.event(p, "the ERP is back")
	}
	v.held, v.texts, v.down = p.Held, len(p.Texts), p.Down
}

func (v *View) event(p Progress, text string) {
	v.clear()
	fmt.Fprintf(v.out, "%s  %s\n", clock(p.Elapsed), text)
}

// clear takes the written-over line away.
func (v *View) clear() {
	if v.drawn {
		fmt.Fprint(v.out, "\r\x1b[K")
		v.drawn = false
	}
}

// End leaves the last line as it is, for what comes after it.
func (v *View) End() {
	if v.drawn {
		fmt.Fprintln(v.out)
		v.drawn = false
	}
}

func (v *View) line(p Progress) string {
	done := p.Fed + p.Held
	filled := min(barWidth*done/max(p.script.Orders, 1), barWidth)
	calls, orders := v.pace()
	eta := "-"
	switch {
	case p.Queue() == 0 && p.Captured > 0:
		eta = "0:00"
	case orders > 0 && p.Queue() > 0 && !p.Down:
		eta = clock(time.Duration(float64(p.Queue()) / orders * float64(time.Minute)))
	}
	line := fmt.Sprintf("%s  [%s%s] captured %d  fed %d  held %d  queue %d  pace %.0f/min  ETA %s  shop shows %d",
		clock(p.Elapsed), strings.Repeat("#", filled), strings.Repeat("-", barWidth-filled),
		p.Captured, p.Fed, p.Held, p.Queue(), calls, eta, p.Shown)
	if p.Down {
		line += "  ERP IN MAINTENANCE"
	}
	return line
}

// pace returns calls and orders a minute at the ERP over the last seconds.
func (v *View) pace() (calls, orders float64) {
	first, last := v.samples[0], v.samples[len(v.samples)-1]
	minutes := (last.at - first.at).Minutes()
	if minutes <= 0 {
		return 0, 0
	}
	return float64(last.calls-first.calls) / minutes, float64(last.fed-first.fed) / minutes
}

func clock(d time.Duration) string {
	seconds := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}
