package runner

import (
	"context"
	"fmt"
	"time"
)

// Until asks condition at once and then every so often, until it holds. The
// error, when ctx ends first, says what was waited for.
func Until(ctx context.Context, every time.Duration, what string, condition func() bool) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		}
	}
	return nil
}
