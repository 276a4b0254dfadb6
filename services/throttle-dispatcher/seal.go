package throttledispatcher

import (
	"context"
	"errors"
	"fmt"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/secrets"
)

// seal puts the secret of the Connector's webhook into a request that carries it. The
// sealed request is in this attempt alone: claims, holds and results are of the call,
// which has none, and the next attempt is sealed anew.
//
// A secret that is missing holds the call, and no other waits for it: whoever asked
// for it is told why, and can ask again. One that cannot be read just now is read
// again.
func (w *worker) seal(ctx context.Context, p prepared) prepared {
	sealer, ok := w.system.(connectors.Sealer)
	if !ok {
		return p
	}
	// Most requests carry none, and need no secret to be read.
	request, err := sealer.Seal(&w.spec.Spec, p.call, p.request, nil)
	if errors.Is(err, connectors.ErrSecret) {
		request, err = w.sealed(ctx, sealer, p)
	}
	switch {
	case err == nil:
		p.request = request
		return p
	case errors.Is(err, connectors.ErrSecret), errors.Is(err, secrets.ErrNotFound):
		result, hold := heldBy(p.claim, fault.Cause{Code: "webhook-secret-missing", Detail: err.Error()}, p.job.attempts, p.job.mayBeThere())
		return prepared{job: p.job, result: result, hold: hold}
	default:
		return prepared{job: p.job, err: err}
	}
}

func (w *worker) sealed(ctx context.Context, sealer connectors.Sealer, p prepared) (connectors.Request, error) {
	webhook := w.spec.Spec.Webhook
	if webhook == nil {
		return connectors.Request{}, fmt.Errorf("connector %s has no spec.webhook: %w", w.spec.Name, connectors.ErrSecret)
	}
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	secret, err := w.config.Secrets.Secret(ctx, webhook.SecretRef.Name)
	if err != nil {
		return connectors.Request{}, fmt.Errorf("secret %q: %w", webhook.SecretRef.Name, err)
	}
	request, err := sealer.Seal(&w.spec.Spec, p.call, p.request, secret)
	if err != nil {
		return connectors.Request{}, fmt.Errorf("secret %q: %w", webhook.SecretRef.Name, err)
	}
	return request, nil
}
