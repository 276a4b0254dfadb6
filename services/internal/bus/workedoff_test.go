package bus_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// Writers that give up leave work to the server, which makes folders for it. A test whose
// server has ended can remove its own all the same: the removal is what fails.
func TestAServerHasWorkedOffWhatWasLeftToIt(t *testing.T) {
	for round := range 3 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			b := bustest.Start(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			var writers sync.WaitGroup
			for i := range 80 {
				writers.Go(func() {
					_, _ = b.PublishAtomic(ctx, written(fmt.Sprint("shop_", i), bus.Sequence(0), time.Now().Add(time.Hour)))
				})
			}
			writers.Wait()
		})
	}
}
