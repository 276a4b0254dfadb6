package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
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

// losesAServer kills the server that leads the ledger, so that the ERP is not fed before
// there is another, as a node that loses its power does.
func (s *scene) losesAServer(t *testing.T) {
	s.owes(t)
	leader := s.leader(t, "LEDGER")
	uid := kubectl(t, s.node, "get", "pod", leader, "-n", "orders", "-o", "jsonpath={.metadata.uid}")
	before, begin := s.report(t).Fed, time.Now()
	if err := s.node.Kill(uid, "/bin/nats-server"); err != nil {
		t.Fatal(err)
	}
	s.becomes(t, leader+" was started again and is ready", wait, func() (bool, string) {
		said := kubectl(t, s.node, "get", "pod", leader, "-n", "orders", "-o", "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}")
		return said == "1 true", said
	})
	t.Logf("%s is back after %.1f s", leader, time.Since(begin).Seconds())
	s.becomes(t, "the ERP is fed again", time.Minute, func() (bool, string) {
		fed := s.report(t).Fed
		return fed > before+20, fmt.Sprintf("%d orders, %d when it was killed", fed, before)
	})
}

// isUpgraded deletes a server as a drain of its node does, while every Deployment rolls.
func (s *scene) isUpgraded(t *testing.T) {
	s.owes(t)
	kubectl(t, s.node, "delete", "pod", s.leader(t, "DISPATCH"), "-n", "orders", "--wait=false")
	s.helm(t, "upgrade", "peppasync", chart, "-n", "orders", "-f", "testdata/values.yaml", "--set", "log.level=debug", "--wait", "--timeout", "5m")
}

func (s *scene) losesEveryPod(t *testing.T) {
	s.owes(t)
	kubectl(t, s.node, "delete", "pods", "-n", "orders", "-l", "app.kubernetes.io/instance=peppasync", "--wait=false")
	kubectl(t, s.node, "rollout", "restart", "deployment", "-n", "orders", "-l", "app.kubernetes.io/instance=peppasync")
	kubectl(t, s.node, "rollout", "status", "deployment,statefulset", "-n", "orders", "-l", "app.kubernetes.io/instance=peppasync", "--timeout=5m")
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
// and takes two copies away from a stream behind its back.
func (s *scene) keepsThreeCopies(t *testing.T) {
	s.asksForCopies(t, 1)
	ready := `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].reason} {.status.conditions[?(@.type=="Ready")].message}`
	s.becomes(t, "each resource says that the bus would not be safe", wait, func() (bool, string) {
		var all []string
		for _, name := range []string{"connector/netsuite", "flow/orders", "stockpool/main", "notificationpolicy/head-of-operations"} {
			all = append(all, kubectl(t, s.node, "get", name, "-n", "orders", "-o", ready))
		}
		odd := slices.IndexFunc(all, func(said string) bool {
			return !strings.HasPrefix(said, "False BusUnsafe ") || !strings.Contains(said, "1 copies of each stream were asked for, and NATS has 3 servers: ask for 3")
		})
		return odd < 0, strings.Join(all, "\n")
	})
	s.becomes(t, "an event tells of it", wait, func() (bool, string) {
		said := kubectl(t, s.node, "get", "events", "-n", "orders", "--field-selector", "involvedObject.name=netsuite,reason=BusUnsafe", "-o", "jsonpath={range .items[*]}{.type} {.message}{'\\n'}{end}")
		return strings.HasPrefix(said, "Warning ") && strings.Contains(said, "ask for 3"), said
	})
	const stream = "JOURNAL"
	if have := s.copies(t, stream, 1); have != 1 {
		t.Fatalf("%s has %d copies", stream, have)
	}
	s.asksForCopies(t, 3)
	s.becomes(t, "the Connector is ready again", wait, func() (bool, string) {
		said := kubectl(t, s.node, "get", "connector/netsuite", "-n", "orders", "-o", ready)
		return strings.HasPrefix(said, "True "), said
	})
	if have := s.copies(t, stream, 0); have != 3 {
		t.Errorf("%s has %d copies, want 3", stream, have)
	}
}

func (s *scene) asksForCopies(t *testing.T, copies int) {
	t.Helper()
	s.helm(t, "upgrade", "peppasync", chart, "-n", "orders", "-f", "testdata/values.yaml", "--set", fmt.Sprintf("log.level=debug,streams.replicas=%d", copies))
}
