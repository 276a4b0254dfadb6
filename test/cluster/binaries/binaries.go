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

	"golang.org/x/mod/modfile"

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
	paths, err := s.GetAll(ctx, name)
	return paths[name], err
}

// GetAll returns the paths of programs by their names. Those of one module that are not
// there are built at once: one is linked while others are compiled.
func (s *Store) GetAll(ctx context.Context, names ...string) (map[string]string, error) {
	paths := make(map[string]string, len(names))
	missing := map[string][]string{}
	var folders []string
	for _, name := range names {
		p, err := find(name)
		if err != nil {
			return nil, err
		}
		folder, err := s.folder(p)
		if err != nil {
			return nil, err
		}
		paths[name] = filepath.Join(folder, name)
		switch _, err := os.Stat(paths[name]); {
		case err == nil:
			continue
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		if missing[folder] == nil {
			folders = append(folders, folder)
		}
		missing[folder] = append(missing[folder], name)
	}
	for _, folder := range folders {
		what := fmt.Sprintf("building %s (kept in %s)", strings.Join(missing[folder], ", "), folder)
		if err := s.log.Do(what, func() error { return s.build(ctx, folder, missing[folder]) }); err != nil {
			return nil, err
		}
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
	for _, other := range programs {
		if other.tool == p.tool && other.module != p.module {
			version = "mixed"
		}
	}
	source := os.DirFS(filepath.Join(s.tools, p.tool))
	err = fs.WalkDir(source, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(source, name)
		fmt.Fprintf(sum, "%s %d\n%s", name, len(data), data)
		return err
	})
	if err != nil {
		return "", err
	}
	key := hex.EncodeToString(sum.Sum(nil))[:12]
	return filepath.Join(s.cache, strings.Join([]string{p.tool, cmp.Or(version, "local"), key}, "-")), nil
}
