//go:build !linux

package runner

import "os/exec"

// leash is for Linux only: elsewhere a process may outlive a runner that is
// killed.
func leash(*exec.Cmd) {}
