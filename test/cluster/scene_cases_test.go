package cluster_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// connectors are those of the demo.
var connectors = []string{"netsuite", "shopify", "twilio", "wms"}

func (s *scene) becomesReady(t *testing.T) {
	demo, err := filepath.Glob(root + "/deploy/demo/*.yaml")
	if err != nil || len(demo) == 0 {
		t.Fatalf("manifests %v, %v", demo, err)
	}
	folder := t.TempDir()
	for _, file := range demo {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.ReplaceAll(string(text), "http://127.0.0.1:", "http://world.orders.svc:")
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(file)), []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	if _, err := s.apply(folder); err != nil {
		t.Fatal(err)
	}
	for _, name := range connectors {
		kubectl(t, s.node, "wait", "connector/"+name, "-n", "orders", "--for=condition=Ready", "--timeout=60s")
	}
	kubectl(t, s.node, "wait", "flow/orders", "-n", "orders", "--for=condition=Ready", "--timeout=60s")
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("ready after %v, want at most 60 s", took)
	} else {
		t.Logf("ready in %.1f s", took.Seconds())
	}
}

// figures is what kubectl shows of a Connector.
type figures struct {
	Limit, Pace, ETA         string
	Queue, Held, Undelivered int
}

func (s *scene) figures(t *testing.T, connector string) (f figures) {
	t.Helper()
	said := kubectl(t, s.node, "get", "connector", connector, "-n", "orders", "-o", "jsonpath={.status}")
	if err := json.Unmarshal([]byte(said), &f); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return f
}

// becomes looks until a condition holds.
func (s *scene) becomes(t *testing.T, what string, within time.Duration, holds func() (bool, string)) {
	t.Helper()
	again := time.NewTicker(300 * time.Millisecond)
	defer again.Stop()
	for begin := time.Now(); ; <-again.C {
		ok, seen := holds()
		if ok {
			return
		}
		if time.Since(begin) > within {
			pods, _ := s.node.Kubectl(t.Context(), "get", "pods,connectors", "-n", "orders")
			t.Fatalf("not within %v: %s; seen last: %s\n%s", within, what, seen, pods)
		}
	}
}

func (s *scene) showsFigures(t *testing.T) {
	var first figures
	s.becomes(t, "queue, pace and ETA of the ERP", time.Minute, func() (bool, string) {
		first = s.figures(t, "netsuite")
		return first.Queue > 0 && first.ETA != "" && strings.HasSuffix(first.Pace, "/min"), fmt.Sprintf("%+v", first)
	})
	s.becomes(t, "another queue", time.Minute, func() (bool, string) {
		now := s.figures(t, "netsuite")
		return now.Queue != first.Queue && now.Queue > 0, fmt.Sprintf("%+v", now)
	})
	columns := strings.Fields(kubectl(t, s.node, "get", "connectors", "-n", "orders"))
	if got := strings.Join(columns[:9], " "); got != "NAME SYSTEM LIMIT PACE QUEUE HELD ETA READY AGE" {
		t.Errorf("columns %s", got)
	}
	s.becomes(t, "the order that the warehouse refused is held", time.Minute, func() (bool, string) {
		now := s.figures(t, "wms")
		return now.Held == 1, fmt.Sprintf("%+v", now)
	})
}

func (s *scene) refusesWhatIsWrong(t *testing.T) {
	const head = "apiVersion: peppasync.io/v1alpha1\n"
	for name, test := range map[string]struct{ manifest, says string }{
		"an expression with a field that is not there": {
			`kind: Flow
metadata: {name: wrong}
spec:
  from: [{connector: shopify, topics: [orders/create]}]
  when: order.nosuch == "5"
  deliver: [{name: w, connector: wms, operation: putOrder, mapping: '{"externalId": externalId}'}]`, `no field "nosuch"`},
		"a Connector without limits": {
			`kind: Connector
metadata: {name: wrong}
spec: {system: NetSuite, endpoint: "https://example.com", auth: {secretRef: {name: a}}}`, "limits are written where there is an endpoint"},
		"another system under the same name": {
			`kind: Connector
metadata: {name: netsuite}
spec: {system: Twilio, endpoint: "https://example.com", auth: {secretRef: {name: a}}, twilio: {accountSID: AC1, from: "+1"}, limits: [{name: a, concurrency: {calls: 1}}]}`,
			"system cannot change"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "wrong.yaml")
			if err := os.WriteFile(file, []byte(head+test.manifest), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.apply(file); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want a refusal that says %q", err, test.says)
			}
		})
	}
}

func (s *scene) deletesNothingThatIsOwed(t *testing.T) {
	_, err := s.node.Kubectl(t.Context(), "delete", "connector", "netsuite", "-n", "orders", "--timeout=10s")
	if err == nil || !strings.Contains(err.Error(), "undelivered orders") {
		t.Errorf("got %v, want a refusal with the number of undelivered orders", err)
	}
}

func (s *scene) keepsAPatchedLimit(t *testing.T) {
	const calls = 600
	patch := fmt.Sprintf(`{"spec":{"limits":[{"name":"per-minute","rollingWindow":{"calls":%d,"per":"1m"}},{"name":"parallel","concurrency":{"calls":15}}]}}`, calls)
	kubectl(t, s.node, "patch", "connector", "netsuite", "-n", "orders", "--type=merge", "-p", patch)
	begin := time.Now()
	s.becomes(t, "the limit is shown", 2*time.Second, func() (bool, string) {
		limit := s.figures(t, "netsuite").Limit
		return strings.HasPrefix(limit, "600 per 1m"), limit
	})
	// From two seconds after the patch on, 10 s have a sixth of the new limit, and one more
	// for each end.
	<-time.After(time.Until(begin.Add(2 * time.Second)))
	from, before := time.Now(), s.report(t).Fed
	<-time.After(10 * time.Second)
	fed, took := s.report(t).Fed-before, time.Since(from)
	if most := int(took.Seconds()*calls/60) + 2; fed > most {
		t.Errorf("%d orders in %v after the patch, want at most %d", fed, took, most)
	}
}

func (s *scene) keepsRolesApart(t *testing.T) {
	for _, test := range []struct{ role, what, want string }{
		{"ingest", "secret/shopify-webhook", "yes"},
		{"ingest", "secret/netsuite", "no"},
		{"throttle-dispatcher", "secret/netsuite", "yes"},
		{"throttle-dispatcher", "secret/shopify-webhook", "no"},
		{"logic-gate", "secret/netsuite", "no"},
		{"notifier", "secret/twilio", "no"},
	} {
		// An answer of no is an error for kubectl.
		said, _ := s.node.Kubectl(t.Context(), "auth", "can-i", "get", test.what, "-n", "orders",
			"--as=system:serviceaccount:orders:peppasync-"+test.role)
		if strings.TrimSpace(said) != test.want {
			t.Errorf("%s may read %s: %s, want %s", test.role, test.what, said, test.want)
		}
	}
}

func (s *scene) losesEveryPod(t *testing.T) {
	if fed := s.report(t).Fed; fed >= orders-1 {
		t.Errorf("%d of %d orders are fed already: nothing is under way", fed, orders)
	}
	kubectl(t, s.node, "delete", "pods", "-n", "orders", "-l", "app.kubernetes.io/instance=peppasync", "--wait=false")
	s.helm(t, "upgrade", "peppasync", chart, "-n", "orders", "-f", small, "-f", "testdata/values.yaml",
		"--set", "log.level=debug", "--wait", "--timeout", "3m")
	kubectl(t, s.node, "rollout", "restart", "deployment", "-n", "orders", "-l", "app.kubernetes.io/instance=peppasync")
	kubectl(t, s.node, "rollout", "status", "deployment", "-n", "orders", "-l", "app.kubernetes.io/instance=peppasync", "--timeout=3m")
}

func (s *scene) arrives(t *testing.T) {
	var r report
	s.becomes(t, "every order but the held one is in the ERP", 5*time.Minute, func() (bool, string) {
		r = s.report(t)
		return r.Fed >= orders-1, fmt.Sprintf("%+v", r)
	})
	if r.Sold != orders || r.Captured != orders || r.Fed != orders-1 || r.WMSAccepted != orders-1 || r.Duplicates != 0 || r.Lost != 0 || r.Throttled != 0 {
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

func (s *scene) uninstalls(t *testing.T) {
	for _, kind := range []string{"flows", "stockpools", "notificationpolicies"} {
		kubectl(t, s.node, "delete", kind, "--all", "-n", "orders", "--timeout", wait.String())
	}
	// That of the warehouse has an order on hold, which an uninstall leaves in NATS.
	for _, name := range []string{"netsuite", "shopify", "twilio"} {
		kubectl(t, s.node, "delete", "connector", name, "-n", "orders", "--timeout", wait.String())
	}
	s.helm(t, "uninstall", "peppasync", "-n", "orders", "--wait", "--timeout", "2m")
	documented := map[string]bool{
		"pod/world": true, "service/world": true, "configmap/world": true, "configmap/kube-root-ca.crt": true, "serviceaccount/default": true,
		"persistentvolumeclaim/data-peppasync-nats-0": true, "lease.coordination.k8s.io/peppasync-operator": true,
	}
	s.becomes(t, "nothing is left but what is documented", wait, func() (bool, string) {
		left := strings.Fields(kubectl(t, s.node, "get", "all,configmap,role,rolebinding,serviceaccount,lease,networkpolicy,pdb,hpa,pvc", "-n", "orders", "-o", "name"))
		left = slices.DeleteFunc(left, func(name string) bool { return documented[name] })
		return len(left) == 0, fmt.Sprint(left)
	})
	for name := range strings.FieldsSeq(kubectl(t, s.node, "get", "secrets", "-n", "orders", "-o", "name", "-l", "app.kubernetes.io/instance=peppasync")) {
		if !strings.HasPrefix(name, "secret/peppasync-nats-") {
			t.Errorf("%s is left", name)
		}
	}
}
