package runner

import (
	"os/exec"
	"syscall"
)

// leash has the system end the process when this one ends, also by a kill or a
// panic that no cleanup survives.
func leash(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
