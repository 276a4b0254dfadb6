package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestFindModules(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{
		"services/go.mod":                {},
		"services/api/go.mod":            {},
		"services/up/up.go":              {},
		"deploy/tools/buf/go.mod":        {},
		"test/cluster/tools/etcd/go.mod": {},
		"services/testdata/m/go.mod":     {},
		".cache/pkg/mod/x@v1.0/go.mod":   {},
	}
	got, err := findModules(tree)
	if err != nil {
		t.Fatal(err)
	}
	want := []module{{folder: "deploy/tools/buf", tool: true}, {folder: "services/api"}, {folder: "services"}, {folder: "test/cluster/tools/etcd", tool: true}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(module{})); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}

func TestFindOrphans(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{
		"proto/order/v1/order.proto": {},
		"proto/order/v1/order.pb.go": {},
		"proto/order/v1/gone.pb.go":  {},
	}
	got, err := findOrphans(tree)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"proto/order/v1/gone.pb.go"}, got); diff != "" {
		t.Errorf("orphans (-want +got):\n%s", diff)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) {
		t.Helper()
		var out strings.Builder
		args = append([]string{"git", "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)
		if err := command(t.Context(), root, &out, args...); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out.String())
		}
	}
	write("m/go.mod", "module example.com/m\n\ngo 1.26.0\n")
	write("m/m.go", "package m\n")
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	if err := run(t.Context(), root, io.Discard); err != nil {
		t.Fatalf("a whole repository: %v", err)
	}

	write("m/m.go", "package m\n\nconst generated = 1\n")
	write("m/m.pb.go", "package m\n")
	write("m/m_test.go", "package m\n\nimport _ \"example.com/absent\"\n")
	err := run(t.Context(), root, io.Discard)
	if err == nil {
		t.Fatal("a broken repository passed")
	}
	for _, want := range []string{"m/m.pb.go", "+const generated = 1", "?? m/m_test.go", "module m: go vet"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %q:\n%v", want, err)
		}
	}
}
