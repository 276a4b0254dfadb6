package cluster_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/cluster"
	"github.com/peppasync/peppasync/test/cluster/binaries"
	"github.com/peppasync/peppasync/test/cluster/progress"
)

// guards names the folder of the node that this process is the guard of.
const guards = "PEPPASYNC_GUARDS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(guards); dir != "" {
		if err := cluster.Guard(context.Background(), os.Stdin, dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// guard is this program again.
func guard(dir string) *exec.Cmd {
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), guards+"="+dir)
	return command
}

// TestAPIServer runs the program as the tests of other modules do.
func TestAPIServer(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "peppasync-cluster")
	if said, err := exec.Command("go", "build", "-o", program, "./peppasync-cluster").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	dir := t.TempDir()
	server := exec.Command(program, "api", "--dir", dir)
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
	begin := time.Now()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v\n%s", err, server.Wait(), &said)
	}
	t.Logf("ready in %.1f s", time.Since(begin).Seconds())
	kubeconfig := strings.TrimSpace(line)

	store, err := binaries.Open(t.Context(), progress.New(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := store.Get(t.Context(), "kubectl")
	if err != nil {
		t.Fatal(err)
	}
	want, err := store.Version("kube-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ arguments, want string }{
		{"version", "Server Version: " + want},
		{"create namespace shop", "created"},
		{"create configmap prices --namespace shop --from-literal a=1", "created"},
		{"auth can-i delete secrets --as system:serviceaccount:shop:clerk", "no"},
	} {
		command := exec.Command(kubectl, strings.Fields("--kubeconfig "+kubeconfig+" "+step.arguments)...)
		got, err := command.CombinedOutput()
		if !strings.Contains(string(got), step.want) {
			t.Errorf("kubectl %s: %v: %s\nwant %q", step.arguments, err, got, step.want)
		}
	}

	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &said)
	}
	if left := mentioning(t, dir); len(left) > 0 {
		t.Errorf("after the standard input ended these still run:\n%s", strings.Join(left, "\n"))
	}
}

// mentioning returns the command lines of the processes that have the text in theirs.
func mentioning(t *testing.T, text string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		line, _ := os.ReadFile(file) // the process may have ended
		if bytes.Contains(line, []byte(text)) {
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}
