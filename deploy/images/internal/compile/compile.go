// Package compile builds one static Go binary, so that the same source gives the
// same bytes wherever and whenever it is built.
package compile

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Request is a binary to build.
type Request struct {
	// Folder is where the go command runs, whose go.mod decides the versions.
	Folder, Package  string
	OS, Architecture string
	// Stamp is the variable that Version is linked into, empty for none.
	Stamp, Version string
	// Output is the file to write.
	Output string
}

// Build builds a binary. The path of the source and the state of the checkout are
// left out of it: an image says its commit in a label, so that its layer stays the
// same where the code did.
func Build(ctx context.Context, r Request) error {
	linker := "-s -w -buildid="
	if r.Stamp != "" {
		linker += " -X " + r.Stamp + "=" + r.Version
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", linker, "-o", r.Output, r.Package}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the table of the repository says what is built
	cmd.Dir = r.Folder
	cmd.Env = environment(os.Environ(), r.OS, r.Architecture)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build %s for %s/%s in %s: %w\n%s", r.Package, r.OS, r.Architecture, r.Folder, err, said.Bytes())
	}
	return nil
}

// environment returns the caller's without what would change the binary. The
// workspace is off, so that a module's own go.mod decides, as for those who build it
// by itself.
func environment(base []string, system, architecture string) []string {
	fixed := []string{
		"CGO_ENABLED=0", "GOOS=" + system, "GOARCH=" + architecture, "GOAMD64=v1", "GOARM64=v8.0",
		"GOWORK=off", "GOFLAGS=-mod=readonly", "GOEXPERIMENT=", "GODEBUG=", "GOFIPS140=off",
	}
	env := make([]string, 0, len(base)+len(fixed))
	for _, variable := range base {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, "GOARM") && name != "GO_EXTLINK_ENABLED" && name != "GO_LDFLAGS" {
			env = append(env, variable)
		}
	}
	return append(env, fixed...) // the last of a name counts
}
