package secrets

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"
)

const (
	// clusterFresh is how old a Secret may be that is used without a look: a key that
	// was changed counts within it. Each Secret in use costs the API server one GET in
	// that time and replica.
	clusterFresh = 10 * time.Second
	// clusterStale is how long the last one is used while the API server is away: an
	// upgrade of the cluster's control plane is no reason to refuse orders.
	clusterStale = 24 * time.Hour
)

// Kubernetes returns a resolver over the Secrets of the namespace, each of which has to
// be granted to the pod's ServiceAccount by name. One that was read is used for 10 s, and
// longer only where the API server does not answer.
func Kubernetes(cluster interface {
	Get(ctx context.Context, name string) (Object, error)
},
) Resolver {
	return &kubernetes{cluster: cluster, known: make(map[string]*clusterReading)}
}

type kubernetes struct {
	cluster interface {
		Get(ctx context.Context, name string) (Object, error)
	}

	mu    sync.Mutex
	known map[string]*clusterReading
}

// clusterReading is one Secret as it was read last.
type clusterReading struct {
	// reading is held by the one who asks the API server.
	reading sync.Mutex

	mu     sync.Mutex
	secret map[string]string
	at     time.Time
}

func (k *kubernetes) Secret(ctx context.Context, name string) (map[string]string, error) {
	if err := validName(name); err != nil {
		return nil, err
	}
	r := k.of(name)
	if secret, age := r.last(); secret != nil {
		if age < clusterFresh {
			return secret, nil
		}
		if !r.reading.TryLock() { // somebody asks; nobody else has to wait for that
			return secret, nil
		}
	} else {
		r.reading.Lock()
	}
	defer r.reading.Unlock()
	if secret, age := r.last(); secret != nil && age < clusterFresh {
		return secret, nil // read by whoever was waited for
	}
	found, err := k.cluster.Get(ctx, name)
	var refused *apiError
	switch {
	case err == nil && len(found.Data) == 0:
		err = notFound(name)
	case err == nil:
		return r.keep(found.Data), nil
	case errors.Is(err, ErrNotFound), errors.As(err, &refused) && refused.code < 500 && refused.code != 429:
		// Gone, or not granted any more: it is not to be used.
	default:
		if secret, age := r.last(); secret != nil && age < clusterStale {
			return secret, nil
		}
	}
	r.forget()
	return nil, err
}

// of returns what is known of a Secret. There are as many as Connectors name.
func (k *kubernetes) of(name string) *clusterReading {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.known[name]
	if r == nil {
		r = &clusterReading{}
		k.known[name] = r
	}
	return r
}

func (r *clusterReading) last() (map[string]string, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.secret), time.Since(r.at)
}

// keep returns the values as a folder of files would give them: what is made of a file
// ends in a newline that nobody means.
func (r *clusterReading) keep(data map[string][]byte) map[string]string {
	secret := make(map[string]string, len(data))
	for key, value := range data {
		secret[key] = strings.TrimSuffix(strings.TrimSuffix(string(value), "\n"), "\r")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret, r.at = secret, time.Now()
	return maps.Clone(secret)
}

func (r *clusterReading) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = nil
}
