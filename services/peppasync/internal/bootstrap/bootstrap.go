// Package bootstrap makes what NATS and its users trust each other by: a CA, the
// servers' certificate, an nkey for each user, and the servers' list of who may do what.
// A key that is there is never made anew.
package bootstrap

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/peppasync/peppasync/services/peppasync/internal/permission"
)

// Keys in what is stored.
const (
	KeyCA          = "ca.crt"
	KeyCASeed      = "ca.key"
	KeyCertificate = "tls.crt"
	KeyPrivate     = "tls.key"
	KeySeed        = "nkey"
	KeyUsers       = "authorization.conf"
)

// Names of what is stored, beside those of the users.
const (
	nameCA     = "ca"
	nameServer = "server"
	nameUsers  = "users"
)

// Store keeps secrets of keys and bytes by name.
type Store interface {
	// Get returns nil where there is none by that name.
	Get(ctx context.Context, name string) (map[string][]byte, error)
	// Create stores one, and reports false where one is there, which stays as it is.
	Create(ctx context.Context, name string, data map[string][]byte) (bool, error)
	// Replace stores one in place of the one that is there.
	Replace(ctx context.Context, name string, data map[string][]byte) error
}

// Options of Run.
type Options struct {
	// Hosts are the names and addresses of the servers, which their certificate is for.
	Hosts []string
	Now   time.Time
}

// Report is what Run made, by the names in the store, and what it left as it was.
type Report struct{ Made, Kept, Renewed []string }

// Run makes what is missing. It may be repeated, goes on where it was interrupted, and
// two at once end with the same: each looks at what the other has stored.
//
// The list of users is made of their keys anew each time, because it holds no secret, and
// a newer version of the product may need subjects that the one before did not.
func Run(ctx context.Context, store Store, o Options) (Report, error) {
	r := runner{store: store}
	authority, err := r.ensure(ctx, nameCA, func() (map[string][]byte, error) { return makeAuthority(o.Now) })
	if err != nil {
		return r.report, err
	}
	if _, err = r.ensure(ctx, nameServer, func() (map[string][]byte, error) { return makeCertificate(authority, o.Hosts, o.Now) }); err != nil {
		return r.report, err
	}
	public := map[permission.User]string{}
	for _, user := range permission.Users() {
		stored, err := r.ensure(ctx, string(user), makeSeed)
		if err != nil {
			return r.report, err
		}
		if public[user], err = publicKey(stored); err != nil {
			return r.report, fmt.Errorf("nkey of %s: %w", user, err)
		}
	}
	config := permission.Config(func(user permission.User) string { return public[user] })
	return r.report, r.renew(ctx, nameUsers, map[string][]byte{KeyUsers: []byte(config)})
}

type runner struct {
	store  Store
	report Report
}

// ensure returns what is stored by that name, made now where there was none.
func (r *runner) ensure(ctx context.Context, name string, produce func() (map[string][]byte, error)) (map[string][]byte, error) {
	for range 2 { // once more where another one stores it at the same moment
		there, err := r.store.Get(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("looking for %s: %w", name, err)
		}
		if there != nil {
			r.report.Kept = append(r.report.Kept, name)
			return there, nil
		}
		fresh, err := produce()
		if err != nil {
			return nil, fmt.Errorf("making %s: %w", name, err)
		}
		made, err := r.store.Create(ctx, name, fresh)
		if err != nil {
			return nil, fmt.Errorf("storing %s: %w", name, err)
		}
		if made {
			r.report.Made = append(r.report.Made, name)
			return fresh, nil
		}
	}
	return nil, fmt.Errorf("%s comes and goes: something else deletes it", name)
}

// renew stores what follows from the rest.
func (r *runner) renew(ctx context.Context, name string, data map[string][]byte) error {
	there, err := r.ensure(ctx, name, func() (map[string][]byte, error) { return data, nil })
	if err != nil || bytes.Equal(there[KeyUsers], data[KeyUsers]) {
		return err
	}
	if err := r.store.Replace(ctx, name, data); err != nil {
		return fmt.Errorf("storing %s: %w", name, err)
	}
	r.report.Renewed = append(r.report.Renewed, name)
	return nil
}

func makeSeed() (map[string][]byte, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	seed, err := pair.Seed()
	return map[string][]byte{KeySeed: seed}, err
}

// publicKey returns the key that the servers know. Its error does not hold the seed.
func publicKey(stored map[string][]byte) (string, error) {
	pair, err := nkeys.FromSeed(bytes.TrimSpace(stored[KeySeed]))
	if err != nil {
		return "", fmt.Errorf("what is stored under %s is no seed; delete it to have one made: %w", KeySeed, err)
	}
	return pair.PublicKey()
}
