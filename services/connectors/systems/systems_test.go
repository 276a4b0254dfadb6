package systems_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/systems"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEverySystemThatAConnectorCanNameIsThere(t *testing.T) {
	want := []string{
		string(v1alpha1.SystemHTTP), string(v1alpha1.SystemNetSuite), string(v1alpha1.SystemShopify), string(v1alpha1.SystemTwilio),
		string(v1alpha1.SystemWooCommerce), string(v1alpha1.SystemBigCommerce),
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(systems.All()))); diff != "" {
		t.Errorf("systems (-want +got):\n%s", diff)
	}
}

func TestSystemsThatOnlyNameOrdersCanBeAskedForThem(t *testing.T) {
	for name, source := range systems.Sources() {
		if _, thin := source.(connectors.Thin); !thin {
			continue
		}
		system := systems.All()[name]
		if system == nil {
			t.Errorf("%s only names orders, and cannot be called", name)
			continue
		}
		if operation, ok := system.Operations(&v1alpha1.ConnectorSpec{})[connectors.OperationReadOrder]; !ok || operation.Effect != connectors.EffectNone {
			t.Errorf("%s only names orders, and has no query %s", name, connectors.OperationReadOrder)
		}
	}
}
