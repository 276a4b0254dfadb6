package up

import (
	"context"
	"errors"
	"sync/atomic"
)

// Readiness tells whether a role works: it knows the catalog, and the bus is as it has
// to be. It is safe for concurrent use.
type Readiness struct {
	check atomic.Pointer[func(context.Context) error]
}

var errStarting = errors.New("waiting for NATS, or for the catalog: \"peppasync apply\" or the operator writes it")

// Ready returns nil where the role works, and otherwise why not.
func (r *Readiness) Ready(ctx context.Context) error {
	check := r.check.Load()
	if check == nil {
		return errStarting
	}
	return (*check)(ctx)
}

// begins says that the role works from now on as long as check is nil.
func (r *Readiness) begins(check func(context.Context) error) {
	if r != nil {
		r.check.Store(&check)
	}
}
