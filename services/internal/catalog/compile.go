package catalog

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/expr"
)

// Compile fills defaults into copies of the resources, checks each of them and
// what they say about each other, and compiles their expressions. systems says
// which of them can be called, and whose webhooks are understood. It returns all problems, and no
// snapshot where there are any, here or in a resource that LoadDir found
// problems in. It is pure: the snapshot has Revision 0.
func Compile(resources []Resource, systems connectors.Set) (*Snapshot, Problems) {
	expressions, err := expr.NewCompiler()
	if err != nil {
		return nil, Problems{{Message: err.Error()}}
	}
	return compile(resources, systems, expressions)
}

// Advice returns what may well be a mistake in resources, and is none for certain: topics
// that a system is not known to have. It is pure.
func Advice(resources []Resource, systems connectors.Set) Problems {
	expressions, err := expr.NewCompiler()
	if err != nil {
		return Problems{{Message: err.Error()}}
	}
	c := newCompiler(systems, expressions)
	_, _ = c.compile(resources)
	c.advice.sort()
	return c.advice
}

func compile(resources []Resource, systems connectors.Set, expressions *expr.Compiler) (*Snapshot, Problems) {
	return newCompiler(systems, expressions).compile(resources)
}

func newCompiler(systems connectors.Set, expressions *expr.Compiler) *compiler {
	return &compiler{
		systems: systems, expressions: expressions,
		connectors: make(map[string]*entry[*v1alpha1.Connector]),
		snapshot: &Snapshot{
			Connectors: make(map[string]*v1alpha1.Connector),
			StockPools: make(map[string]*v1alpha1.StockPool),
			Policies:   make(map[string]*v1alpha1.NotificationPolicy),
		},
	}
}

// entry is a resource with its object by type, defaults filled in.
type entry[T Object] struct {
	*Resource
	object T
}

type compiler struct {
	systems     connectors.Set
	expressions *expr.Compiler
	connectors  map[string]*entry[*v1alpha1.Connector]
	inOrder     []*entry[*v1alpha1.Connector]
	flows       []*entry[*v1alpha1.Flow]
	pools       []*entry[*v1alpha1.StockPool]
	policies    []*entry[*v1alpha1.NotificationPolicy]
	snapshot    *Snapshot
	problems    Problems
	// advice is what may be wrong, and is compiled all the same.
	advice Problems
	broken bool
	// hidden: there are resources of which not even the name is known.
	hidden bool
}

func (c *compiler) compile(resources []Resource) (*Snapshot, Problems) {
	c.collect(resources)
	for _, connector := range c.inOrder {
		c.connector(connector)
	}
	for _, flow := range c.flows {
		c.flow(flow)
	}
	for _, pool := range c.pools {
		c.pool(pool)
	}
	c.stockBudget()
	for _, policy := range c.policies {
		c.policy(policy)
	}
	if len(c.problems) > 0 || c.broken {
		c.problems.sort()
		return nil, c.problems
	}
	slices.SortFunc(c.snapshot.Flows, func(a, b *Flow) int { return cmp.Compare(a.Name, b.Name) })
	return c.snapshot, nil
}

// collect sorts the resources by kind and finds doubled and impossible names.
func (c *compiler) collect(resources []Resource) {
	first := make(map[string]*Resource, len(resources))
	for i := range resources {
		r := &resources[i]
		c.broken = c.broken || r.broken
		if r.Object == nil {
			c.hidden = true
			continue
		}
		object, ok := r.Object.DeepCopyObject().(Object)
		if !ok { // every Object is made of the same type again
			continue
		}
		object.SetDefaults()
		kind, name := kindOf(object), object.GetName()
		c.hidden = c.hidden || r.broken && name == ""
		if !r.broken || name != "" {
			c.name(r, "metadata.name", name)
		}
		key := kind + "/" + name
		if earlier, doubled := first[key]; doubled && name != "" {
			c.reportf(r, "metadata.name", "the %s %q is written twice, first in %s, expected one of each name", kind, name, earlier.where())
			continue
		}
		first[key] = r
		switch typed := object.(type) {
		case *v1alpha1.Connector:
			e := &entry[*v1alpha1.Connector]{r, typed}
			c.connectors[name] = e
			c.inOrder = append(c.inOrder, e)
		case *v1alpha1.Flow:
			c.flows = append(c.flows, &entry[*v1alpha1.Flow]{r, typed})
		case *v1alpha1.StockPool:
			c.pools = append(c.pools, &entry[*v1alpha1.StockPool]{r, typed})
		case *v1alpha1.NotificationPolicy:
			c.policies = append(c.policies, &entry[*v1alpha1.NotificationPolicy]{r, typed})
		}
	}
}

// where names the place of a whole resource.
func (r *Resource) where() string {
	return Problem{File: r.File, Line: r.line("metadata.name")}.place()
}

func (c *compiler) reportf(r *Resource, field, format string, arguments ...any) {
	c.reportLinef(r, r.line(field), field, format, arguments...)
}

func (c *compiler) reportLinef(r *Resource, line int, field, format string, arguments ...any) {
	c.problems = append(c.problems, Problem{File: r.File, Line: line, Field: field, Message: fmt.Sprintf(format, arguments...)})
}

var (
	label     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	operation = regexp.MustCompile(`^[a-z][A-Za-z0-9]{0,62}$`)
)

// name checks a name that becomes part of a subject.
func (c *compiler) name(r *Resource, field, name string) {
	if !label.MatchString(name) {
		c.reportf(r, field, "found %q, expected at most 63 lower-case letters, digits and -, "+
			"with a letter or digit at both ends, such as netsuite-eu", shorten(name))
	}
}

// enum checks what YAML decoding has checked already, for objects from elsewhere.
func enum[T ~string](c *compiler, r *Resource, field string, value T, allowed []string) bool {
	if slices.Contains(allowed, string(value)) {
		return true
	}
	c.reportf(r, field, "found %q, expected %s", shorten(string(value)), choices(allowed))
	return false
}

// size checks the length of a list.
func (c *compiler) size(r *Resource, field string, length, most int, what string) {
	switch {
	case length == 0:
		c.reportf(r, field, "is empty, expected at least one %s", what)
	case length > most:
		c.reportf(r, field, "found %d, expected at most %d", length, most)
	}
}

// unique reports all but the first of each value.
func (c *compiler) unique(r *Resource, field string, values []string, suffix string) {
	seen := make(map[string]bool, len(values))
	for i, value := range values {
		if value != "" && seen[value] {
			c.reportf(r, at(field, i)+suffix, "%q is written twice, expected it once", shorten(value))
		}
		seen[value] = true
	}
}

// reference finds a connector by name; nil where there is none, or none that can
// be judged. Only the first is a problem of who refers to it, and only where no
// unreadable file may hold it.
func (c *compiler) reference(r *Resource, field, name string) *entry[*v1alpha1.Connector] {
	found, ok := c.connectors[name]
	if !ok && c.hidden {
		return nil
	}
	if !ok {
		names := make([]string, 0, len(c.connectors))
		for _, connector := range c.inOrder {
			names = append(names, connector.object.Name)
		}
		c.reportf(r, field, "there is no Connector %q%s", shorten(name), offer("expected one of ", names, name))
		return nil
	}
	if found.broken {
		return nil
	}
	return found
}

// lane checks that a connector has a lane.
func (c *compiler) lane(r *Resource, field, name string, connector *entry[*v1alpha1.Connector]) {
	names := make([]string, 0, len(connector.object.Spec.Lanes))
	for _, lane := range connector.object.Spec.Lanes {
		names = append(names, lane.Name)
	}
	if !slices.Contains(names, name) {
		c.reportf(r, field, "Connector %q has no lane %q%s", connector.object.Name, shorten(name), offer("expected ", names, name))
	}
}

// offer lists what could have been written.
func offer(words string, names []string, written string) string {
	if len(names) == 0 {
		return ""
	}
	const most = 12 // more than that nobody reads in one line
	text := ", " + words + choices(names)
	if len(names) > most {
		text = fmt.Sprintf(", %sthe %d that there are", words, len(names))
	}
	if near := nearest(written, names); near != "" {
		text += "; did you mean " + near + "?"
	}
	return text
}
