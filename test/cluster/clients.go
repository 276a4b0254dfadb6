package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Kubeconfig is the path of a file by which one signs in as an administrator,
// from within the node's network.
func (n *Node) Kubeconfig() string { return n.kubeconfigOf("admin") }

// Command prepares a program to run in the node's network, as an administrator:
// what reads KUBECONFIG finds the cluster.
func (n *Node) Command(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	return client(ctx, n.remains.network(), n.Kubeconfig(), program, arguments)
}

// Attach prepares a program as Command does, for the node of a folder that
// another process has started.
func Attach(ctx context.Context, dir, program string, arguments ...string) (*exec.Cmd, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(dir, "kubeconfigs", "admin")
	if _, err := os.Stat(kubeconfig); err != nil {
		return nil, fmt.Errorf("no node runs in %s: %w", dir, err)
	}
	return client(ctx, (&remains{Dir: dir}).network(), kubeconfig, program, arguments), nil
}

func client(ctx context.Context, where network, kubeconfig, program string, arguments []string) *exec.Cmd {
	command := where.command(ctx, program, arguments...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it is in none of the node's cgroups
	home := filepath.Join(filepath.Dir(kubeconfig), "home")
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "KUBECACHEDIR="+filepath.Join(home, "kube"),
		"HELM_CACHE_HOME="+filepath.Join(home, "helm-cache"), "HELM_CONFIG_HOME="+filepath.Join(home, "helm-config"),
		"HELM_DATA_HOME="+filepath.Join(home, "helm-data"))
	return command
}

// Kubectl runs kubectl and returns what it prints.
func (n *Node) Kubectl(ctx context.Context, arguments ...string) (string, error) {
	return ask(n.KubectlCommand(ctx, arguments...))
}

// KubectlCommand prepares kubectl to run, for what it prints while it runs.
func (n *Node) KubectlCommand(ctx context.Context, arguments ...string) *exec.Cmd {
	return n.Command(ctx, n.programs["kubectl"], arguments...)
}

// Helm runs helm, built if it is not there yet, and returns what it prints.
func (n *Node) Helm(ctx context.Context, arguments ...string) (string, error) {
	helm, err := n.store.Get(ctx, "helm")
	if err != nil {
		return "", err
	}
	return ask(n.Command(ctx, helm, arguments...))
}

// Apply sends manifests to the API server.
func (n *Node) Apply(ctx context.Context, manifests string) error {
	command := n.Command(ctx, n.programs["kubectl"], "apply", "--server-side", "-f", "-")
	command.Stdin = strings.NewReader(manifests)
	_, err := ask(command)
	return err
}

// ask returns the output, and with an error what was said about it.
func ask(command *exec.Cmd) (string, error) {
	var printed, said bytes.Buffer
	command.Stdout, command.Stderr = &printed, &said
	if err := command.Run(); err != nil {
		return printed.String(), fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, strings.TrimSpace(said.String()))
	}
	return printed.String(), nil
}
