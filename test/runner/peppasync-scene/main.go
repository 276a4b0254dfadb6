// Command peppasync-scene plays "Saturday, 2:47 PM" with the product as a
// process and the outside world simulated, and judges what came of it.
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
	err := newCommand(isTerminal(os.Stdout)).ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peppasync-scene:", err)
		os.Exit(1)
	}
}

// isTerminal reports whether somebody watches: a character device that is not
// declared to be a dumb one.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
