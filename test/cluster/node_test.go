package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/cluster"
)

// wait bounds what a pod, or the end of one, may take.
const wait = 2 * time.Minute

// TestNode has one node do all that the product's tests need of it, because a
// start takes long. The process that started another one was killed before, and
// nothing of that is left.
func TestNode(t *testing.T) {
	if dir := os.Getenv("PEPPASYNC_ORPHAN"); dir != "" {
		dieWithNode(t, dir)
	}
	orphan(t)
	dir := filepath.Join(t.TempDir(), "node")
	node := start(t, dir)
	archive := answerImage(t)
	names, err := node.Import(t.Context(), archive)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(names) != "[peppasync.test/answer-all:1]" {
		t.Errorf("imported %v", names)
	}
	manifests, err := os.ReadFile("testdata/answer.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Apply(t.Context(), string(manifests)); err != nil {
		t.Fatal(err)
	}
	eventually(t, node, "1", "get", "deployment", "answer", "-n", "strict", "-o", "jsonpath={.status.readyReplicas}")

	t.Run("a pod reaches another by the name of its Service", func(t *testing.T) {
		eventually(t, node, "Succeeded", "get", "pod", "ask", "-n", "strict", "-o", "jsonpath={.status.phase}")
		if said := kubectl(t, node, "logs", "ask", "-n", "strict"); !strings.HasPrefix(said, "answered by answer-") {
			t.Errorf("the pod that asks logs %q", said)
		}
		if said := kubectl(t, node, "logs", "deployment/answer", "-n", "strict"); !strings.Contains(said, "asked for /by-name") {
			t.Errorf("the pod that answers logs %q", said)
		}
	})
	t.Run("this process reaches a Service by its address", func(t *testing.T) {
		address := kubectl(t, node, "get", "service", "answer", "-n", "strict", "-o", "jsonpath={.spec.clusterIP}")
		transport := &http.Transport{DialContext: node.Dial}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport, Timeout: wait}
		response, err := client.Get("http://" + address + "/from-outside")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		said, err := io.ReadAll(response.Body)
		if err != nil || !strings.HasPrefix(string(said), "answered by answer-") {
			t.Errorf("%s %q, %v", response.Status, said, err)
		}
	})
	t.Run("a pod that is not restricted is refused", func(t *testing.T) {
		_, err := node.Kubectl(t.Context(), "run", "loose", "-n", "strict", "--image", "peppasync.test/answer-all:1")
		if err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("an archive without an image for this platform is refused", func(t *testing.T) {
		empty := filepath.Join(t.TempDir(), "nothing.tar")
		if err := os.WriteFile(empty, make([]byte, 1024), 0o600); err != nil {
			t.Fatal(err)
		}
		if names, err := node.Import(t.Context(), empty); err == nil {
			t.Errorf("imported %v", names)
		}
	})
	t.Run("a volume is bound and written to", func(t *testing.T) { writesVolume(t, node, dir) })
	t.Run("network policies are enforced", func(t *testing.T) { keepsPolicies(t, node) })
	t.Run("helm finds the cluster", func(t *testing.T) {
		if said, err := node.Helm(t.Context(), "list", "-A"); err != nil {
			t.Errorf("%v: %s", err, said)
		}
	})
	t.Run("a pod is deleted", func(t *testing.T) {
		kubectl(t, node, "delete", "deployment,pod", "--all", "-n", "strict", "--timeout", wait.String())
		eventually(t, node, "", "get", "pods", "-n", "strict", "-o", "name")
	})

	stop(t, node, dir)
}

// orphan has a process start a node and be killed. The guard of that clears it away.
func orphan(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "orphan")
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestNode$")
	child.Env = append(os.Environ(), "PEPPASYNC_ORPHAN="+dir)
	said, err := child.CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != -1 {
		t.Fatalf("the first one was not killed: %v\n%s", err, said)
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for begin := time.Now(); ; <-again.C {
		left := leftOf(t, dir)
		if len(left) == 0 {
			t.Logf("cleared away %.1f s after the kill", time.Since(begin).Seconds())
			return
		}
		if time.Since(begin) > wait {
			t.Fatalf("%v after a kill:\n%s", wait, strings.Join(left, "\n"))
		}
	}
}

func dieWithNode(t *testing.T, dir string) {
	t.Helper()
	if _, err := cluster.Start(t.Context(), cluster.Options{Dir: dir, Progress: os.Stderr, Guard: guard(dir)}); err != nil {
		t.Fatal(err)
	}
	if len(mentioning(t, dir)) == 0 {
		t.Fatal("there is nothing to clear away")
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func start(t *testing.T, dir string) *cluster.Node {
	t.Helper()
	begin := time.Now()
	node, err := cluster.Start(t.Context(), cluster.Options{Dir: dir, Progress: t.Output(), Guard: guard(dir)})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready in %.1f s", time.Since(begin).Seconds())
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(node.Logs())
		}
		if err := node.Stop(); err != nil {
			t.Error(err)
		}
	})
	return node
}

func stop(t *testing.T, node *cluster.Node, dir string) {
	t.Helper()
	begin := time.Now()
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %.1f s", time.Since(begin).Seconds())
	checkGone(t, dir)
}

// checkGone looks for anything that a node may leave in the system.
func checkGone(t *testing.T, dir string) {
	t.Helper()
	for _, left := range leftOf(t, dir) {
		t.Errorf("left: %s", left)
	}
}

func leftOf(t *testing.T, dir string) []string {
	t.Helper()
	left := mentioning(t, dir+"/")
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir+"/") {
			left = append(left, line)
		}
	}
	registered, err := filepath.Glob("/run/peppasync-cluster/*")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, file := range registered {
		data, _ := os.ReadFile(file) // it may be gone by now
		if strings.Contains(string(data), strconv.Quote(dir)) {
			left = append(left, file)
			continue
		}
		known[filepath.Base(file)] = true // another node, which runs beside the test
	}
	for _, pattern := range []string{"/run/netns/peppasync-*", "/sys/fs/cgroup/peppasync-*", "/sys/fs/cgroup/*/peppasync-*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			if !known[filepath.Base(name)] {
				left = append(left, name)
			}
		}
	}
	return left
}

// answerImage builds testdata/answer as an image.
func answerImage(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	program, archive := filepath.Join(folder, "answer"), filepath.Join(folder, "answer.tar")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./testdata/answer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	image := cluster.Image{Name: "peppasync.test/answer-all:1", Program: program, User: "10001"}
	if err := image.Write(archive); err != nil {
		t.Fatal(err)
	}
	return archive
}

func writesVolume(t *testing.T, node *cluster.Node, dir string) {
	t.Helper()
	if err := node.AddVolumes(t.Context(), "shelf", "", 1, 1); err != nil {
		t.Fatal(err)
	}
	if err := node.Apply(t.Context(), `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: shelf, namespace: strict}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer, namespace: strict}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: writer
    image: peppasync.test/answer-all:1
    args: [write, /shelf/note]
    volumeMounts: [{name: shelf, mountPath: /shelf}]
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
  volumes: [{name: shelf, persistentVolumeClaim: {claimName: shelf}}]
`); err != nil {
		t.Fatal(err)
	}
	eventually(t, node, "Succeeded", "get", "pod", "writer", "-n", "strict", "-o", "jsonpath={.status.phase}")
	if note, err := os.ReadFile(filepath.Join(dir, "volumes", "shelf-0", "note")); err != nil || string(note) != "written" {
		t.Errorf("the volume holds %q, %v", note, err)
	}
}

// keepsPolicies asks the server from pods that may and from pods that may not.
func keepsPolicies(t *testing.T, node *cluster.Node) {
	t.Helper()
	manifests, err := os.ReadFile("testdata/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Apply(t.Context(), string(manifests)); err != nil {
		t.Fatal(err)
	}
	for _, pod := range []struct{ name, labels, does string }{
		{"friend", "{may: ask}", "ask"},
		{"stranger", "{app: stranger}", "ask-in-vain"},
		{"locked", "{app: locked, may: ask}", "ask-in-vain"},
	} {
		if err := node.Apply(t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: strict, labels: %s}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: ask
    image: peppasync.test/answer-all:1
    args: [%s, "http://answer.strict.svc.cluster.local/"]
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`, pod.name, pod.labels, pod.does)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"friend", "stranger", "locked"} {
		eventually(t, node, "Succeeded", "get", "pod", name, "-n", "strict", "-o", "jsonpath={.status.phase}")
	}
	// The probes of the kubelet are not subject to policies.
	eventually(t, node, "1", "get", "deployment", "answer", "-n", "strict", "-o", "jsonpath={.status.readyReplicas}")
}

func kubectl(t *testing.T, node *cluster.Node, arguments ...string) string {
	t.Helper()
	said, err := node.Kubectl(t.Context(), arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return said
}

// eventually asks until the answer is the wanted one.
func eventually(t *testing.T, node *cluster.Node, want string, arguments ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		got, err := node.Kubectl(ctx, arguments...)
		if err == nil && got == want {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			pods, _ := node.Kubectl(context.WithoutCancel(ctx), "get", "pods,events", "-A")
			t.Fatalf("kubectl %s: after %v %q, %v; want %q\n%s", strings.Join(arguments, " "), wait, got, err, want, pods)
		}
	}
}
