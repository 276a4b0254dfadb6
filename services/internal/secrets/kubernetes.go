package secrets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// clusterFresh is how old a Secret may be that is used without a look: a key that
	// was changed counts within it. Each Secret in use costs the API server one GET in
	// that time and replica.
	clusterFresh = 10 * time.Second
	// clusterAbsent is how long the API server's word counts that there is no such Secret,
	// or that it is not granted: each webhook of its Connector would ask otherwise. One that
	// is made or granted is there within it.
	clusterAbsent = 5 * time.Second
	// clusterStale is how long the last one is used while the API server is away: an
	// upgrade of the cluster's control plane is no reason to refuse orders.
	clusterStale = 24 * time.Hour
	// maxClusterKnown is how many names are kept before those are dropped of which there is
	// nothing to be used any more. More Connectors than that are kept all the same.
	maxClusterKnown = 1024
)

// Kubernetes returns a resolver over the Secrets of the namespace, each of which has to
// be granted to the pod's ServiceAccount by name. One that was read is used for 10 s, and
// longer only where the API server does not answer; that one is missing, for 5 s.
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
	// asking has one question at a time for each name, whoever waits for it.
	asking singleflight.Group

	mu    sync.Mutex
	known map[string]*clusterReading
}

// clusterReading is one Secret as it was read last.
type clusterReading struct {
	mu     sync.Mutex
	secret map[string]string
	at     time.Time
	// refused is why there is none, as the API server said at refusedAt.
	refused   error
	refusedAt time.Time
	// asked: somebody asks for it now.
	asked bool
}

func (k *kubernetes) Secret(ctx context.Context, name string) (map[string]string, error) {
	if err := validName(name); err != nil {
		return nil, err
	}
	r := k.of(name)
	secret, sufficient, err := r.last()
	if sufficient {
		return secret, err
	}
	// The question is nobody's own: who gives up must not take the answer from the others.
	answer := k.asking.DoChan(name, func() (any, error) { return k.ask(context.WithoutCancel(ctx), name, r) })
	select {
	case <-ctx.Done():
		if secret != nil {
			return secret, nil
		}
		return nil, fmt.Errorf("secret %q: the API server has not answered yet: %w", name, context.Cause(ctx))
	case got := <-answer:
		secret, _ = got.Val.(map[string]string)
		return maps.Clone(secret), got.Err
	}
}

// ask asks the API server, for as long as that may take and no caller's time.
func (k *kubernetes) ask(ctx context.Context, name string, r *clusterReading) (map[string]string, error) {
	if secret, fresh, err := r.begin(); fresh {
		return secret, err // read by whoever was a moment earlier
	}
	defer r.end()
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	found, err := k.cluster.Get(ctx, name)
	var refused *apiError
	switch {
	case err == nil && len(found.Data) > 0:
		return r.keep(found.Data), nil
	case err == nil:
		err = notFound(name)
	case errors.Is(err, ErrNotFound), errors.As(err, &refused) && refused.code < 500 && refused.code != 429:
		// Gone, or not granted any more: it is not to be used.
	default:
		if secret := r.stale(); secret != nil {
			return secret, nil
		}
		return nil, err
	}
	r.refuse(err)
	return nil, err
}

// of returns what is known of a Secret. There are as many as Connectors name.
func (k *kubernetes) of(name string) *clusterReading {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.known[name]
	if r == nil {
		if len(k.known) >= maxClusterKnown {
			maps.DeleteFunc(k.known, func(_ string, r *clusterReading) bool { return r.useless() })
		}
		r = &clusterReading{}
		k.known[name] = r
	}
	return r
}

// last returns what is known, and whether it is sufficient: it is fresh, or somebody asks
// already and nobody else has to wait for that.
func (r *clusterReading) last() (secret map[string]string, sufficient bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	secret, sufficient, err = r.fresh()
	return secret, sufficient || secret != nil && r.asked, err
}

// begin is last for the one who asks: not sufficient, it counts as being asked until end.
func (r *clusterReading) begin() (secret map[string]string, fresh bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	secret, fresh, err = r.fresh()
	r.asked = !fresh
	return secret, fresh, err
}

func (r *clusterReading) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = false
}

// fresh needs the lock. A Secret that is too old to be used is none.
func (r *clusterReading) fresh() (secret map[string]string, fresh bool, err error) {
	switch age := time.Since(r.at); {
	case r.secret == nil && r.refused != nil && time.Since(r.refusedAt) < clusterAbsent:
		return nil, true, r.refused
	case r.secret == nil || age >= clusterStale:
		return nil, false, nil
	default:
		return maps.Clone(r.secret), age < clusterFresh, nil
	}
}

// stale is the last one where it may stand in for an answer.
func (r *clusterReading) stale() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	secret, _, _ := r.fresh()
	return secret
}

func (r *clusterReading) useless() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	secret, _, err := r.fresh()
	return secret == nil && err == nil && !r.asked
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
	r.secret, r.at, r.refused = secret, time.Now(), nil
	return maps.Clone(secret)
}

func (r *clusterReading) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret, r.refused, r.refusedAt = nil, err, time.Now()
}
