package secrets

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func secret(t *testing.T, r Resolver, name string) map[string]string {
	t.Helper()
	got, err := r.Secret(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func equal(t *testing.T, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Fatalf("secret is %q, want %q", got, want)
	}
}

func TestDirectoryReadsFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "shop", "secret"), "s1\n")
	write(t, filepath.Join(dir, "shop", "previousSecret"), "s0\r\n")
	write(t, filepath.Join(dir, "shop", "two"), "a\n\n")
	write(t, filepath.Join(dir, "shop", ".secret.swp"), "editor")
	write(t, filepath.Join(dir, "shop", "folder", "x"), "deeper")
	r := Directory(dir)
	equal(t, secret(t, r, "shop"), map[string]string{"secret": "s1", "previousSecret": "s0", "two": "a\n"})
	secret(t, r, "shop")["secret"] = "changed by the caller"
	equal(t, secret(t, r, "shop"), map[string]string{"secret": "s1", "previousSecret": "s0", "two": "a\n"})
}

// mount writes a version of a secret as Kubernetes does, and swaps it in.
func mount(t *testing.T, dir, version string, values map[string]string) {
	t.Helper()
	for key, value := range values {
		write(t, filepath.Join(dir, version, key), value)
		if err := os.Symlink(filepath.Join(kubernetesData, key), filepath.Join(dir, key)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	next := filepath.Join(dir, "..data_tmp")
	if err := os.Symlink(version, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, kubernetesData)); err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryTakesUpARotatedKubernetesSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		shop := filepath.Join(dir, "shop")
		mount(t, shop, "..2026_01_01_00_00_00.1", map[string]string{"secret": "old", "accessToken": "t1"})
		r := Directory(dir)
		equal(t, secret(t, r, "shop"), map[string]string{"secret": "old", "accessToken": "t1"})

		mount(t, shop, "..2026_01_02_00_00_00.2", map[string]string{"secret": "new", "accessToken": "t2"})
		if err := os.RemoveAll(filepath.Join(shop, "..2026_01_01_00_00_00.1")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(fresh)
		equal(t, secret(t, r, "shop"), map[string]string{"secret": "new", "accessToken": "t2"})

		if err := os.RemoveAll(shop); err != nil {
			t.Fatal(err)
		}
		time.Sleep(fresh)
		if _, err := r.Secret(t.Context(), "shop"); !errors.Is(err, ErrNotFound) {
			t.Fatalf("a removed secret gave %v, want ErrNotFound", err)
		}
	})
}

func TestDirectoryRefuses(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "value")
	write(t, outside, "hunter2")
	write(t, filepath.Join(dir, "large", "key"), strings.Repeat("hunter2", maxValue/7+1))
	write(t, filepath.Join(dir, "file"), "hunter2")
	if err := os.MkdirAll(filepath.Join(dir, "escaping"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "escaping", "key")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "dangling"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("gone", filepath.Join(dir, "dangling", "key")); err != nil {
		t.Fatal(err)
	}
	r := Directory(dir)
	for name, isNotFound := range map[string]bool{
		"": false, "..": false, ".": false, "../shop": false, "a/b": false, "/etc": false, "Shop": false, "a..b": false,
		"-a": false, "a-": false, "a\x00b": false, strings.Repeat("a", maxName+1): false,
		"missing": true, "large": false, "file": false, "escaping": false, "dangling": false,
	} {
		_, err := r.Secret(t.Context(), name)
		if err == nil || errors.Is(err, ErrNotFound) != isNotFound {
			t.Errorf("Secret(%.20q) = %v, want an error, ErrNotFound: %v", name, err, isNotFound)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Secret(%.20q): the error holds a value: %v", name, err)
		}
	}
	if _, err := Directory(filepath.Join(dir, "nowhere")).Secret(t.Context(), "shop"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a folder that is not there gave %v, want ErrNotFound", err)
	}
}

func TestEnvironment(t *testing.T) {
	r := Environment([]string{
		"PEPPASYNC_SECRET_SHOP_EU_ACCESS_TOKEN=t1",
		"PEPPASYNC_SECRET_SHOP_EU_PREVIOUS_SECRET=a=b",
		"PEPPASYNC_SECRET_SHOP_EU_SECRET=s",
		"PEPPASYNC_SECRET_SHOP_EU_EMPTY=",
		"PEPPASYNC_SECRET_ERP_accessToken=t2",
		"PEPPASYNC_SECRET_TWICE_ACCESS_TOKEN=hunter2",
		"PEPPASYNC_SECRET_TWICE_accessToken=hunter2",
		"PATH=/bin",
		"MALFORMED",
	})
	equal(t, secret(t, r, "shop-eu"), map[string]string{"accessToken": "t1", "previousSecret": "a=b", "secret": "s"})
	equal(t, secret(t, r, "shop.eu"), secret(t, r, "shop-eu"))
	equal(t, secret(t, r, "erp"), map[string]string{"accessToken": "t2"})
	if _, err := r.Secret(t.Context(), "warehouse"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a secret that is not there gave %v, want ErrNotFound", err)
	}
	if _, err := r.Secret(t.Context(), "SHOP"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("an invalid name gave %v, want another error", err)
	}
	_, err := r.Secret(t.Context(), "twice")
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "TWICE_accessToken") {
		t.Errorf("two variables for one key gave %v, want an error that names them and no value", err)
	}
}

// failing is a source that cannot be read at the moment.
type failing struct{ err error }

func (f failing) Secret(context.Context, string) (map[string]string, error) { return nil, f.err }

func TestChain(t *testing.T) {
	first := Environment([]string{"PEPPASYNC_SECRET_A_KEY=first"})
	second := Environment([]string{"PEPPASYNC_SECRET_A_KEY=second", "PEPPASYNC_SECRET_B_KEY=second"})
	equal(t, secret(t, Chain(first, second), "a"), map[string]string{"key": "first"})
	equal(t, secret(t, Chain(first, second), "b"), map[string]string{"key": "second"})
	if _, err := Chain(first, second).Secret(t.Context(), "c"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	broken := errors.New("disk")
	if _, err := Chain(failing{broken}, second).Secret(t.Context(), "a"); !errors.Is(err, broken) {
		t.Errorf("got %v, want the first source's error, not the second source's secret", err)
	}
}

func TestNamesStayInTheFolder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOf(rapid.SampledFrom([]rune("a./\\-0A\x00~"))).Draw(t, "name")
		if validName(name) == nil && (!filepath.IsLocal(name) || strings.ContainsAny(name, "/\\")) {
			t.Fatalf("%q is taken and leaves the folder", name)
		}
	})
}
