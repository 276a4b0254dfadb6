package access

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// Whatever Connectors there are, a role may read what they name for it, and nothing that
// no Connector names for it; never all of them, and never what is the installation's.
func TestRulesNameWhatConnectorsName(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]string{"", "a", "b", "c", "erp", "shop", "own", "own-key", "reserved", "reserved-not"})
		var specs []*v1alpha1.ConnectorSpec
		ingest, dispatcher := map[string]bool{}, map[string]bool{}
		for range rapid.IntRange(0, 6).Draw(t, "connectors") {
			spec := &v1alpha1.ConnectorSpec{}
			if rapid.Bool().Draw(t, "webhook") {
				name := names.Draw(t, "webhook secret")
				spec.Webhook = &v1alpha1.Webhook{SecretRef: v1alpha1.SecretReference{Name: name}}
				ingest[name] = true
				if rapid.Bool().Draw(t, "address") {
					spec.Webhook.Address = "https://orders.example.com/v1/webhooks/x"
					dispatcher[name] = true
				}
			}
			if rapid.Bool().Draw(t, "auth") {
				name := names.Draw(t, "auth secret")
				spec.Auth = &v1alpha1.Authentication{SecretRef: v1alpha1.SecretReference{Name: name}}
				dispatcher[name] = true
			}
			specs = append(specs, spec)
		}
		got := Of(specs, Reserved{"reserved", "own-*"})
		for _, named := range []map[string]bool{ingest, dispatcher} {
			delete(named, "reserved")
			delete(named, "own-key")
		}
		for role, pair := range map[string]struct {
			got  []string
			want map[string]bool
		}{"ingest": {got.Ingest, ingest}, "dispatcher": {got.Dispatcher, dispatcher}} {
			delete(pair.want, "")
			for _, name := range pair.got {
				if !pair.want[name] {
					t.Fatalf("%s may read %q, which no Connector names for it", role, name)
				}
			}
			if len(pair.got) != len(pair.want) {
				t.Fatalf("%s may read %q, want %v", role, pair.got, pair.want)
			}
			for _, rule := range Rules(pair.got) {
				if len(rule.ResourceNames) == 0 || !slices.Equal(rule.Verbs, []string{"get"}) || !slices.Equal(rule.Resources, []string{"secrets"}) {
					t.Fatalf("%s has a rule for more: %v", role, rule)
				}
			}
		}
	})
}

func TestNoNameIsNoRule(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(0, len(Rules([]string{""}))); diff != "" {
		t.Errorf("rules without a name (-want +got):\n%s", diff)
	}
}
