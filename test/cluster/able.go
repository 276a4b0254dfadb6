package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Able says why this machine cannot run a node, and nil where it can. It takes a second:
// everything that the kernel or a container may withhold is tried once, and removed.
func Able(ctx context.Context) (err error) {
	if err := checkMachine(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, clearTimeout, fmt.Errorf("the trial is not over within %v", clearTimeout))
	defer cancel()
	trial := fmt.Sprintf("trial-%d-%d", os.Getpid(), time.Now().UnixNano())
	for _, try := range []struct {
		what string
		do   func(ctx context.Context, name string) error
	}{
		{"control groups", tryCgroups},
		{"network namespaces, bridges, netfilter and ipset", tryNetwork},
		{"overlayfs in a mount namespace", tryMounts},
	} {
		if err := try.do(ctx, trial); err != nil {
			return fmt.Errorf("this machine withholds %s: %w", try.what, err)
		}
	}
	return nil
}

func tryCgroups(ctx context.Context, name string) error {
	groups, err := findCgroups(name)
	if err != nil {
		return err
	}
	return errors.Join(groups.create(), groups.remove(ctx))
}

// tryNetwork does what the node, its proxy and its enforcer of policies do.
func tryNetwork(ctx context.Context, name string) error {
	own := network{name: name}
	failed := own.create(ctx)
	for _, line := range []string{
		"ip link add bridge0 type bridge",
		"iptables -w -t nat -A POSTROUTING -m comment --comment trial -j MASQUERADE",
		"ipset create trial hash:ip",
		"iptables -w -A FORWARD -m set --match-set trial src -m conntrack --ctstate ESTABLISHED -j ACCEPT",
	} {
		if failed != nil {
			break
		}
		words := strings.Fields(line)
		failed = own.run(ctx, words[0], words[1:]...)
	}
	return errors.Join(failed, own.remove(context.WithoutCancel(ctx)))
}

// tryMounts mounts where nodes have their folders by default. The mount ends with its
// namespace.
func tryMounts(ctx context.Context, _ string) error {
	dir, err := os.MkdirTemp("", "peppasync-trial-")
	if err != nil {
		return err
	}
	for _, folder := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			return errors.Join(err, os.RemoveAll(dir))
		}
	}
	const mount = `cd "$0" && mount -t overlay trial -o lowerdir=lower,upperdir=upper,workdir=work merged`
	failed := run(ctx, "unshare", "--mount", "--propagation", "private", "sh", "-c", mount, dir)
	return errors.Join(failed, os.RemoveAll(dir))
}
