// Command pause holds the namespaces of a pod for as long as it has containers.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// A select without cases is a deadlock to the runtime; a channel that a
	// signal may fill is not. Children are not to be reaped: each container of
	// a pod has its own process namespace.
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
}
