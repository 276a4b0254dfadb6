// Package catalog is the configuration as the roles see it: compiled, and always
// one whole, so that no role ever acts on half an edit.
package catalog

import (
	"context"
	"slices"
	"sync"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/expr"
)

// Snapshot is one state of the configuration. It is not to be changed.
type Snapshot struct {
	// Revision grows with every change.
	Revision   uint64
	Connectors map[string]*v1alpha1.Connector
	// Flows are sorted by name.
	Flows      []*Flow
	StockPools map[string]*v1alpha1.StockPool
	Policies   map[string]*v1alpha1.NotificationPolicy
}

// Topics returns those that flows take of a connector, sorted; none of no catalog.
func (s *Snapshot) Topics(connector string) []string {
	if s == nil {
		return nil
	}
	var topics []string
	for _, flow := range s.Flows {
		for _, from := range flow.Spec.From {
			if from.Connector == connector {
				topics = append(topics, from.Topics...)
			}
		}
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// Flow is a flow with its expressions compiled.
type Flow struct {
	Name string
	Spec v1alpha1.FlowSpec
	// When is nil where every order is taken.
	When  *expr.Condition
	Steps []Step
}

// Step is a step of a flow; Mapping is nil where the operation needs none.
type Step struct {
	Name    string
	Spec    v1alpha1.DeliverStep
	Mapping *expr.Mapping
}

// Store holds the newest snapshot. It is safe for concurrent use.
type Store struct {
	mu      sync.Mutex
	current *Snapshot
	changed chan struct{}
	// newest reads what is published; nil where nothing is followed.
	newest func(context.Context) (*Snapshot, error)
}

// NewStore returns a store that holds snapshot, or nil for none yet.
func NewStore(snapshot *Snapshot) *Store {
	return &Store{current: snapshot, changed: make(chan struct{})}
}

// Current returns the newest snapshot, nil where there was none yet.
func (s *Store) Current() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Changed returns a channel that is closed at the next Replace. Take it before
// Current, and no change is missed.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Newest returns what is published as of the call, which Current follows a moment
// later, if it can be worked by: for who is about to give up on what the catalog
// lacks. Where nothing is followed it is Current.
func (s *Store) Newest(ctx context.Context) (*Snapshot, error) {
	if s.newest == nil {
		return s.Current(), nil
	}
	return s.newest(ctx)
}

// Replace makes snapshot the newest.
func (s *Store) Replace(snapshot *Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = snapshot
	close(s.changed)
	s.changed = make(chan struct{})
}

// Connectors returns the connectors as of now, by name; not to be changed. It is
// nil where there is no snapshot yet.
func (s *Store) Connectors() map[string]*v1alpha1.Connector {
	if snapshot := s.Current(); snapshot != nil {
		return snapshot.Connectors
	}
	return nil
}

// Step returns what a step of a flow evaluates, or false where there is no such
// step with a mapping. The condition is nil where every order is taken.
func (s *Store) Step(flow, step string) (*expr.Condition, *expr.Mapping, bool) {
	snapshot := s.Current()
	if snapshot == nil {
		return nil, nil, false
	}
	for _, f := range snapshot.Flows {
		if f.Name != flow {
			continue
		}
		for _, candidate := range f.Steps {
			if candidate.Name == step && candidate.Mapping != nil {
				return f.When, candidate.Mapping, true
			}
		}
	}
	return nil, nil, false
}
