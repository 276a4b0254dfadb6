package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"strings"
	"sync"
	"time"
)

const (
	// fresh is how long what was read is used: a rotated secret is taken up
	// within it.
	fresh = time.Second
	// maxValue is what Kubernetes allows a whole secret to have.
	maxValue = 1 << 20
	// kubernetesData is the link that Kubernetes swaps when a mounted secret
	// changes: all keys at once.
	kubernetesData = "..data"
)

// errNowhere: a key is listed and cannot be opened. That is not a secret that is
// missing: another source must not stand in for it.
var errNowhere = errors.New("the link leads nowhere")

// Directory returns a resolver over files <path>/<name>/<key>. A value is the
// file's content without one newline at its end. Files are read again when what
// was read is older than a second. Links are followed while they stay inside
// the folder.
func Directory(path string) Resolver {
	return &directory{path: path, read: make(map[string]reading)}
}

type directory struct {
	path string

	mu   sync.Mutex
	read map[string]reading
}

type reading struct {
	secret map[string]string
	at     time.Time
}

func (d *directory) Secret(_ context.Context, name string) (map[string]string, error) {
	if err := validName(name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if cached, known := d.read[name]; known && time.Since(cached.at) < fresh {
		return maps.Clone(cached.secret), nil
	}
	delete(d.read, name)
	secret, err := d.load(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNowhere) {
		// A mounted secret was swapped under the reader; the second look sees the
		// new one.
		secret, err = d.load(name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, notFound(name)
	case err != nil:
		return nil, fmt.Errorf("secret %q in %s: %w", name, d.path, err)
	case len(secret) == 0:
		return nil, fmt.Errorf("secret %q in %s has no keys: %w", name, d.path, ErrNotFound)
	}
	d.read[name] = reading{secret: secret, at: time.Now()}
	return maps.Clone(secret), nil
}

// load reads all keys of one secret, from one version of it.
func (d *directory) load(name string) (map[string]string, error) {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // only read from
	folder := name
	if version, err := root.Readlink(path.Join(name, kubernetesData)); err == nil {
		folder = path.Join(name, version)
	}
	entries, err := fs.ReadDir(root.FS(), folder)
	if err != nil {
		return nil, err
	}
	secret := make(map[string]string, len(entries))
	for _, entry := range entries {
		key := entry.Name()
		if !validKey(key) || key[0] == '.' {
			continue // editors' and mounts' own files
		}
		value, isFile, err := readValue(root, path.Join(folder, key))
		if err != nil {
			return nil, err
		}
		if isFile {
			secret[key] = value
		}
	}
	return secret, nil
}

func readValue(root *os.Root, file string) (value string, isFile bool, err error) {
	// Looked at before it is opened: a pipe in the folder would block for ever.
	info, err := root.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, fmt.Errorf("%s: %w", file, errNowhere)
	}
	if err != nil || !info.Mode().IsRegular() {
		return "", false, err
	}
	f, err := root.Open(file)
	if err != nil {
		return "", false, err
	}
	defer f.Close() //nolint:errcheck // only read from
	content, err := io.ReadAll(io.LimitReader(f, maxValue+1))
	if err != nil {
		return "", false, err
	}
	if len(content) > maxValue {
		return "", false, fmt.Errorf("%s has more than %d bytes", file, maxValue)
	}
	text := strings.TrimSuffix(string(content), "\n")
	return strings.TrimSuffix(text, "\r"), true, nil
}
