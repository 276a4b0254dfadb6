package chart

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// apiServer is a real API server, without controllers and nodes.
type apiServer struct{ kubectl, kubeconfig string }

// startAPIServer runs one until the test ends. The first time it is built, for minutes.
func startAPIServer(t *testing.T) apiServer {
	t.Helper()
	folder := t.TempDir()
	program := filepath.Join(folder, "peppasync-cluster")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./peppasync-cluster")
	build.Dir, build.Env = filepath.Join(root, "test", "cluster"), append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kubectl, err := exec.CommandContext(t.Context(), program, "build", "kubectl").Output()
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(program, "api", "--dir", filepath.Join(folder, "api"))
	var said bytes.Buffer
	server.Stderr = &said
	in, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := server.Wait(); err != nil {
			t.Errorf("the API server: %v\n%s", err, &said)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the API server: %v\n%s", err, &said)
	}
	return apiServer{strings.TrimSpace(string(kubectl)), strings.TrimSpace(line)}
}

// run runs kubectl and returns what it prints, and its warnings.
func (a apiServer) run(ctx context.Context, input []byte, arguments ...string) (string, string, error) {
	var out, problem bytes.Buffer
	command := exec.CommandContext(ctx, a.kubectl, append([]string{"--kubeconfig", a.kubeconfig, "--namespace", "shop"}, arguments...)...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &out, &problem
	err := command.Run()
	return strings.TrimSpace(out.String()), problem.String(), err
}

func (a apiServer) must(t *testing.T, input []byte, arguments ...string) string {
	t.Helper()
	out, problem, err := a.run(t.Context(), input, arguments...)
	if err != nil || strings.Contains(problem, "Warning:") {
		t.Fatalf("kubectl %v: %v\n%s%s", arguments, err, out, problem)
	}
	return out
}

// apply applies what keep selects, as helm does: on the server's side.
func (a apiServer) apply(t *testing.T, all []Manifest, keep func(Manifest) bool) {
	t.Helper()
	var documents bytes.Buffer
	for _, m := range all {
		if !keep(m) {
			continue
		}
		data, err := yaml.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		documents.WriteString("---\n")
		documents.Write(data)
	}
	a.must(t, documents.Bytes(), "apply", "--server-side", "-f", "-")
}

func isHook(m Manifest) bool {
	metadata, _ := m["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	return annotations["helm.sh/hook"] != nil
}

// asPod runs the product as a pod of that ServiceAccount would: with its token, and the
// API server's address in the environment. The mount is seen by it alone.
func (a apiServer) asPod(t *testing.T, account string, arguments ...string) (string, error) {
	t.Helper()
	data, err := os.ReadFile(a.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server    string `json:"server"`
				Authority []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	if err := yaml.Unmarshal(data, &config); err != nil || len(config.Clusters) == 0 {
		t.Fatalf("kubeconfig: %v", err)
	}
	server, err := url.Parse(config.Clusters[0].Cluster.Server)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, content := range map[string][]byte{
		"token": []byte(a.must(t, nil, "create", "token", account)), "namespace": []byte("shop"), "ca.crt": config.Clusters[0].Cluster.Authority,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := `mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io && cp -r "$0" /run/secrets/kubernetes.io/serviceaccount && exec "$@"`
	command := exec.CommandContext(t.Context(), "unshare", append([]string{"--mount", "sh", "-c", script, folder, product}, arguments...)...)
	command.Env = append(os.Environ(), "KUBERNETES_SERVICE_HOST="+server.Hostname(), "KUBERNETES_SERVICE_PORT="+server.Port())
	out, err := command.CombinedOutput()
	return string(out), err
}

// A real API server takes everything that is rendered, without a warning, in a namespace
// that warns of pods which are not restricted.
func TestARealAPIServerTakesTheChart(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it mounts a token where pods have it, which takes root")
	}
	a := startAPIServer(t)
	a.must(t, []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","labels":{`+
		`"pod-security.kubernetes.io/warn":"restricted","pod-security.kubernetes.io/enforce":"restricted"}}}`), "apply", "-f", "-")
	all, err := Render(t.Context(), helm, chartFolder)
	if err != nil {
		t.Fatal(err)
	}
	isCRD := func(m Manifest) bool { return m.Kind() == "CustomResourceDefinition" }
	a.apply(t, all, isCRD)
	a.apply(t, all, func(m Manifest) bool { return !isCRD(m) && !isHook(m) })
	a.apply(t, all, isHook)
	t.Run("bootstrap", func(t *testing.T) { a.bootstraps(t, all) })
	// As the operator does where Connectors name them.
	a.grant(t, "throttle-dispatcher", "netsuite")
	a.grant(t, "ingest", "shopify-webhook")
	t.Run("rights", a.rights)
	t.Run("what cannot be changed is said first", a.unchangeable)
	// What the operator granted meanwhile is not the chart's.
	t.Run("an upgrade takes no right away", func(t *testing.T) {
		a.apply(t, all, func(m Manifest) bool { return !isCRD(m) && !isHook(m) })
		a.rights(t)
	})
}

// unchangeable renders an upgrade beside what is installed.
func (a apiServer) unchangeable(t *testing.T) {
	upgrade := func(set string) error {
		_, err := Render(t.Context(), helm, chartFolder, "--dry-run=server", "--is-upgrade", "--kubeconfig", a.kubeconfig, "--set", set)
		return err
	}
	for set, want := range map[string]string{
		"nats.storage.size=40Gi":      "nats.storage.size is 40Gi and was 20Gi: enlarge the PersistentVolumeClaims data-peppasync-nats-N first",
		"nats.storage.className=fast": `nats.storage.className is "fast" and was ""`,
	} {
		if err := upgrade(set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s gives %v, want %q", set, err, want)
		}
	}
	if err := upgrade("nats.storage.size=20Gi"); err != nil {
		t.Errorf("what stays as it is: %v", err)
	}
}

// bootstraps runs the hook's program with the hook's rights.
func (a apiServer) bootstraps(t *testing.T, all []Manifest) {
	var arguments []string
	for _, w := range workloads(t, all) {
		if w.pod.Labels["app.kubernetes.io/component"] == "bootstrap" {
			arguments = w.pod.Spec.Containers[0].Args
		}
	}
	names := []string{"admin", "ca", "ingest", "inventory-reconciler", "logic-gate", "notifier", "operator", "server", "throttle-dispatcher", "users"}
	list := func() map[string]map[string]string {
		var found struct {
			Items []struct {
				Metadata struct {
					Name string `json:"name"`
				} `json:"metadata"`
				Data map[string]string `json:"data"`
			} `json:"items"`
		}
		out := a.must(t, nil, "get", "secrets", "-l", "peppasync.io/release=peppasync,app.kubernetes.io/component=nats", "-o", "json")
		if err := json.NewDecoder(strings.NewReader(out)).Decode(&found); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		secrets := map[string]map[string]string{}
		for _, item := range found.Items {
			secrets[strings.TrimPrefix(item.Metadata.Name, "peppasync-nats-")] = item.Data
		}
		return secrets
	}
	if out, err := a.asPod(t, "peppasync-bootstrap", arguments...); err != nil || !strings.Contains(out, "made: ") {
		t.Fatalf("the first run: %v\n%s", err, out)
	}
	first := list()
	for _, name := range names {
		if len(first[name]) == 0 {
			t.Errorf("there is no Secret %s", name)
		}
	}
	a.must(t, nil, "delete", "secret", "peppasync-nats-notifier")
	if out, err := a.asPod(t, "peppasync-bootstrap", arguments...); err != nil || !strings.Contains(out, "made: notifier\n") || !strings.Contains(out, "written anew: users\n") {
		t.Fatalf("an upgrade after one was deleted: %v\n%s", err, out)
	}
	second := list()
	for _, name := range names {
		same := first[name]["nkey"] == second[name]["nkey"] && first[name]["tls.key"] == second[name]["tls.key"] && first[name]["ca.key"] == second[name]["ca.key"]
		if same != (name != "notifier") {
			t.Errorf("Secret %s is the same: %v", name, same)
		}
	}
	if out, err := a.asPod(t, "peppasync-bootstrap", arguments...); err != nil || strings.Contains(out, "made: ") || strings.Contains(out, "anew") {
		t.Errorf("another upgrade changes something: %v\n%s", err, out)
	}
	// The role that the internet reaches, with the same program and the same arguments.
	if out, err := a.asPod(t, "peppasync-ingest", arguments...); err == nil || !strings.Contains(out, "403 Forbidden") {
		t.Errorf("ingest reads the keys: %v\n%s", err, out)
	}
}

func (a apiServer) grant(t *testing.T, role, secret string) {
	t.Helper()
	rules := `[{"op":"add","path":"/rules","value":[{"apiGroups":[""],"resources":["secrets"],"resourceNames":["` + secret + `"],"verbs":["get"]}]}]`
	a.must(t, nil, "patch", "role", "peppasync-"+role+"-secrets", "--type=json", "-p", rules)
}

// rights asks the API server itself who may do what.
func (a apiServer) rights(t *testing.T) {
	allowed := map[string][]string{
		"get secrets/netsuite":                   {"throttle-dispatcher"},
		"get secrets/shopify-webhook":            {"ingest"},
		"list secrets":                           {},
		"watch secrets":                          {},
		"create secrets":                         {"bootstrap"},
		"get secrets/peppasync-nats-admin":       {"bootstrap"},
		"get secrets/peppasync-nats-ca":          {"bootstrap"},
		"update secrets/peppasync-nats-ca":       {},
		"update secrets/peppasync-nats-ingest":   {},
		"update secrets/peppasync-nats-users":    {"bootstrap"},
		"delete secrets/peppasync-nats-ingest":   {},
		"get secrets/peppasync-operator-webhook": {"operator"},
		"get connectors.peppasync.io":            {"operator"},
		"patch connectors.peppasync.io":          {"operator"},
		"delete connectors.peppasync.io":         {},
		"update roles/peppasync-ingest-secrets":  {"operator"},
		"update roles/peppasync-operator":        {},
		"create roles":                           {},
		"create rolebindings":                    {},
		"create pods":                            {},
		"get pods":                               {},
		"create pods/exec":                       {},
	}
	accounts := []string{"ingest", "logic-gate", "throttle-dispatcher", "inventory-reconciler", "notifier", "operator", "nats", "bootstrap"}
	for what, who := range allowed {
		for _, account := range accounts {
			arguments := append([]string{"auth", "can-i", "--as", "system:serviceaccount:shop:peppasync-" + account}, strings.Fields(what)...)
			out, _, _ := a.run(t.Context(), nil, arguments...) // it fails where the answer is no
			if got, want := out == "yes", slices.Contains(who, account); got != want || out != "yes" && out != "no" {
				t.Errorf("%s may %s: %q, want %v", account, what, out, want)
			}
		}
	}
}
