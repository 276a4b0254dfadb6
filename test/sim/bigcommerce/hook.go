package bigcommerce

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// The scopes of order webhooks that the store triggers.
const (
	ScopeCreated       = "store/order/created"
	ScopeUpdated       = "store/order/updated"
	ScopeStatusUpdated = "store/order/statusUpdated"
	ScopeArchived      = "store/order/archived"
	ScopeAll           = "store/order/*"
)

var scopes = []string{ScopeCreated, ScopeUpdated, ScopeStatusUpdated, ScopeArchived, ScopeAll}

// Hook is a webhook in the shape of version 3 of the API. Its headers, which authenticate what is sent, can be read.
type Hook struct {
	ID          int64             `json:"id"`
	ClientID    string            `json:"client_id"`
	StoreHash   string            `json:"store_hash"`
	Scope       string            `json:"scope"`
	Destination string            `json:"destination"`
	Headers     map[string]string `json:"headers"`
	IsActive    bool              `json:"is_active"`
	CreatedAt   int64             `json:"created_at"`
	UpdatedAt   int64             `json:"updated_at"`
}

// hook is one webhook; the store's lock guards it.
type hook struct {
	Hook
	works                         time.Time // from when on it is triggered
	before                        bool      // made before the start
	attempts, delivered, failures int
}

// addHook needs the lock. Whether the real store refuses a second webhook with the same scope and destination is not
// documented; this one takes it, and sends everything twice.
func (s *Store) addHook(h Hook, now time.Time) *hook {
	h.ID, h.ClientID, h.StoreHash = s.nextHook, s.cfg.ClientID, s.cfg.Hash
	h.CreatedAt, h.UpdatedAt = now.Unix(), now.Unix()
	s.nextHook++
	made := &hook{Hook: h, works: now.Add(s.cfg.Activation.Std())}
	s.hooks = append(s.hooks, made)
	return made
}

// hookByID needs the lock.
func (s *Store) hookByID(id int64) *hook {
	i := slices.IndexFunc(s.hooks, func(h *hook) bool { return h.ID == id })
	if i < 0 {
		return nil
	}
	return s.hooks[i]
}

// toldHook is the webhook as the API tells it.
func (s *Store) toldHook(h *hook) Hook {
	d := h.Hook
	d.Headers = maps.Clone(h.Headers)
	if s.cfg.CoverHeaders {
		for name := range d.Headers {
			d.Headers[name] = "********"
		}
	}
	return d
}

// matches says whether the webhook is about the scope.
func (h *hook) matches(scope string) bool {
	prefix, wild := strings.CutSuffix(h.Scope, "*")
	return h.Scope == scope || wild && strings.HasPrefix(scope, prefix)
}
