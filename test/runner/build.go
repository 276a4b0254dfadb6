// Package runner starts the product as a user would: it builds the binary,
// writes the configuration and the secrets of an outside world, and runs, kills
// and restarts the process. It knows the product by its command line only.
package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Root returns the repository's folder: the first one upwards that holds
// go.work.
func Root() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.work")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("not inside the repository: no go.work in this folder or above it")
		}
		folder = parent
	}
}

// Build compiles the product into folder, without C as for users, and returns the
// binary's path. With race the binary has the race detector, which needs C, and ends
// with exit code 66 on a race.
func Build(ctx context.Context, root, folder string, race bool) (string, error) {
	binary := filepath.Join(folder, "peppasync")
	args, cgo := []string{"build", "-o", binary}, "CGO_ENABLED=0"
	if race {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	build := exec.CommandContext(ctx, "go", append(args, "./peppasync")...)
	build.Env = append(os.Environ(), cgo)
	build.Dir = filepath.Join(root, "services")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the product: %w\n%s", err, out)
	}
	return binary, nil
}
