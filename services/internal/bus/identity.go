package bus

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// identity is the nkey that a connection signs in with. The library reads a seed file
// once; a key that is replaced in the file has to be taken up without a restart of the
// role, so the file is read again whenever all servers have been tried in vain.
type identity struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	pair nkeys.KeyPair
	// conn is set once the connection is there to be told of another key.
	conn *nats.Conn
}

// readIdentity reads the seed at path. Its error never holds what the file has.
func readIdentity(path string, log *slog.Logger) (*identity, error) {
	pair, err := readSeed(path)
	if err != nil {
		return nil, err
	}
	return &identity{path: path, log: log, pair: pair}, nil
}

func readSeed(path string) (nkeys.KeyPair, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("nkey seed: %w", err)
	}
	pair, err := nkeys.FromSeed(bytes.TrimSpace(content))
	if err != nil {
		return nil, fmt.Errorf("nkey seed: %s holds no seed of a user, one line that begins with SU: %w", path, err)
	}
	return pair, nil
}

// option signs in with the key of the moment.
func (i *identity) option() (nats.Option, error) {
	public, err := i.pair.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("nkey seed: %s: %w", i.path, err)
	}
	return nats.Nkey(public, i.sign), nil
}

func (i *identity) sign(nonce []byte) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.pair.Sign(nonce)
}

// belongsTo says which connection it signs in.
func (i *identity) belongsTo(nc *nats.Conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.conn = nc
}

// delay is how long the connection waits before it tries all servers again. The file is
// read first. It is called by the goroutine that connects, which alone reads Opts.Nkey.
func (i *identity) delay(int) time.Duration {
	i.refresh()
	return reconnectWait + rand.N(reconnectJitter)
}

func (i *identity) refresh() {
	pair, err := readSeed(i.path)
	if err != nil {
		i.log.Warn("the nkey seed cannot be read again; the one before is kept", "error", err)
		return
	}
	public, err := pair.PublicKey()
	if err != nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.conn == nil || i.conn.Opts.Nkey == public {
		return
	}
	i.conn.Opts.Nkey, i.pair = public, pair
	i.log.Info("signing in to NATS with another nkey", "public", public)
}

// security returns how the connection signs in and whom it trusts, and the nkey that it
// signs in with, nil where it has none.
func (o Options) security(log *slog.Logger) ([]nats.Option, *identity, error) {
	var options []nats.Option
	if o.Credentials != "" && o.NKey != "" {
		return nil, nil, errors.New("bus: connect: a credentials file and an nkey are two ways to sign in; give one")
	}
	if o.Credentials != "" {
		options = append(options, nats.UserCredentials(o.Credentials))
	}
	if o.CA != "" {
		options = append(options, trust(o.CA))
	}
	if o.NKey == "" {
		return options, nil, nil
	}
	own, err := readIdentity(o.NKey, log)
	if err != nil {
		return nil, nil, fmt.Errorf("bus: connect: %w", err)
	}
	signed, err := own.option()
	if err != nil {
		return nil, nil, fmt.Errorf("bus: connect: %w", err)
	}
	return append(options, signed, nats.CustomReconnectDelay(own.delay)), own, nil
}

// trust makes the connection refuse a server without a certificate of the CA in that
// file, which is read again for each connection. Nothing older than TLS 1.3 is spoken:
// both ends are ours.
func trust(file string) nats.Option {
	return func(o *nats.Options) error {
		if err := nats.RootCAs(file)(o); err != nil {
			return err
		}
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13}
		return nil
	}
}
