// Package access says which Secrets a role may read: those that Connectors name for it,
// and no others. It is pure.
package access

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// Secrets are the names of the Secrets that each role reads, sorted.
type Secrets struct {
	Ingest, Dispatcher []string
}

// Reserved are the Secrets of the installation itself, such as the keys of the roles: by
// name, or by its beginning where an asterisk ends it. No Connector gets them: a role
// would send them to whatever endpoint the Connector names.
type Reserved []string

// Has reports whether a Secret is the installation's.
func (r Reserved) Has(name string) bool {
	return slices.ContainsFunc(r, func(pattern string) bool {
		beginning, several := strings.CutSuffix(pattern, "*")
		return name == pattern || several && strings.HasPrefix(name, beginning)
	})
}

// Of returns what the Connectors name and is not reserved. Ingest checks what comes in. The
// throttle-dispatcher signs calls in, and seals the webhooks that it makes anew, which it
// does only where it is written at which address they arrive.
func Of(connectors []*v1alpha1.ConnectorSpec, reserved Reserved) Secrets {
	var s Secrets
	for _, spec := range connectors {
		if spec.Webhook != nil {
			s.Ingest = append(s.Ingest, spec.Webhook.SecretRef.Name)
			if spec.Webhook.Address != "" {
				s.Dispatcher = append(s.Dispatcher, spec.Webhook.SecretRef.Name)
			}
		}
		if spec.Auth != nil {
			s.Dispatcher = append(s.Dispatcher, spec.Auth.SecretRef.Name)
		}
	}
	return Secrets{
		Ingest:     slices.DeleteFunc(unique(s.Ingest), reserved.Has),
		Dispatcher: slices.DeleteFunc(unique(s.Dispatcher), reserved.Has),
	}
}

// Rules grant to get these Secrets. Without a name there is no rule: an empty list of
// names would mean all of them.
func Rules(names []string) []rbacv1.PolicyRule {
	names = unique(names)
	if len(names) == 0 {
		return nil
	}
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: names, Verbs: []string{"get"}}}
}

func unique(names []string) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "" })
	slices.Sort(names)
	return slices.Compact(names)
}
