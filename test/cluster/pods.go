package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// PodProcess is a process in one of the node's pods.
type PodProcess struct {
	PID int
	// Pod is the UID of its pod.
	Pod string
	// Program is its executable, as it is named within the container.
	Program string
	// PeakMemory is its largest resident size so far, in bytes.
	PeakMemory int64
}

// PodProcesses lists what runs in the node's pods. What ends meanwhile is left out.
func (n *Node) PodProcesses() ([]PodProcess, error) {
	groups, err := n.remains.cgroups()
	if err != nil {
		return nil, err
	}
	pids, err := groups.processes()
	if err != nil {
		return nil, err
	}
	var all []PodProcess
	for _, pid := range pids {
		if p, ok := podProcess(pid); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

func podProcess(pid int) (p PodProcess, ok bool) {
	folder := fmt.Sprintf("/proc/%d", pid)
	groups, err := os.ReadFile(filepath.Join(folder, "cgroup"))
	if err != nil {
		return p, false
	}
	p.PID, p.Pod = pid, podOf(string(groups))
	if p.Pod == "" {
		return p, false
	}
	if p.Program, err = os.Readlink(filepath.Join(folder, "exe")); err != nil {
		return p, false
	}
	status, err := os.ReadFile(filepath.Join(folder, "status"))
	if err != nil {
		return p, false
	}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			kibibytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			p.PeakMemory = kibibytes << 10
			return p, err == nil
		}
	}
	return p, false // it has ended, and is not waited for yet
}

// podOf finds the UID of a pod in a process's groups, as the kubelet names them:
// .../kubepods/burstable/pod<UID>/<container>.
func podOf(groups string) string {
	for line := range strings.Lines(groups) {
		parts := strings.Split(strings.TrimSpace(line), "/")
		i := slices.IndexFunc(parts, func(part string) bool { return strings.HasPrefix(part, "pod") && len(part) == len("pod")+36 })
		if i >= 0 {
			return strings.TrimPrefix(parts[i], "pod")
		}
	}
	return ""
}

// Kill ends a program in a pod at once, as the kernel does where memory runs out: the pod
// stays, and its container is started again.
func (n *Node) Kill(uid, program string) error {
	processes, err := n.PodProcesses()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(processes, func(p PodProcess) bool { return p.Pod == uid && p.Program == program })
	if i < 0 {
		return fmt.Errorf("no %s runs in a pod with the UID %s", program, uid)
	}
	if err := syscall.Kill(processes[i].PID, syscall.SIGKILL); err != nil {
		return errors.Join(fmt.Errorf("kill %s in pod %s", program, uid), err)
	}
	return nil
}
