package main

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// unpack unpacks a tar into a folder.
func unpack(t *testing.T, from io.Reader, folder string) {
	t.Helper()
	reader := tar.NewReader(from)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, filepath.FromSlash(header.Name))
		if header.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, header.FileInfo().Mode()); err != nil {
			t.Fatal(err)
		}
	}
}

// rootfs unpacks an image for a process that sees nothing else.
func rootfs(t *testing.T, image string) string {
	t.Helper()
	folder, _ := images(t)
	img := readArchive(t, filepath.Join(folder, image+".tar"), "docker.io/peppasync/"+image+":"+readTable(t).Version)
	content := mutate.Extract(img)
	defer content.Close()
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	unpack(t, content, root)
	return root
}

// confined is a command that sees nothing but a folder, as the image's user, who may
// write nowhere in it. Who is not root needs a user namespace to change the root, and
// is then mapped to the user who runs the tests.
func confined(ctx context.Context, root string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Chroot: root, Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 65532, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 65532, HostID: os.Getgid(), Size: 1}},
		}
	}
	return cmd
}

// output runs a confined command.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
		t.Skipf("this machine lets only root change the root: %v", err)
	}
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

func TestImagesRunWithNothingAroundThem(t *testing.T) {
	version := readTable(t).Version
	t.Run("peppasync", func(t *testing.T) {
		root := rootfs(t, "peppasync")
		if out := output(t, confined(t.Context(), root, "/bin/peppasync", "--help")); !strings.Contains(out, "throttle-dispatcher") {
			t.Errorf("--help said:\n%s", out)
		}
		if out := output(t, confined(t.Context(), root, "/bin/peppasync", "--version")); !strings.Contains(out, version) {
			t.Errorf("--version said %q, the image is %s", out, version)
		}
		// The time zones are in the binary, for there is no file of them.
		writeConfiguration(t, filepath.Join(root, "config"))
		output(t, confined(t.Context(), root, "/bin/peppasync", "validate", "-f", "/config"))
	})
	t.Run("peppasync-operator", func(t *testing.T) {
		if out := output(t, confined(t.Context(), rootfs(t, "peppasync-operator"), "/bin/peppasync-operator", "--version")); !strings.Contains(out, version) {
			t.Errorf("--version said %q, the image is %s", out, version)
		}
	})
	t.Run("nats-server", func(t *testing.T) {
		if out := output(t, confined(t.Context(), rootfs(t, "nats-server"), "/bin/nats-server", "--version")); !strings.Contains(out, "v2.") {
			t.Errorf("--version said %q", out)
		}
	})
	t.Run("peppasync-sim", func(t *testing.T) {
		if out := output(t, confined(t.Context(), rootfs(t, "peppasync-sim"), "/bin/peppasync-sim", "help")); !strings.Contains(out, "serve") {
			t.Errorf("help said %q", out)
		}
	})
}

func writeConfiguration(t *testing.T, folder string) {
	t.Helper()
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	connector := `apiVersion: peppasync.io/v1alpha1
kind: Connector
metadata: {name: erp}
spec:
  system: NetSuite
  endpoint: https://123456.suitetalk.api.netsuite.com
  auth: {secretRef: {name: erp}}
  limits: [{name: per-minute, rollingWindow: {calls: 100, per: 1m}}]
  maintenance: [{schedule: "0 2 * * 0", timeZone: America/New_York, duration: 2h}]
`
	if err := os.WriteFile(filepath.Join(folder, "erp.yaml"), []byte(connector), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPauseWaitsUntilItIsTold(t *testing.T) {
	cmd := confined(t.Context(), rootfs(t, "pause"), "/bin/pause")
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
			t.Skipf("this machine lets only root change the root: %v", err)
		}
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// A signal that comes before it listens ends it too, but not with code 0: so it is
	// asked for as long as it has not ended by itself.
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(time.Second):
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		_ = cmd.Process.Kill()
		t.Error("it went on for 10 s after it was told to end")
	}
}
