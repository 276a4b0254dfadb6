package cluster_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// row is a line of kubectl about one Connector.
type row struct{ pace, queue, eta string }

// columns are at least three blanks apart, and some have single ones in them.
var columns = regexp.MustCompile(`\s{3,}`)

// lines takes what a program prints; it is asked for while the program runs.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// watches has "kubectl get connectors -w" run from now on. What it returns judges the lines
// and ends it.
func (s *scene) watches(t *testing.T) func(t *testing.T) {
	t.Helper()
	var printed lines
	watch := s.node.KubectlCommand(t.Context(), "get", "connectors", "-n", "orders", "-w")
	watch.Stdout, watch.Stderr = &printed, &printed
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	ended := sync.OnceFunc(func() {
		_ = watch.Process.Kill() // it never ends by itself
		_ = watch.Wait()
	})
	t.Cleanup(ended)
	return func(t *testing.T) {
		t.Helper()
		var rows []row
		s.becomes(t, "kubectl says that nothing waits at the ERP any more", time.Minute, func() (bool, string) {
			rows = rowsOf(printed.String(), "netsuite")
			return len(rows) > 0 && rows[len(rows)-1].queue == "0", fmt.Sprint(rows[max(0, len(rows)-3):])
		})
		ended()
		judgeRows(t, printed.String(), rows)
	}
}

func rowsOf(printed, connector string) []row {
	var rows []row
	for line := range strings.Lines(printed) {
		if c := columns.Split(strings.TrimSpace(line), -1); len(c) == 9 && c[0] == connector {
			rows = append(rows, row{pace: c[3], queue: c[4], eta: c[6]})
		}
	}
	return rows
}

// judgeRows wants what a person looks for: a queue that is filled and drained, a pace, and an
// ETA that comes nearer.
func judgeRows(t *testing.T, printed string, rows []row) {
	t.Helper()
	head, _, _ := strings.Cut(printed, "\n")
	if got := strings.Join(strings.Fields(head), " "); got != "NAME SYSTEM LIMIT PACE QUEUE HELD ETA READY AGE" {
		t.Errorf("columns %s", got)
	}
	paces, queues, etas := map[string]bool{}, map[string]bool{}, map[string]bool{}
	largest, falls := 0, 0
	var before int
	for _, r := range rows {
		if strings.HasSuffix(r.pace, "/min") {
			paces[r.pace] = true
		}
		if r.eta != "-" {
			etas[r.eta] = true
		}
		queues[r.queue] = true
		waiting, err := strconv.Atoi(r.queue)
		if err != nil {
			t.Errorf("a queue of %q", r.queue)
		}
		if waiting < before {
			falls++
		}
		before, largest = waiting, max(largest, waiting)
	}
	t.Logf("kubectl get connectors -w printed %d lines about netsuite: %d paces, %d queues up to %d that fell %d times, %d ETAs",
		len(rows), len(paces), len(queues), largest, falls, len(etas))
	const atLeast = 5
	if len(paces) < atLeast || len(queues) < atLeast || falls < atLeast || len(etas) < atLeast || largest < judged/10 {
		t.Errorf("pace, queue and ETA of netsuite hardly move:\n%s", printed)
	}
}
