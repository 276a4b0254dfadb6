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
	begin := time.Now()
	if _, err := s.apply(filepath.Join(s.folder, "config")); err != nil {
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

func (s *scene) uninstalls(t *testing.T) {
	for _, kind := range []string{"flows", "stockpools", "notificationpolicies"} {
		kubectl(t, s.node, "delete", kind, "--all", "-n", "orders", "--timeout", wait.String())
	}
	// That of the warehouse has an order on hold, whose step at the ERP waits for it: an
	// uninstall leaves both in NATS.
	_, err := s.node.Kubectl(t.Context(), "delete", "connector", "netsuite", "-n", "orders", "--timeout=10s")
	if why := "waits for warehouse at wms, which is on hold"; err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("got %v, want a refusal that says which step %q", err, why)
	}
	for _, name := range []string{"shopify", "twilio"} {
		kubectl(t, s.node, "delete", "connector", name, "-n", "orders", "--timeout", wait.String())
	}
	s.helm(t, "uninstall", "peppasync", "-n", "orders", "--wait", "--timeout", "2m")
	documented := map[string]bool{
		"pod/world": true, "service/world": true, "configmap/world": true, "configmap/kube-root-ca.crt": true, "serviceaccount/default": true,
		"lease.coordination.k8s.io/peppasync-operator": true,
	}
	for _, server := range natsServers {
		documented["persistentvolumeclaim/data-"+server] = true
	}
	s.becomes(t, "nothing is left but what is documented", wait, func() (bool, string) {
		left := strings.Fields(kubectl(t, s.node, "get", "all,configmap,role,rolebinding,serviceaccount,lease,networkpolicy,pdb,hpa,pvc", "-n", "orders", "-o", "name"))
		left = slices.DeleteFunc(left, func(name string) bool { return documented[name] })
		return len(left) == 0, fmt.Sprint(left)
	})
	secrets := func(label string) []string {
		return strings.Fields(kubectl(t, s.node, "get", "secrets", "-n", "orders", "-o", "name", "-l", label+"=peppasync"))
	}
	if left := secrets("app.kubernetes.io/instance"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	keys := secrets("peppasync.io/release")
	if len(keys) == 0 {
		t.Error("the keys of NATS went with the release: what is stored could not be read again")
	}
	for _, name := range keys {
		if !strings.HasPrefix(name, "secret/peppasync-nats-") {
			t.Errorf("%s is left", name)
		}
	}
}
