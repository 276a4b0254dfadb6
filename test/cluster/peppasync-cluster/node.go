package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/test/cluster"
	"github.com/peppasync/peppasync/test/cluster/binaries"
	"github.com/peppasync/peppasync/test/cluster/progress"
)

func addDir(command *cobra.Command, dir *string) {
	command.Flags().StringVar(dir, "dir", filepath.Join(os.TempDir(), "peppasync-cluster"), "folder of the node")
}

func newUpCommand() *cobra.Command {
	var dir string
	command := &cobra.Command{
		Use:   "up",
		Short: "Start a node in the background, and say how to use it",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			node, err := cluster.Start(command.Context(), cluster.Options{Dir: dir, Progress: command.ErrOrStderr(), Detached: true})
			if err != nil {
				return err
			}
			fmt.Fprintf(command.OutOrStdout(), `The node is ready. Its logs are in %[1]s/logs.
	peppasync-cluster run --dir %[1]s -- kubectl get pods -A
	peppasync-cluster import --dir %[1]s IMAGE.tar...
	peppasync-cluster down --dir %[1]s
`, filepath.Dir(filepath.Dir(node.Kubeconfig())))
			return nil
		},
	}
	addDir(command, &dir)
	return command
}

func newDownCommand() *cobra.Command {
	var dir string
	command := &cobra.Command{
		Use:   "down",
		Short: "End the node of a folder, whoever started it, and clear away what it made",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return progress.New(command.ErrOrStderr()).Do("stopping the node of "+dir, func() error {
				return cluster.Down(command.Context(), dir)
			})
		},
	}
	addDir(command, &dir)
	return command
}

func newRunCommand() *cobra.Command {
	var dir string
	command := &cobra.Command{
		Use:     "run -- PROGRAM [ARGUMENT]...",
		Short:   "Run kubectl, helm or any other program in the node's network as an administrator",
		Example: "  peppasync-cluster run -- kubectl get pods -A",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			program, err := resolve(command.Context(), arguments[0], progress.New(command.ErrOrStderr()))
			if err != nil {
				return err
			}
			inside, err := cluster.Attach(command.Context(), dir, program, arguments[1:]...)
			if err != nil {
				return err
			}
			inside.Stdin, inside.Stdout, inside.Stderr = command.InOrStdin(), command.OutOrStdout(), command.ErrOrStderr()
			return inside.Run()
		},
	}
	addDir(command, &dir)
	return command
}

// resolve prefers the node's own programs, whose versions fit.
func resolve(ctx context.Context, program string, log *progress.Log) (string, error) {
	if !slices.Contains(binaries.All(), program) {
		return program, nil
	}
	store, err := binaries.Open(ctx, log)
	if err != nil {
		return "", err
	}
	return store.Get(ctx, program)
}

func newImportCommand() *cobra.Command {
	var dir string
	command := &cobra.Command{
		Use:   "import ARCHIVE...",
		Short: "Hand images to the node and print their names",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, archives []string) error {
			ctr, err := resolve(command.Context(), "ctr", progress.New(command.ErrOrStderr()))
			if err != nil {
				return err
			}
			for _, archive := range archives {
				names, err := cluster.Import(command.Context(), dir, ctr, archive)
				if err != nil {
					return err
				}
				fmt.Fprintln(command.OutOrStdout(), strings.Join(names, "\n"))
			}
			return nil
		},
	}
	addDir(command, &dir)
	return command
}

func newNeedsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "needs",
		Short: "Print the Debian packages that a node needs and that are not installed",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("a node makes namespaces, mounts and cgroups: run this as root")
			}
			if missing := cluster.Missing(); len(missing) > 0 {
				fmt.Fprintln(command.OutOrStdout(), strings.Join(missing, " "))
			}
			return nil
		},
	}
}

func newAbleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "able",
		Short: "Say whether this machine can run a node: nothing and exit code 0, or what it withholds",
		Long: `Tries once, within a second, what a node takes from the kernel: control groups, network and mount
namespaces, bridges, netfilter with ipset, overlayfs. Packages come first: "needs" lists them. Memory,
disk and processors are not looked at.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return cluster.Able(command.Context()) },
	}
}
