// Command peppasync is the one binary: the all-in-one, each role as a process
// of its own, and the commands of a client.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/peppasync/peppasync/services/internal/run"
)

func main() {
	ctx, stop := run.Signals(context.Background())
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peppasync:", err)
		os.Exit(1)
	}
}
