package binaries

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// build makes programs of one module. It writes beside their places and renames, so that
// nobody sees half a program; one of several who need them builds and the others wait.
func (s *Store) build(ctx context.Context, folder string, names []string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	release, err := lock(ctx, filepath.Join(folder, "lock"))
	if err != nil {
		return err
	}
	defer release()
	var missing []string
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			missing = append(missing, name) // no other one was faster
		}
	}
	if len(missing) == 0 {
		return nil
	}
	unfinished := filepath.Join(folder, "unfinished")
	if err := errors.Join(os.RemoveAll(unfinished), os.Mkdir(unfinished, 0o755)); err != nil {
		return err
	}
	if err := s.compile(ctx, unfinished, missing); err != nil {
		return err
	}
	for _, name := range missing {
		if err := os.Rename(filepath.Join(unfinished, name), filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	return os.Remove(unfinished)
}

// compile builds programs of one module into a folder.
func (s *Store) compile(ctx context.Context, folder string, names []string) error {
	arguments, err := s.arguments(folder, names)
	if err != nil {
		return err
	}
	p := programs[names[0]] // find has seen them all
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
	return nil
}

// arguments are those of the go command for programs of one module.
func (s *Store) arguments(folder string, names []string) ([]string, error) {
	flags := []string{"-s", "-w"}
	packages := make([]string, 0, len(names))
	for _, name := range names {
		p := programs[name]
		packages = append(packages, p.pkg)
		version, err := s.version(p)
		if err != nil {
			return nil, err
		}
		for _, variable := range p.stamp {
			flags = append(flags, "-X", variable+"="+version)
		}
		if major, minor, ok := numbers(version); ok && p.module == kubernetes {
			for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
				flags = append(flags, "-X", pkg+".gitMajor="+major, "-X", pkg+".gitMinor="+minor, "-X", pkg+".gitTreeState=clean")
			}
		}
	}
	output := folder + string(filepath.Separator)
	if len(names) == 1 {
		output += names[0] // a package may be called otherwise
	}
	arguments := []string{"build", "-trimpath", "-buildvcs=false", "-o", output, "-ldflags", strings.Join(flags, " ")}
	if tags := programs[names[0]].tags; tags != "" {
		arguments = append(arguments, "-tags", tags)
	}
	return append(arguments, packages...), nil
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
