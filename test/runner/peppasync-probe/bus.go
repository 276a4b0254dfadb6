package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// bus is how to sign in to NATS.
type bus struct{ url, ca, nkey, serverName, user string }

func (b bus) connect() (*nats.Conn, error) {
	key, err := nats.NkeyOptionFromSeed(b.nkey)
	if err != nil {
		return nil, fmt.Errorf("the nkey of %s: %w", b.nkey, err)
	}
	options := []nats.Option{
		key, nats.Timeout(patience), nats.CustomInboxPrefix("_INBOX_" + b.user),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // it is asked for where it counts
	}
	if b.serverName != "" {
		options = append(options, nats.Secure(&tls.Config{ServerName: b.serverName, MinVersion: tls.VersionTLS13}))
	}
	conn, err := nats.Connect(b.url, append(options, nats.RootCAs(b.ca))...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", b.url, err)
	}
	return conn, nil
}

// publish says whether the server takes a message on a subject. Each has a connection of
// its own: a refusal comes before the answer to the ping that follows.
func (b bus) publish(subject string) (string, error) {
	conn, err := b.connect()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.Publish(subject, nil); err != nil {
		return "", fmt.Errorf("publish on %s: %w", subject, err)
	}
	if err := conn.FlushTimeout(patience); err != nil {
		return "", fmt.Errorf("publish on %s: %w", subject, err)
	}
	switch err := conn.LastError(); {
	case err == nil:
		return "allowed", nil
	case errors.Is(err, nats.ErrPermissionViolation):
		return "denied", nil
	default:
		return "", fmt.Errorf("publish on %s: %w", subject, err)
	}
}

// copies says how many copies a stream has, after it was given as many as wanted; 0 leaves
// them as they are.
func (b bus) copies(ctx context.Context, name string, wanted int) (int, error) {
	conn, err := b.connect()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	js, err := jetstream.New(conn)
	if err != nil {
		return 0, err
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("look at stream %s: %w", name, err)
	}
	config := stream.CachedInfo().Config
	if wanted == 0 {
		return config.Replicas, nil
	}
	config.Replicas = wanted
	if stream, err = js.UpdateStream(ctx, config); err != nil {
		return 0, fmt.Errorf("give stream %s %d copies: %w", name, wanted, err)
	}
	return stream.CachedInfo().Config.Replicas, nil
}
