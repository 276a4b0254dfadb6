package throttledispatcher

import (
	"context"
	"errors"
	"fmt"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
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
	secret, err := w.webhookSecret(ctx, w.spec)
	if err != nil {
		return connectors.Request{}, err
	}
	request, err := sealer.Seal(&w.spec.Spec, p.call, p.request, secret)
	if err != nil {
		return connectors.Request{}, fmt.Errorf("secret %q: %w", w.spec.Spec.Webhook.SecretRef.Name, err)
	}
	return request, nil
}

func (w *worker) webhookSecret(ctx context.Context, connector *v1alpha1.Connector) (connectors.Secret, error) {
	webhook := connector.Spec.Webhook
	if webhook == nil {
		return nil, fmt.Errorf("connector %s has no spec.webhook: %w", connector.Name, connectors.ErrSecret)
	}
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	secret, err := w.config.Secrets.Secret(ctx, webhook.SecretRef.Name)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", webhook.SecretRef.Name, err)
	}
	return secret, nil
}

// unseal has a reply that shows the secret of a webhook say whether it is today's,
// before anybody reads it. Where the secret cannot be read the reply stays as it is, and
// says nothing of that: the next look does.
func (w *worker) unseal(ctx context.Context, system connectors.System, connector *v1alpha1.Connector, o outcome) outcome {
	unsealer, ok := system.(connectors.Unsealer)
	if !ok || o.lookUp || o.job == nil {
		return o
	}
	reply, err := unsealer.Unseal(&connector.Spec, o.call, o.result.Reply, nil)
	if errors.Is(err, connectors.ErrSecret) {
		var secret connectors.Secret
		if secret, err = w.webhookSecret(ctx, connector); err == nil {
			reply, err = unsealer.Unseal(&connector.Spec, o.call, o.result.Reply, secret)
		}
	}
	if err == nil {
		o.result.Reply = reply
	}
	return o
}
