package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/test/cluster"
	"github.com/peppasync/peppasync/test/cluster/binaries"
	"github.com/peppasync/peppasync/test/cluster/progress"
)

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "peppasync-cluster",
		Short:         "A real Kubernetes, built from Go modules, for tests",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newAPICommand(), newBuildCommand(), newUpCommand(), newDownCommand(), newRunCommand(), newImportCommand())
	root.AddCommand(newNeedsCommand(), newAbleCommand())
	return root
}

func newBuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build [PROGRAM]...",
		Short: "Build all programs that a node needs, or these, and print where they are",
		RunE: func(command *cobra.Command, names []string) error {
			store, err := binaries.Open(command.Context(), progress.New(command.ErrOrStderr()))
			if err != nil {
				return err
			}
			if len(names) == 0 {
				names = binaries.All()
			}
			built, err := store.GetAll(command.Context(), names...)
			if err != nil {
				return err
			}
			for _, name := range names {
				fmt.Fprintln(command.OutOrStdout(), built[name])
			}
			return nil
		},
	}
}

func newAPICommand() *cobra.Command {
	var dir string
	command := &cobra.Command{
		Use:   "api --dir DIR",
		Short: "Run etcd and kube-apiserver on free loopback ports until the standard input ends or a signal comes",
		Long: `Run etcd and kube-apiserver on free ports of the loopback, with their data and logs in DIR.
The path of a kubeconfig is printed when the server is ready. It runs until the standard input
ends, so that it ends with whoever started it, or until a signal comes.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			server, err := cluster.StartAPIServer(command.Context(), dir, command.ErrOrStderr())
			if err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), server.Kubeconfig())
			err = nil
			select {
			case <-ended(command.Context(), command.InOrStdin()):
			case <-server.Ended():
				err = errors.New("a server ended by itself; the reason is in " + dir)
			}
			return errors.Join(err, server.Stop())
		},
	}
	command.Flags().StringVar(&dir, "dir", "", "folder for data, keys and logs, empty or not there yet")
	_ = command.MarkFlagRequired("dir") // fails only for a flag that is not there
	return command
}

// ended is closed when nobody wants the server any more.
func ended(ctx context.Context, in io.Reader) <-chan struct{} {
	closed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in) // whatever ends it
		close(closed)
	}()
	either := make(chan struct{})
	go func() {
		defer close(either)
		select {
		case <-ctx.Done():
		case <-closed:
		}
	}()
	return either
}
