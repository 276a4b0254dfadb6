package bootstrap_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/peppasync/internal/bootstrap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func made(t *testing.T, store bootstrap.Store, hosts ...string) bootstrap.Report {
	t.Helper()
	report, err := bootstrap.Run(t.Context(), store, bootstrap.Options{Hosts: hosts, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// contents returns every file below a folder.
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, folder+"/")] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestRunAgainChangesNothing(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "nats")
	if first := made(t, bootstrap.Directory(folder), "a"); len(first.Made) != 10 || len(first.Kept) > 0 {
		t.Errorf("the first run reports %+v", first)
	}
	before := contents(t, folder)
	if again := made(t, bootstrap.Directory(folder), "b"); len(again.Made) > 0 || len(again.Renewed) > 0 {
		t.Errorf("the second run reports %+v", again)
	}
	if diff := cmp.Diff(before, contents(t, folder)); diff != "" {
		t.Errorf("it changed (-before +after):\n%s", diff)
	}
}

func TestWhatIsMissingIsMade(t *testing.T) {
	folder := t.TempDir()
	made(t, bootstrap.Directory(folder), "a")
	before := contents(t, folder)
	for _, gone := range []string{"ingest", "server"} {
		if err := os.RemoveAll(filepath.Join(folder, gone)); err != nil {
			t.Fatal(err)
		}
	}
	report := made(t, bootstrap.Directory(folder), "a")
	if diff := cmp.Diff([]string{"server", "ingest"}, report.Made); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"users"}, report.Renewed); diff != "" {
		t.Errorf("written anew (-want +got):\n%s", diff)
	}
	after := contents(t, folder)
	for _, kept := range []string{"ca/ca.crt", "ca/ca.key", "logic-gate/nkey", "admin/nkey"} {
		if before[kept] != after[kept] {
			t.Errorf("%s was made anew", kept)
		}
	}
	if before["ingest/nkey"] == after["ingest/nkey"] || before["users/authorization.conf"] == after["users/authorization.conf"] {
		t.Error("the key that was deleted still counts")
	}
}

func TestTheCertificateIsForTheServers(t *testing.T) {
	folder := t.TempDir()
	made(t, bootstrap.Directory(folder), "nats-0.nats.shop.svc", "*.nats.shop.svc.cluster.local", "10.0.0.1")
	files := contents(t, folder)
	block, _ := pem.Decode([]byte(files["server/tls.crt"]))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(files["ca/ca.crt"]))
	for name, valid := range map[string]bool{
		"nats-0.nats.shop.svc": true, "nats-2.nats.shop.svc.cluster.local": true, "10.0.0.1": true,
		"nats.shop.svc.cluster.local": false, "evil.example": false, "10.0.0.2": false,
	} {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			_, err := certificate.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now.Add(9 * 365 * 24 * time.Hour), KeyUsages: []x509.ExtKeyUsage{usage}})
			if (err == nil) != valid {
				t.Errorf("%s, use %v: %v, want it valid: %v", name, usage, err, valid)
			}
		}
	}
	for name := range files {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s may be read by others: %v, %v", name, info.Mode(), err)
		}
	}
}

// late is a store in which somebody else stores a name between the look and the writing.
type late struct {
	bootstrap.Directory

	name  string
	other bootstrap.Directory
}

func (l *late) Create(ctx context.Context, name string, data map[string][]byte) (bool, error) {
	if name == l.name {
		theirs, err := l.other.Get(ctx, name)
		if err != nil {
			return false, err
		}
		if _, err := l.Directory.Create(ctx, name, theirs); err != nil {
			return false, err
		}
	}
	return l.Directory.Create(ctx, name, data)
}

func TestTwoAtOnceEndWithTheSame(t *testing.T) {
	other, folder := t.TempDir(), t.TempDir()
	made(t, bootstrap.Directory(other), "a")
	made(t, &late{bootstrap.Directory(folder), "notifier", bootstrap.Directory(other)}, "a")
	theirs, ours := contents(t, other), contents(t, folder)
	if theirs["notifier/nkey"] != ours["notifier/nkey"] {
		t.Error("what somebody else had stored was replaced")
	}
}

func TestAKeyThatIsNoneIsNotReplaced(t *testing.T) {
	folder := t.TempDir()
	made(t, bootstrap.Directory(folder), "a")
	if err := os.WriteFile(filepath.Join(folder, "ingest", "nkey"), []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := bootstrap.Run(t.Context(), bootstrap.Directory(folder), bootstrap.Options{Hosts: []string{"a"}, Now: now})
	if err == nil || !strings.Contains(err.Error(), "nkey of ingest") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want an error that names the key and does not show it", err)
	}
}
