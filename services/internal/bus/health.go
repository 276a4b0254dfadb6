package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// maxDenied bounds what is remembered; one denied subject is enough to act on.
const maxDenied = 32

// denials remembers what the server refused by permission: such a publish ends
// as a timeout at its caller, and only the connection hears why.
type denials struct {
	mu   sync.Mutex
	list []denial
}

type denial struct{ subject, text string }

// add reports whether the denial is new.
func (d *denials) add(err error) bool {
	text := err.Error()
	entry := denial{subject: quoted(text), text: text}
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Contains(d.list, entry) || len(d.list) == maxDenied {
		return false
	}
	d.list = append(d.list, entry)
	return true
}

// allowed forgets a denial of a subject that has just been used with success.
func (d *denials) allowed(subject string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) > 0 {
		d.list = slices.DeleteFunc(d.list, func(e denial) bool { return e.subject == subject })
	}
}

func (d *denials) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = nil
}

func (d *denials) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, entry := range d.list {
		errs = append(errs, errors.New(entry.text))
	}
	return errors.Join(errs...)
}

// quoted returns the text between the first two double quotes: the subject in
// `Permissions Violation for Publish to "a.b"`.
func quoted(s string) string {
	_, rest, _ := strings.Cut(s, `"`)
	inner, _, _ := strings.Cut(rest, `"`)
	return inner
}

// Healthy returns nil where the connection is up, JetStream answers, the server
// syncs every write (where that can be seen: on an embedded one, or by its
// MonitorURL), and no subject has been denied by permission since the connection
// was made. It needs the permission to publish on $JS.API.INFO.
func (b *Bus) Healthy(ctx context.Context) error {
	if status := b.nc.Status(); status != nats.CONNECTED {
		reason := b.nc.LastError()
		if reason == nil {
			return fmt.Errorf("bus: not connected to NATS (%s)", strings.ToLower(status.String()))
		}
		return fmt.Errorf("bus: not connected to NATS (%s): %w", strings.ToLower(status.String()), reason)
	}
	if err := b.denied.err(); err != nil {
		return fmt.Errorf("bus: this role's NATS user lacks permissions: %w", err)
	}
	bounded, cancel := b.bound(ctx)
	defer cancel()
	if b.sync != nil {
		always, err := b.sync.syncAlways(bounded)
		if err != nil {
			return fmt.Errorf("bus: whether the server syncs every write cannot be seen: %w", err)
		}
		if !always {
			return errors.New("bus: the server does not sync every write to disk; set sync_interval: always in its jetstream section, " +
				"or a power loss costs acknowledged orders")
		}
	}
	if _, err := b.js.AccountInfo(bounded); err != nil {
		return fmt.Errorf("bus: JetStream does not answer: %w", because(bounded, err))
	}
	return nil
}
