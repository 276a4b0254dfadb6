package up

import (
	"context"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// A replica that is told to stop while it still waits for the catalog has not failed: a
// Deployment that rolls twice would show a crash.
func TestAStopBeforeThereIsACatalogIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, role := range Roles() {
		if role.early {
			continue
		}
		t.Run(role.Name, func(t *testing.T) {
			t.Parallel()
			server, logs := bustest.NewServer(t, bustest.WithTCP()), newLogs()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan error, 1)
			go func() { ended <- role.Run(ctx, bus.Options{URL: server.URL()}, environment(t, logs, nil)) }()
			logs.await(t, "waiting for a catalog to work by")
			stop()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("it ended with %v", err)
				}
			case <-time.After(patience):
				t.Errorf("it has not ended within %v", patience)
			}
		})
	}
}
