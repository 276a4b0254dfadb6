package rpc

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// keysFresh is how long what was read is used for those that it lets in, keysRetry for
	// those that it does not: a secret may be new.
	keysFresh = time.Second
	keysRetry = 100 * time.Millisecond
)

// keys are the hashes of all secrets that let anybody in.
type keys struct {
	mu     sync.Mutex
	hashes map[[sha256.Size]byte]struct{}
	// complete says that no secret is missing.
	complete bool
	at       time.Time
}

// Standing is what is known of a caller by its metadata alone.
type Standing int

const (
	// Stranger: certainly without any connector's credentials.
	Stranger Standing = iota
	// Doubtful: a secret cannot be read, which may be the caller's.
	Doubtful
	// Known: with the credentials of a connector, maybe of another than it hands in for.
	Known
)

// Standing tells who calls. The bytes of a message are read before anybody can see which
// connector it is for, and strangers are not to fill the memory with them.
func (s *Server) Standing(ctx context.Context) Standing {
	given, ok := bearer(ctx)
	if !ok {
		return Stranger
	}
	hash := sha256.Sum256([]byte(given))
	s.known.mu.Lock()
	defer s.known.mu.Unlock()
	if age := time.Since(s.known.at); s.known.at.IsZero() || age >= keysFresh {
		s.readKeys(ctx)
	} else if _, found := s.known.hashes[hash]; !found && age >= keysRetry {
		s.readKeys(ctx)
	}
	switch _, found := s.known.hashes[hash]; {
	case found:
		return Known
	case s.known.complete:
		return Stranger
	}
	return Doubtful // only the connector can tell what that means
}

// readKeys needs the mutex.
func (s *Server) readKeys(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // what is read is not for this caller alone
	known := s.config.Keeper.Connectors()
	hashes, complete := make(map[[sha256.Size]byte]struct{}), known != nil
	seen := make(map[string]bool)
	for _, connector := range known {
		if connector.Spec.Webhook == nil || seen[connector.Spec.Webhook.SecretRef.Name] {
			continue
		}
		name := connector.Spec.Webhook.SecretRef.Name
		seen[name] = true
		secret, err := s.config.Secrets.Secret(ctx, name)
		if err != nil || secret["secret"] == "" && secret["previousSecret"] == "" {
			complete = false
			continue
		}
		for _, value := range []string{secret["secret"], secret["previousSecret"]} {
			if value != "" {
				hashes[sha256.Sum256([]byte(value))] = struct{}{}
			}
		}
	}
	s.known.hashes, s.known.complete, s.known.at = hashes, complete, time.Now()
}
