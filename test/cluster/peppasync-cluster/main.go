// Command peppasync-cluster runs a real Kubernetes for tests and for people who
// want to look at one: only its API server, or a whole node.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peppasync-cluster:", err)
		os.Exit(1)
	}
}
