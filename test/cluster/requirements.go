package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// cniFolder is where Debian keeps the plugins that connect pods.
const cniFolder = "/usr/lib/cni"

// needs lists what the node takes from the machine, by the Debian package that
// has it. This is the one place that names them.
var needs = map[string][]string{
	"containernetworking-plugins": {
		filepath.Join(cniFolder, "bridge"), filepath.Join(cniFolder, "host-local"), filepath.Join(cniFolder, "loopback"),
	},
	"conntrack":      {"conntrack"},
	"ipset":          {"ipset"},
	"iproute2":       {"ip"},
	"iptables":       {"iptables", "iptables-save", "iptables-restore"},
	"mount":          {"mount"},
	"procps":         {"sysctl"},
	"util-linux":     {"nsenter", "unshare"},
	"gcc":            {"gcc"},
	"libc6-dev":      {"/usr/include/stdio.h"},
	"libseccomp-dev": {"/usr/include/seccomp.h"},
	"pkg-config":     {"pkg-config"},
}

// Missing returns the Debian packages that have to be installed.
func Missing() []string {
	var packages []string
	for name, files := range needs {
		if slices.ContainsFunc(files, func(file string) bool {
			if filepath.IsAbs(file) {
				_, err := os.Stat(file)
				return err != nil
			}
			_, err := exec.LookPath(file)
			return err != nil
		}) {
			packages = append(packages, name)
		}
	}
	slices.Sort(packages)
	return packages
}

// checkMachine says at once what would fail in an odd way later.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return errors.New("a node makes namespaces, mounts and cgroups: run this as root")
	}
	if missing := Missing(); len(missing) > 0 {
		return fmt.Errorf("install what is missing: apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	return nil
}
