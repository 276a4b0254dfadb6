// Package selection decides which version of each resource the roles work by, where
// some do not compile: one that is wrong must not take the others down. It is pure.
package selection

import (
	"bytes"
	"slices"
	"strings"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// maxProblems is how many sentences a verdict has: a person mends a few and looks again.
const maxProblems = 5

// Verdict is what became of a resource as it is written now.
type Verdict struct {
	// InUse: the roles work by it.
	InUse bool
	// Older: they work by the version before instead.
	Older bool
	// Message says why they do not work by it.
	Message string
}

// Key names a resource as problems do.
func Key(r catalog.Resource) string { return r.File }

// Choose returns the resources that compile together, and a verdict for each that is
// wanted, by its Key. A resource that does not compile is taken as it was before, if
// that does; otherwise it is left out. Where one that nobody touched does not compile any
// more, those that were changed around it go back first: the change is the mistake. Each
// resource's File is its own name, by which compile reports it. The error is that of a
// problem that belongs to none of them.
func Choose(wanted, before []catalog.Resource, compile func([]catalog.Resource) catalog.Problems) ([]catalog.Resource, map[string]Verdict, error) {
	c := newChoice(wanted, before)
	for {
		chosen := c.chosen()
		problems := compile(chosen)
		if len(problems) == 0 {
			return chosen, c.verdicts(), nil
		}
		if !c.step(problems) {
			return nil, nil, problems
		}
	}
}

// candidate is a resource on its way from what is wanted to what is taken.
type candidate struct {
	wanted  catalog.Resource
	older   *catalog.Resource
	level   level
	changed bool
	causes  []string
	// names are the Connectors that it speaks of, or itself where it is one.
	names     []string
	connector bool
}

type level int

const (
	asWanted level = iota
	asBefore
	leftOut
)

type choice struct {
	keys       []string
	candidates map[string]*candidate
}

func newChoice(wanted, before []catalog.Resource) *choice {
	c := &choice{candidates: make(map[string]*candidate, len(wanted))}
	old := make(map[string]catalog.Resource, len(before))
	for _, r := range before {
		old[Key(r)] = r
	}
	for _, r := range wanted {
		key := Key(r)
		candidate := &candidate{wanted: r, changed: true}
		candidate.names, candidate.connector = namesOf(r.Object)
		if older, ok := old[key]; ok {
			candidate.changed = !equal(older, r)
			if candidate.changed {
				candidate.older = &older
			}
		}
		c.keys = append(c.keys, key)
		c.candidates[key] = candidate
	}
	slices.Sort(c.keys)
	return c
}

func (c *choice) chosen() []catalog.Resource {
	chosen := make([]catalog.Resource, 0, len(c.keys))
	for _, key := range c.keys {
		switch candidate := c.candidates[key]; candidate.level {
		case asWanted:
			chosen = append(chosen, candidate.wanted)
		case asBefore:
			chosen = append(chosen, *candidate.older)
		case leftOut:
		}
	}
	return chosen
}

// step moves at least one resource on, and returns false where it finds none to move.
func (c *choice) step(problems catalog.Problems) bool {
	blamed := map[string][]string{}
	for _, p := range problems {
		if candidate := c.candidates[p.File]; candidate != nil && candidate.level != leftOut {
			text := p.Message
			if p.Field != "" {
				text = p.Field + ": " + text
			}
			blamed[p.File] = append(blamed[p.File], text)
		}
	}
	moved := false
	// Those that were changed go back first; what is left may be fine then.
	for key, causes := range blamed {
		if candidate := c.candidates[key]; candidate.level == asWanted && candidate.changed {
			candidate.back(causes)
			moved = true
		}
	}
	if moved {
		return true
	}
	for key, causes := range blamed {
		for _, around := range c.around(c.candidates[key]) {
			around.back(prefixed(key, causes))
			moved = true
		}
	}
	if moved {
		return true
	}
	for key, causes := range blamed {
		c.candidates[key].leave(causes)
		moved = true
	}
	return moved
}

// around returns what was changed and may be why a resource that was not does not
// compile: the Connectors that it speaks of, and where there are none, what shares them.
func (c *choice) around(self *candidate) []*candidate {
	var connectors, others []*candidate
	for _, key := range c.keys {
		other := c.candidates[key]
		if other == self || !other.changed || other.level != asWanted || !slices.ContainsFunc(other.names, func(name string) bool {
			return slices.Contains(self.names, name)
		}) {
			continue
		}
		if other.connector {
			connectors = append(connectors, other)
			continue
		}
		others = append(others, other)
	}
	if len(connectors) > 0 {
		return connectors
	}
	return others
}

// back takes the version before, or none where there is none.
func (c *candidate) back(causes []string) {
	c.level = asBefore
	if c.older == nil {
		c.level = leftOut
	}
	c.because(causes)
}

func (c *candidate) leave(causes []string) {
	c.level = leftOut
	c.because(causes)
}

// because keeps the first causes: those that follow are of what was tried instead.
func (c *candidate) because(causes []string) {
	if len(c.causes) == 0 {
		c.causes = causes
	}
}

func (c *choice) verdicts() map[string]Verdict {
	verdicts := make(map[string]Verdict, len(c.keys))
	for key, candidate := range c.candidates {
		verdict := Verdict{InUse: candidate.level == asWanted, Older: candidate.level == asBefore}
		if causes := candidate.causes; len(causes) > 0 {
			verdict.Message = strings.Join(causes[:min(len(causes), maxProblems)], "; ")
			if more := len(causes) - maxProblems; more > 0 {
				verdict.Message += "; and more"
			}
		}
		verdicts[key] = verdict
	}
	return verdicts
}

func prefixed(key string, causes []string) []string {
	texts := make([]string, len(causes))
	for i, cause := range causes {
		texts[i] = key + " would not compile any more: " + cause
	}
	return texts
}

// equal compares what the roles would work by.
func equal(a, b catalog.Resource) bool {
	x, errX := catalog.Encode([]catalog.Resource{a})
	y, errY := catalog.Encode([]catalog.Resource{b})
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// References returns the Connectors that a resource speaks of; none for a Connector.
func References(object catalog.Object) []string {
	var names []string
	switch o := object.(type) {
	case *v1alpha1.Flow:
		for _, from := range o.Spec.From {
			names = append(names, from.Connector)
		}
		for _, step := range o.Spec.Deliver {
			names = append(names, step.Connector)
		}
	case *v1alpha1.StockPool:
		names = append(names, o.Spec.Source.Connector)
		for _, channel := range o.Spec.Channels {
			names = append(names, channel.Connector)
		}
	case *v1alpha1.NotificationPolicy:
		names = append(names, o.Spec.Through.Connector)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func namesOf(object catalog.Object) (names []string, connector bool) {
	if c, ok := object.(*v1alpha1.Connector); ok {
		return []string{c.Name}, true
	}
	return References(object), false
}
