// Package secrets resolves references to secrets: a secret is a name with keys
// and values, kept in a folder of files (as Kubernetes mounts them) or in the
// environment. No error and no log of it ever holds a value.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrNotFound: there is no secret by that name. Test with errors.Is.
var ErrNotFound = errors.New("secret not found")

// Resolver finds secrets by name. Implementations are safe for concurrent use.
type Resolver interface {
	// Secret returns the keys and values of a secret, as a map of the caller's
	// own; ErrNotFound where there is none by that name.
	Secret(ctx context.Context, name string) (map[string]string, error)
}

// Chain returns a resolver that asks each in turn and takes the first secret
// that is found. An error other than ErrNotFound ends the search: falling
// through to another source would use the wrong secret.
func Chain(resolvers ...Resolver) Resolver { return chain(resolvers) }

type chain []Resolver

func (c chain) Secret(ctx context.Context, name string) (map[string]string, error) {
	for _, resolver := range c {
		secret, err := resolver.Secret(ctx, name)
		if !errors.Is(err, ErrNotFound) {
			return secret, err
		}
	}
	return nil, notFound(name)
}

func notFound(name string) error { return fmt.Errorf("secret %q: %w", name, ErrNotFound) }

// maxName is the length of a Kubernetes object name (a DNS subdomain, RFC 1123).
const maxName = 253

// validName returns an error for what is no Kubernetes object name: lower-case
// letters, digits, "-" and ".", beginning and ending with a letter or digit.
// That rules out every path that would leave the folder.
func validName(name string) error {
	valid := name != "" && len(name) <= maxName && alphanumeric(name[0]) && alphanumeric(name[len(name)-1]) &&
		!strings.Contains(name, "..")
	for i := range len(name) {
		valid = valid && (alphanumeric(name[i]) || name[i] == '-' || name[i] == '.')
	}
	if !valid {
		return fmt.Errorf("secret %q: a name has only lower-case letters, digits, \"-\" and \".\", and begins and ends with a letter or digit", name)
	}
	return nil
}

func alphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// validKey reports whether key is one of a Kubernetes secret: letters, digits,
// "-", "_" and ".", not beginning with "..".
func validKey(key string) bool {
	if key == "" || len(key) > maxName || key == "." || strings.HasPrefix(key, "..") {
		return false
	}
	for i := range len(key) {
		c := key[i]
		if !alphanumeric(c) && !(c >= 'A' && c <= 'Z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
