package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/peppasync/peppasync/services/internal/secrets"
)

// Directory keeps each secret as a folder with a file for each key, which nobody else may
// read.
type Directory string

// Get reads a secret.
func (d Directory) Get(_ context.Context, name string) (map[string][]byte, error) {
	folder := filepath.Join(string(d), name)
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	data := make(map[string][]byte, len(entries))
	for _, entry := range entries {
		if data[entry.Name()], err = os.ReadFile(filepath.Join(folder, entry.Name())); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// Create makes the folder in one step, so that one that was interrupted has left none.
func (d Directory) Create(_ context.Context, name string, data map[string][]byte) (bool, error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return false, err
	}
	next, err := os.MkdirTemp(string(d), "."+name+".")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(next) //nolint:errcheck // it was renamed, or is of no use
	for key, value := range data {
		if err := os.WriteFile(filepath.Join(next, key), value, 0o600); err != nil {
			return false, err
		}
	}
	err = os.Rename(next, filepath.Join(string(d), name))
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// Replace writes each key anew.
func (d Directory) Replace(_ context.Context, name string, data map[string][]byte) error {
	for key, value := range data {
		next := filepath.Join(string(d), name, "."+key)
		if err := os.WriteFile(next, value, 0o600); err != nil {
			return err
		}
		if err := os.Rename(next, filepath.Join(string(d), name, key)); err != nil {
			return err
		}
	}
	return nil
}

// Cluster keeps secrets as those of a namespace of Kubernetes.
type Cluster struct {
	API interface {
		Get(ctx context.Context, name string) (secrets.Object, error)
		Create(ctx context.Context, o secrets.Object) (bool, error)
		Replace(ctx context.Context, o secrets.Object) error
	}
	// Prefix is before every name, such as "peppasync-nats-".
	Prefix string
	// Labels are put on what is made, by which people find what an uninstall leaves.
	Labels map[string]string
}

// Get reads a Secret.
func (c Cluster) Get(ctx context.Context, name string) (map[string][]byte, error) {
	found, err := c.API.Get(ctx, c.Prefix+name)
	if errors.Is(err, secrets.ErrNotFound) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err == nil && found.Data == nil {
		return nil, fmt.Errorf("secret %q is there and empty; delete it", c.Prefix+name)
	}
	return found.Data, err
}

// Create makes a Secret.
func (c Cluster) Create(ctx context.Context, name string, data map[string][]byte) (bool, error) {
	kind := "Opaque"
	if data[KeyCertificate] != nil {
		kind = "kubernetes.io/tls"
	}
	return c.API.Create(ctx, secrets.Object{Name: c.Prefix + name, Type: kind, Labels: c.Labels, Data: data})
}

// Replace writes the data of a Secret and leaves the rest.
func (c Cluster) Replace(ctx context.Context, name string, data map[string][]byte) error {
	there, err := c.API.Get(ctx, c.Prefix+name)
	if err != nil {
		return err
	}
	there.Data = data
	return c.API.Replace(ctx, there)
}
