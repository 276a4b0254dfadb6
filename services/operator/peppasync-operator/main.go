// Command peppasync-operator makes the custom resources of a namespace the catalog that
// the roles of peppasync work by. Its README is services/operator/README.md.
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
		fmt.Fprintln(os.Stderr, "peppasync-operator:", err)
		os.Exit(1)
	}
}
