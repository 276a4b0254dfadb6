package scene

import (
	"strings"
	"testing"
	"time"
)

func watched(terminal bool) string {
	var out strings.Builder
	v := NewView(&out, terminal)
	for i := range 121 { // 12 s at 1,000 calls a minute
		at := time.Duration(i) * tick
		p := Progress{Elapsed: at, Captured: 1000, Fed: i * 5 / 3, Calls: i * 5 / 3, Shown: 1000, script: Saturday()}
		if i == 0 {
			p.Act = "the burst begins"
		}
		if i >= 60 {
			p.Held, p.Texts = 1, []string{"order #500 is held"}
		}
		v.Watch(p)
	}
	v.End()
	return out.String()
}

func TestPlainViewHasALineEveryFewSeconds(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(watched(false)), "\n")
	if len(lines) != 6 {
		t.Fatalf("%d lines, want 3 events and 3 of progress:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	for i, want := range []string{"the burst begins", "captured 1000", "fed 83", "refuses an order", "text: order #500", "queue 833"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d is %q, want it to contain %q", i, lines[i], want)
		}
	}
	for _, want := range []string{"[#####----", "fed 166  held 1", "pace 996/min", "ETA 0:50"} {
		if !strings.Contains(lines[5], want) {
			t.Errorf("the last line is %q, want it to contain %q", lines[5], want)
		}
	}
}

func TestLiveViewWritesOneLineOver(t *testing.T) {
	shown := watched(true)
	if n := strings.Count(shown, "\n"); n != 4 {
		t.Errorf("%d line ends, want 3 for events and 1 at the end", n)
	}
	if n := strings.Count(shown, "\r\x1b[K0:"); n < 55 {
		t.Errorf("the line is written over %d times, want 5 times a second for 12 s", n)
	}
}
