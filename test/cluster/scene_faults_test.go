package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// readiness is what a resource says of itself.
	readiness = `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].reason} {.status.conditions[?(@.type=="Ready")].message}`
	// unwatched is a stream that nobody works by, from which copies may be taken.
	unwatched = "JOURNAL"
)

// natsServers are the pods of the StatefulSet.
var natsServers = []string{"peppasync-nats-0", "peppasync-nats-1", "peppasync-nats-2"}

// owes has so many orders under way that could be lost, and goes on selling for a while.
func (s *scene) owes(t *testing.T) {
	t.Helper()
	if waiting := s.sold - 1 - s.report(t).Fed; waiting < more {
		s.sells(t, more-waiting, "--wait")
	}
	t.Logf("%d of %d orders are fed, and the shop sells on", s.report(t).Fed, s.sold)
	s.sells(t, more/10, "--over", "10s")
}

// natsStream is how a server sees a stream.
type natsStream struct {
	Name    string
	Cluster struct {
		Leader   string
		Replicas []struct {
			Name    string
			Current bool
		}
	}
}

// streams asks a server's monitoring, past all Services, which know only those that are ready.
func (s *scene) streams(t *testing.T, pod string) ([]natsStream, error) {
	t.Helper()
	address := kubectl(t, s.node, "get", "pod", pod, "-n", "orders", "-o", "jsonpath={.status.podIP}")
	transport := &http.Transport{DialContext: s.node.Dial}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(address, "8222")+"/jsz?accounts=1&streams=1", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var seen struct {
		Accounts []struct {
			Streams []natsStream `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := json.NewDecoder(response.Body).Decode(&seen); err != nil {
		return nil, err
	}
	if len(seen.Accounts) != 1 {
		return nil, fmt.Errorf("%s has %d accounts", pod, len(seen.Accounts))
	}
	return seen.Accounts[0].Streams, nil
}

// leader returns the server that leads a stream.
func (s *scene) leader(t *testing.T, stream string) string {
	t.Helper()
	var leader string
	s.becomes(t, stream+" has a leader", wait, func() (bool, string) {
		all, err := s.streams(t, natsServers[0])
		if err != nil {
			return false, err.Error()
		}
		i := slices.IndexFunc(all, func(one natsStream) bool { return one.Name == stream })
		if i < 0 {
			return false, fmt.Sprintf("%d streams", len(all))
		}
		leader = all[i].Cluster.Leader
		return slices.Contains(natsServers, leader), leader
	})
	return leader
}

// server is a pod of NATS.
type server struct {
	name, uid string
	restarts  int
	ready     bool
}

// server says how a pod of NATS is; one that is not there has no UID.
func (s *scene) server(t *testing.T, name string) server {
	t.Helper()
	found := server{name: name}
	said, err := s.node.Kubectl(t.Context(), "get", "pod", name, "-n", "orders", "-o",
		"jsonpath={.metadata.uid} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}")
	if err == nil {
		_, _ = fmt.Sscan(said, &found.uid, &found.restarts, &found.ready) // a new one has no container yet
	}
	return found
}

// comesAgain waits until other pods have taken the places of those that were deleted. One that
// is about to end is ready still, so that readiness alone says nothing.
func (s *scene) comesAgain(t *testing.T, deleted ...server) {
	t.Helper()
	for _, before := range deleted {
		s.becomes(t, before.name+" has come again", 5*time.Minute, func() (bool, string) {
			now := s.server(t, before.name)
			return now.uid != "" && now.uid != before.uid && now.ready, fmt.Sprintf("%+v, %+v before", now, before)
		})
	}
}

// losesAServer kills the server that leads the ledger, so that the ERP is not fed before
// there is another, as a node that loses its power does.
func (s *scene) losesAServer(t *testing.T) {
	s.owes(t)
	leader := s.leader(t, "LEDGER")
	pod := s.server(t, leader)
	before, begin := s.report(t).Fed, time.Now()
	if err := s.node.Kill(pod.uid, "/bin/nats-server"); err != nil {
		t.Fatal(err)
	}
	s.becomes(t, leader+" was started again and is ready", wait, func() (bool, string) {
		now := s.server(t, leader)
		return now.restarts > pod.restarts && now.ready, fmt.Sprintf("%+v, %+v before", now, pod)
	})
	t.Logf("%s is back after %.1f s", leader, time.Since(begin).Seconds())
	s.becomes(t, "the ERP is fed again", time.Minute, func() (bool, string) {
		fed := s.report(t).Fed
		return fed > before+20, fmt.Sprintf("%d orders, %d when it was killed", fed, before)
	})
}

// isUpgraded brings the release that was installed with the first release's values to those of
// today, while the shop sells: every Deployment rolls, and NATS server by server, because its
// pods change too. The operator makes three copies again of what has fewer.
func (s *scene) isUpgraded(t *testing.T) {
	s.owes(t)
	var before []server
	for _, name := range natsServers {
		before = append(before, s.server(t, name))
	}
	begin, sold := time.Now(), s.sold
	ended := make(chan error, 1)
	go func() {
		_, err := s.node.Helm(t.Context(), "upgrade", "peppasync", chart, "-n", "orders", "-f", "testdata/values.yaml",
			"--set", "log.level=debug,nats.resources.requests.memory=272Mi", "--wait", "--timeout", "10m")
		ended <- err
	}()
	watched := s.countsServers(t)
	for rolls := true; rolls; {
		select {
		case err := <-ended:
			if err != nil {
				pods, _ := s.node.Kubectl(t.Context(), "get", "pods,events", "-n", "orders")
				t.Fatalf("%v\n%s", err, pods)
			}
			rolls = false
		default:
			s.sells(t, more/10, "--over", "10s", "--wait")
		}
	}
	t.Logf("upgraded within %.1f s, while %d orders were sold", time.Since(begin).Seconds(), s.sold-sold)
	s.comesAgain(t, before...)
	if least := watched(); least != len(natsServers)-1 {
		t.Errorf("NATS had %d servers when they were the fewest, want one that is away at a time", least)
	}
	s.becomes(t, "the Connector is ready again", wait, func() (bool, string) {
		said := kubectl(t, s.node, "get", "connector/netsuite", "-n", "orders", "-o", readiness)
		return strings.HasPrefix(said, "True "), said
	})
	if have := s.copies(t, unwatched, 0); have != 3 {
		t.Errorf("%s has %d copies, want 3", unwatched, have)
	}
}

// countsServers looks at NATS from now on. What it returns ends that, and says how many servers
// there were when they were the fewest.
func (s *scene) countsServers(t *testing.T) func() int {
	t.Helper()
	var printed lines
	watch := s.node.KubectlCommand(t.Context(), "get", "pods", "-n", "orders", "-l", "app.kubernetes.io/component=nats", "-w", "-o",
		`jsonpath={.metadata.name}={.metadata.deletionTimestamp}={.status.containerStatuses[0].started}{"\n"}`)
	watch.Stdout = &printed
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	ended := sync.OnceFunc(func() {
		_ = watch.Process.Kill() // it never ends by itself
		_ = watch.Wait()
	})
	t.Cleanup(ended)
	return func() int {
		ended()
		return fewest(printed.String())
	}
}

// fewest counts the servers that run and are not about to end. Whether one is ready says
// nothing here: it is not while it is behind in a single stream.
func fewest(printed string) int {
	here := map[string]bool{}
	for _, name := range natsServers {
		here[name] = true
	}
	least := len(here)
	for line := range strings.Lines(printed) {
		pod := strings.Split(strings.TrimSpace(line), "=")
		if len(pod) != 3 {
			continue // the last line, which was cut
		}
		if pod[1] == "" && pod[2] == "true" {
			here[pod[0]] = true
		} else {
			delete(here, pod[0])
		}
		least = min(least, len(here))
	}
	return least
}

func TestFewest(t *testing.T) {
	t.Parallel()
	const roll = "peppasync-nats-0==true\npeppasync-nats-1==true\npeppasync-nats-2==true\n" +
		"peppasync-nats-2=2026-11-26T15:52:33Z=true\npeppasync-nats-2=2026-11-26T15:52:33Z=false\npeppasync-nats-2==\npeppasync-nats-2==false\n"
	for printed, want := range map[string]int{
		roll + "peppasync-nats-2==true\npeppasync-nats-1=2026-11-26T15:53:33Z=true\n": 2,
		roll + "peppasync-nats-1=2026-11-26T15:53:33Z=true\n":                         1,
		roll + "peppasync-nats-2=":                                                    2,
	} {
		if got := fewest(printed); got != want {
			t.Errorf("%q: %d, want %d", printed, got, want)
		}
	}
}

func (s *scene) losesEveryPod(t *testing.T) {
	s.owes(t)
	var before []server
	for _, name := range natsServers {
		before = append(before, s.server(t, name))
	}
	kubectl(t, s.node, "delete", "pods", "-n", "orders", "-l", "app.kubernetes.io/instance=peppasync", "--wait=false")
	kubectl(t, s.node, "rollout", "restart", "deployment", "-n", "orders", "-l", "app.kubernetes.io/instance=peppasync")
	kubectl(t, s.node, "rollout", "status", "deployment", "-n", "orders", "-l", "app.kubernetes.io/instance=peppasync", "--timeout=5m")
	s.comesAgain(t, before...)
}

func (s *scene) arrives(t *testing.T) {
	var r report
	s.becomes(t, "every order but the held one is in the ERP", 5*time.Minute, func() (bool, string) {
		r = s.report(t)
		return r.Fed >= s.sold-1, fmt.Sprintf("%+v", r)
	})
	if r.Sold != s.sold || r.Captured != s.sold || r.Fed != s.sold-1 || r.WMSAccepted != s.sold-1 ||
		r.Duplicates != 0 || r.Lost != 0 || r.Throttled != 0 || r.Undone != 0 {
		t.Errorf("the world says %+v", r)
	}
	for _, l := range r.Limits {
		if l.Largest > l.Limit {
			t.Errorf("%s %s: %d calls in a window, limit %d", l.System, l.Name, l.Largest, l.Limit)
		}
	}
	if len(r.Texts) != 1 {
		t.Errorf("%d texts, want one about the held order: %+v", len(r.Texts), r.Texts)
	}
	t.Logf("%+v", r)
}

// keepsThreeCopies asks the operator for streams of one copy where there are three servers,
// and takes two copies away from a stream behind its back. The next upgrade mends both.
func (s *scene) keepsThreeCopies(t *testing.T) {
	s.helm(t, "upgrade", "peppasync", chart, "-n", "orders", "--reuse-values", "--set", "streams.replicas=1")
	s.becomes(t, "each resource says that the bus would not be safe", wait, func() (bool, string) {
		var all []string
		for _, name := range []string{"connector/netsuite", "flow/orders", "stockpool/main", "notificationpolicy/head-of-operations"} {
			all = append(all, kubectl(t, s.node, "get", name, "-n", "orders", "-o", readiness))
		}
		odd := slices.IndexFunc(all, func(said string) bool {
			return !strings.HasPrefix(said, "False BusUnsafe ") || !strings.Contains(said, "1 copies of each stream were asked for, and NATS has 3 servers: ask for 3")
		})
		return odd < 0, strings.Join(all, "\n")
	})
	s.becomes(t, "an event tells of it", wait, func() (bool, string) {
		said := kubectl(t, s.node, "get", "events", "-n", "orders", "--field-selector", "involvedObject.name=netsuite,reason=BusUnsafe", "-o", "jsonpath={range .items[*]}{.type} {.message}{'\\n'}{end}")
		told := func(line string) bool {
			return strings.HasPrefix(line, "Warning ") && strings.Contains(line, "ask for 3")
		}
		return slices.ContainsFunc(strings.Split(said, "\n"), told), said
	})
	if have := s.copies(t, unwatched, 1); have != 1 {
		t.Fatalf("%s has %d copies", unwatched, have)
	}
}
