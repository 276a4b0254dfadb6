// Package binaries builds the programs that a Kubernetes node consists of from
// their Go modules and keeps them outside the repository, so that the second
// run has nothing to build. The versions are those of the go.mod files in
// tools/, one module for each of the graphs.
package binaries

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/sys/unix"

	"github.com/peppasync/peppasync/test/cluster/progress"
)

// Store finds, and where missing builds, the programs.
type Store struct {
	tools    string
	cache    string
	compiler string
	log      *progress.Log
}

// Open finds the sources from the working folder, which has to be within the
// repository, and the cache in the user's cache folder.
func Open(ctx context.Context, log *progress.Log) (*Store, error) {
	tools, err := findTools()
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("where the built programs are kept (set XDG_CACHE_HOME): %w", err)
	}
	version, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOVERSION: %w", err)
	}
	return &Store{
		tools:    tools,
		cache:    filepath.Join(cache, "peppasync-cluster"),
		compiler: strings.TrimSpace(string(version)),
		log:      log,
	}, nil
}

// findTools walks up to the root of the repository.
func findTools() (string, error) {
	working, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for folder := working; ; folder = filepath.Dir(folder) {
		tools := filepath.Join(folder, "test", "cluster", "tools")
		if _, err := os.Stat(filepath.Join(tools, "kubernetes", "go.mod")); err == nil {
			return tools, nil
		}
		if folder == filepath.Dir(folder) {
			return "", fmt.Errorf("no test/cluster/tools in %s or above it: run this within a checkout of peppasync", working)
		}
	}
}

// Get returns the path of a program, built if it is not there.
func (s *Store) Get(ctx context.Context, name string) (string, error) {
	p, err := find(name)
	if err != nil {
		return "", err
	}
	folder, err := s.folder(p)
	if err != nil {
		return "", err
	}
	built := filepath.Join(folder, name)
	if _, err := os.Stat(built); !errors.Is(err, fs.ErrNotExist) {
		return built, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	err = s.log.Do("building "+name+" (kept in "+folder+")", func() error { return s.build(ctx, p, built) })
	return built, err
}

// GetAll is Get of several, in their order.
func (s *Store) GetAll(ctx context.Context, names ...string) (map[string]string, error) {
	paths := make(map[string]string, len(names))
	for _, name := range names {
		built, err := s.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		paths[name] = built
	}
	return paths, nil
}

// Version returns the version of the module that a program is built from.
func (s *Store) Version(name string) (string, error) {
	p, err := find(name)
	if err != nil {
		return "", err
	}
	return s.version(p)
}

func (s *Store) version(p program) (string, error) {
	if p.module == "" {
		return "", nil
	}
	name := filepath.Join(s.tools, p.tool, "go.mod")
	data, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	module, err := modfile.Parse(name, data, nil)
	if err != nil {
		return "", err
	}
	for _, require := range module.Require {
		if require.Mod.Path == p.module {
			return require.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", name, p.module)
}

// folder is named after everything that the programs of one tool depend on,
// so that two checkouts with different versions do not disturb each other.
func (s *Store) folder(p program) (string, error) {
	version, err := s.version(p)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, s.compiler)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name, other := range programs {
			if other.tool == p.tool && !yield(fmt.Sprintf("%s %+v", name, other)) {
				return
			}
		}
	}) {
		fmt.Fprintln(sum, name)
	}
	source := filepath.Join(s.tools, p.tool)
	entries, err := os.ReadDir(source)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(source, entry.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", entry.Name(), len(data), data)
	}
	key := hex.EncodeToString(sum.Sum(nil))[:12]
	return filepath.Join(s.cache, strings.Join([]string{p.tool, cmp.Or(version, "local"), key}, "-")), nil
}

// build writes beside the place and renames, so that nobody sees half a
// program; one of several who need it builds and the others wait.
func (s *Store) build(ctx context.Context, p program, built string) error {
	release, err := lock(ctx, built+".lock")
	if err != nil {
		return err
	}
	defer release()
	if _, err := os.Stat(built); err == nil {
		return nil // another one was faster
	}
	arguments, err := s.arguments(p, built+".unfinished")
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = filepath.Join(s.tools, p.tool)
	cgo := "CGO_ENABLED=0"
	if p.cgo {
		cgo = "CGO_ENABLED=1"
	}
	command.Env = append(os.Environ(), "GOWORK=off", cgo)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", strings.Join(arguments, " "), command.Dir, err, output)
	}
	return os.Rename(built+".unfinished", built)
}

func (s *Store) arguments(p program, output string) ([]string, error) {
	version, err := s.version(p)
	if err != nil {
		return nil, err
	}
	flags := []string{"-s", "-w"}
	for _, variable := range p.stamp {
		flags = append(flags, "-X", variable+"="+version)
	}
	if major, minor, ok := numbers(version); ok && p.module == kubernetes {
		for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
			flags = append(flags, "-X", pkg+".gitMajor="+major, "-X", pkg+".gitMinor="+minor, "-X", pkg+".gitTreeState=clean")
		}
	}
	arguments := []string{"build", "-trimpath", "-buildvcs=false", "-o", output, "-ldflags", strings.Join(flags, " ")}
	if p.tags != "" {
		arguments = append(arguments, "-tags", p.tags)
	}
	return append(arguments, p.pkg), nil
}

// numbers splits v1.37.2 into 1 and 37.
func numbers(version string) (major, minor string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) < 2 {
		return "", "", false
	}
	return parts[0], parts[1], true
}

// lock waits for its turn. The kernel lets go of it with the process.
func lock(ctx context.Context, name string) (release func(), err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), file.Close())
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("waiting for another build, lock %s: %w", name, context.Cause(ctx)), file.Close())
		}
	}
}
