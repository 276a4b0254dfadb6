package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
)

// replica is a dispatcher that tells what it is given.
type replica struct {
	dispatcherv1.UnimplementedDispatcherServiceServer
	connectors []*dispatcherv1.Connector
	// reopen answers ReopenConnector.
	reopen func(*dispatcherv1.ReopenConnectorRequest) (*dispatcherv1.ReopenConnectorResponse, error)
}

func (r *replica) ReopenConnector(_ context.Context, asked *dispatcherv1.ReopenConnectorRequest) (*dispatcherv1.ReopenConnectorResponse, error) {
	return r.reopen(asked)
}

func (r *replica) ListConnectors(context.Context, *dispatcherv1.ListConnectorsRequest) (*dispatcherv1.ListConnectorsResponse, error) {
	return &dispatcherv1.ListConnectorsResponse{Connectors: r.connectors}, nil
}

// serve returns where the replica serves.
func (r *replica) serve(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	dispatcherv1.RegisterDispatcherServiceServer(server, r)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return listener.Addr().String()
}

var eight = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)

func in(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(eight.Add(d)) }

func erp() *dispatcherv1.Connector {
	return &dispatcherv1.Connector{
		Name: "erp", State: dispatcherv1.State_STATE_RUNNING, AsOf: in(0), PacePerMinute: 98.97, Waiting: 993,
		Lanes: []*dispatcherv1.Lane{{Name: "express", Weight: 7, Waiting: 3}, {Name: "standard", Weight: 2, Waiting: 990}, {Name: "bulk", Weight: 1}},
		Eta:   in(10 * time.Minute), DrainsIn: durationpb.New(10 * time.Minute),
		Limits: []*dispatcherv1.Limit{
			{Name: "per-minute", Calls: 100, Per: durationpb.New(time.Minute), LargestWindowCount: 100},
			{Name: "parallel", Calls: 15, LargestWindowCount: 7},
		},
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	connectors := []*dispatcherv1.Connector{
		erp(),
		{Name: "shop", State: dispatcherv1.State_STATE_ELSEWHERE, Owner: "dispatcher-1"},
		{
			Name: "warehouse", State: dispatcherv1.State_STATE_DOWN, DownSince: in(-90 * time.Second), Waiting: 5, DrainsIn: durationpb.New(5 * time.Second),
			Limits: []*dispatcherv1.Limit{{Name: "hourly", Calls: 1000, Per: durationpb.New(time.Hour)}},
		},
		{
			Name: "wms", State: dispatcherv1.State_STATE_THROTTLED, ClosedUntil: in(5 * time.Second), PaceShare: 0.585,
			ClosedBecause: "it throttled a call (http-429: slow down.) and asks to wait for 5s",
			Limits:        []*dispatcherv1.Limit{{Name: "per-minute", Calls: 50, Per: durationpb.New(time.Minute), LargestWindowCount: 31, UsedByOthers: 20}},
		},
		{
			Name: "web", State: dispatcherv1.State_STATE_RUNNING,
			Limits: []*dispatcherv1.Limit{
				{Name: "rest", Calls: 40, LargestWindowCount: 31, UsedByOthers: 4, Refill: &dispatcherv1.Refill{Amount: 2, Per: durationpb.New(time.Second)}},
				{Name: "cost", Calls: 2000, LargestWindowCount: 1504, Refill: &dispatcherv1.Refill{Amount: 100, Per: durationpb.New(time.Second), Points: true}},
			},
		},
		{Name: "zoo", State: dispatcherv1.State_STATE_WAITING_FOR_CREDENTIALS},
	}
	if err := writeTable(&out, connectors, eight); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"CONNECTOR  STATE                    LIMIT               PACE      LARGEST           QUEUE                          ETA",
		"erp        running                  per-minute 100 per 1m  99.0/min  100 of 100 in 1m  993 (express 3, standard 990)  10m0s (08:10:00)",
		"                                    parallel 15 at once           7 of 15 at once",
		"shop       fed by dispatcher-1      -                   -         -                 0                              -",
		"warehouse  down since 1m30s         hourly 1000 per 1h  -         0 of 1000 in 1h   5                              5s once it goes on",
		"wms        throttled for 5s         per-minute 50 per 1m  - at 58%  31 of 50 in 1m, others 20  0                   -",
		"web        running                  rest 40, 2 per 1s     -         31 of 40, 9 left, others 4  0                            -",
		"                                    cost 2000 points, 100 per 1s    1504 of 2000, 496 left",
		"zoo        waiting for credentials  -                   -         -                 0                              -",
		"",
		"wms is closed until 2026-11-27 08:00:05: it throttled a call (http-429: slow down.) and asks to wait for 5s.",
		"To open it now: peppasync connectors reopen wms --server ADDR --reason TEXT",
	}, "\n")
	if diff := cmp.Diff(fields(want), fields(out.String())); diff != "" {
		t.Errorf("-want +got:\n%s\n%s", diff, out.String())
	}
}

// fields leaves out how wide columns are.
func fields(text string) [][]string {
	var lines [][]string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

func TestConnectorsOfAllReplicas(t *testing.T) {
	one := &replica{connectors: []*dispatcherv1.Connector{
		erp(), {Name: "wms", State: dispatcherv1.State_STATE_ELSEWHERE, Owner: "two", AsOf: in(time.Hour)},
	}}
	two := &replica{connectors: []*dispatcherv1.Connector{
		{Name: "erp", State: dispatcherv1.State_STATE_STARTING, AsOf: in(time.Hour)},
		{Name: "wms", State: dispatcherv1.State_STATE_PAUSED, Owner: "two", AsOf: in(0), Waiting: 4},
	}}
	servers := one.serve(t) + "," + two.serve(t) + ",127.0.0.1:1"
	out, err := execute(t.Context(), "connectors", "--server", servers, "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	problem, document, _ := strings.Cut(out, "\n")
	if !strings.Contains(problem, "the dispatcher at 127.0.0.1:1: ") {
		t.Errorf("of the replica that is away it says %q", problem)
	}
	var got struct {
		Connectors []struct{ Name, State, Waiting string }
	}
	if err := yaml.Unmarshal([]byte(document), &got); err != nil {
		t.Fatalf("%v in:\n%s", err, document)
	}
	if len(got.Connectors) != 2 || got.Connectors[0].State != "STATE_RUNNING" || got.Connectors[1].State != "STATE_PAUSED" || got.Connectors[1].Waiting != "4" {
		t.Errorf("got %+v from:\n%s", got, document)
	}
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"nobody there":     {[]string{"--server", "127.0.0.1:1"}, "the dispatcher at 127.0.0.1:1: "},
		"no address":       {[]string{"--server", "here"}, `--server is "here", it must be a host and a port`},
		"no such format":   {[]string{"-o", "xml"}, `--output is "xml", it must be table, json or yaml`},
		"more than a name": {[]string{"a", "b"}, "accepts at most 1 arg"},
	} {
		if out, err := execute(t.Context(), append([]string{"connectors"}, c.arguments...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q\n%s", name, err, c.want, out)
		}
	}
}

func TestWatchGoesOnUntilInterrupted(t *testing.T) {
	r := &replica{connectors: []*dispatcherv1.Connector{erp()}}
	ctx, stop := context.WithCancel(t.Context())
	tables := &counting{want: 2, done: stop}
	command := newCommand()
	command.SetArgs([]string{"connectors", "--server", r.serve(t), "--watch"})
	command.SetOut(tables)
	if err := command.ExecuteContext(ctx); err != nil || tables.seen < 2 {
		t.Errorf("%d tables, then %v", tables.seen, err)
	}
}

// counting counts tables and calls done when there are enough.
type counting struct {
	seen, want int
	done       func()
}

func (c *counting) Write(p []byte) (int, error) {
	if c.seen += bytes.Count(p, []byte("CONNECTOR")); c.seen >= c.want {
		c.done()
	}
	return len(p), nil
}

// The all-in-one tells about its connectors, to people and to Prometheus.
func TestUpTellsAboutItsConnectors(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready.json")
	ctx, stop := context.WithCancel(t.Context())
	log, written := io.Pipe()
	metrics := make(chan string, 1)
	go findMetrics(log, metrics)
	ended := make(chan error, 1)
	go func() {
		command := newCommand()
		command.SetArgs([]string{
			"up", "-f", demo, "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--ready-file", ready,
			"--grpc-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--log-format", "json",
		})
		command.SetErr(written)
		err := command.ExecuteContext(ctx)
		_ = written.Close()
		ended <- err
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var at addresses
	awaitReady(t, ready, &at)
	late := time.After(20 * time.Second)
	for {
		out, err := execute(ctx, "connectors", "--server", at.GRPC, "-o", "json")
		if err != nil {
			t.Fatal(err)
		}
		var told struct {
			Connectors []struct{ Name, State string }
		}
		if err := json.Unmarshal([]byte(out), &told); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		running := 0
		for _, c := range told.Connectors {
			if c.State != "STATE_STARTING" {
				running++
			}
		}
		if running == 4 {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-late:
			t.Fatalf("it says %s", out)
		}
	}
	response, err := http.Get(<-metrics)
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if err != nil || !strings.Contains(string(page), `peppasync_connector_state{connector="wms"`) {
		t.Errorf("%v, metrics are:\n%s", err, page)
	}
}

// findMetrics looks in a log for where metrics are.
func findMetrics(log io.Reader, found chan<- string) {
	decoder := json.NewDecoder(log)
	for {
		var line struct{ Metrics string }
		if decoder.Decode(&line) != nil {
			_, _ = io.Copy(io.Discard, log)
			return
		}
		if line.Metrics != "" {
			found <- line.Metrics
		}
	}
}

// awaitReady waits for a ready file and reads it.
func awaitReady(t *testing.T, file string, into *addresses) {
	t.Helper()
	late := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if data, err := os.ReadFile(file); err == nil {
			if err := json.Unmarshal(data, into); err != nil {
				t.Fatal(err)
			}
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("not ready")
		}
	}
}
