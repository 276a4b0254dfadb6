package cluster_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const probeImage = "peppasync.test/probe:1"

// findings are what peppasync-probe prints.
type findings struct {
	Publish map[string]string
	Secrets map[string]int
	Reach   map[string]bool
	Copies  map[string]int
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
	s.triesFromIngest(t)
}

// triesFromIngest does in a running pod of ingest, with its own key and its own token, what a
// process that was taken over there would do. What it may do is tried too, so that a refusal
// is known to be one.
func (s *scene) triesFromIngest(t *testing.T) {
	t.Helper()
	publish := map[string]string{
		"$JS.API.STREAM.INFO.INGEST_0": "allowed",
		"dispatch.v1.netsuite.standard.shopify_5000000000001.shopify_5000000000001_orders_erp_1": "denied",
		"ledger.v1.netsuite":             "denied",
		"order.state.v1.0.shopify_1":     "denied",
		"hold.v1.netsuite.shopify_1.x":   "denied",
		"$KV.catalog.catalog":            "denied",
		"$JS.API.STREAM.DELETE.DISPATCH": "denied",
	}
	secrets := map[string]int{"shopify-webhook": 200, "netsuite": 403, "peppasync-nats-throttle-dispatcher": 403, "peppasync-nats-admin": 403}
	reach := map[string]bool{"peppasync-nats.orders.svc:4222": true, "world.orders.svc:8702": false}
	arguments := []string{
		"--nats", "tls://peppasync-nats.orders.svc:4222", "--nats-user", "ingest",
		"--nats-ca", "/etc/peppasync/nats/ca.crt", "--nats-nkey", "/etc/peppasync/nats/nkey",
	}
	for subject := range publish {
		arguments = append(arguments, "--publish", subject)
	}
	for name := range secrets {
		arguments = append(arguments, "--secret", name)
	}
	for address := range reach {
		arguments = append(arguments, "--reach", address)
	}
	found := s.probes(t, "ingest", arguments)
	for subject, want := range publish {
		if got := found.Publish[subject]; got != want {
			t.Errorf("publishing on %s as ingest: %s, want %s", subject, got, want)
		}
	}
	for name, want := range secrets {
		if got := found.Secrets[name]; got != want {
			t.Errorf("reading Secret %s as ingest: %d, want %d", name, got, want)
		}
	}
	for address, want := range reach {
		if got := found.Reach[address]; got != want {
			t.Errorf("a connection from ingest to %s: %v, want %v", address, got, want)
		}
	}
	t.Logf("from a pod of ingest: %+v", found)
}

// probes runs peppasync-probe as a further container of a running pod of a role, which has its
// network, its keys and its token.
func (s *scene) probes(t *testing.T, role string, arguments []string) findings {
	t.Helper()
	selector := "app.kubernetes.io/component=" + role
	pod := strings.Fields(kubectl(t, s.node, "get", "pods", "-n", "orders", "-l", selector, "--field-selector", "status.phase=Running", "-o", "jsonpath={.items[*].metadata.name}"))[0]
	token := kubectl(t, s.node, "get", "pod", pod, "-n", "orders", "-o", `jsonpath={.spec.containers[0].volumeMounts[?(@.mountPath=="/var/run/secrets/kubernetes.io/serviceaccount")].name}`)
	type mount map[string]any
	container, err := json.Marshal(map[string]any{"volumeMounts": []mount{
		{"name": "nats", "mountPath": "/etc/peppasync/nats", "readOnly": true},
		{"name": token, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	custom := filepath.Join(t.TempDir(), "container.json")
	if err := os.WriteFile(custom, container, 0o600); err != nil {
		t.Fatal(err)
	}
	const name = "probe"
	kubectl(t, s.node, append([]string{
		"debug", pod, "-n", "orders", "--image", probeImage, "--image-pull-policy", "IfNotPresent", "--container", name,
		"--profile", "restricted", "--custom", custom, "--", "/program",
	}, arguments...)...)
	s.becomes(t, "the probe has ended", wait, func() (bool, string) {
		said := kubectl(t, s.node, "get", "pod", pod, "-n", "orders", "-o", "jsonpath={.status.ephemeralContainerStatuses[0].state}")
		return strings.Contains(said, "terminated"), said
	})
	return findingsOf(t, kubectl(t, s.node, "logs", pod, "-n", "orders", "-c", name))
}

func findingsOf(t *testing.T, said string) findings {
	t.Helper()
	var found findings
	if err := json.Unmarshal([]byte(said), &found); err != nil {
		t.Fatalf("the probe says %q: %v", said, err)
	}
	return found
}

// copies says how many copies a stream has, after it was given as many as wanted, by the
// operator's key; 0 leaves them as they are.
func (s *scene) copies(t *testing.T, stream string, wanted int) int {
	t.Helper()
	folder := t.TempDir()
	file := func(secret, key string) string {
		encoded := kubectl(t, s.node, "get", "secret", secret, "-n", "orders", "-o", "jsonpath={.data."+strings.ReplaceAll(key, ".", `\.`)+"}")
		data, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, key)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	address := kubectl(t, s.node, "get", "service", "peppasync-nats", "-n", "orders", "-o", "jsonpath={.spec.clusterIP}")
	var found findings
	s.becomes(t, "the number of copies of "+stream, wait, func() (bool, string) {
		said, err := s.node.Command(t.Context(), filepath.Join(s.folder, "peppasync-probe"),
			"--nats", "tls://"+address+":4222", "--nats-server-name", "peppasync-nats.orders.svc", "--nats-user", "operator",
			"--nats-ca", file("peppasync-nats-server", "ca.crt"), "--nats-nkey", file("peppasync-nats-operator", "nkey"),
			"--stream", stream, "--copies", fmt.Sprint(wanted)).CombinedOutput()
		if err != nil {
			return false, string(said)
		}
		found = findingsOf(t, string(said))
		return true, ""
	})
	return found.Copies[stream]
}
