package systems_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// Which of two versions with one time of change a source has, it must be asked.
func TestSystemsThatListOrdersCanBeAskedForOne(t *testing.T) {
	for name, system := range systems.All() {
		operation, ok := system.Operations(&v1alpha1.ConnectorSpec{})[connectors.OperationReadOrder]
		if listed := v1alpha1.System(name).ListsOrders(); listed != ok || ok && operation.Effect != connectors.EffectNone {
			t.Errorf("%s lists orders: %v; it has a query for one: %v", name, listed, ok)
		}
	}
}

// The names that a Connector can have are those of the API. Orders of system GRPC come by
// a door of their own, and need no source.
func TestEverySystemOfTheAPICanBeCalledOrSends(t *testing.T) {
	const marker = "+kubebuilder:validation:Enum=Shopify;"
	text, err := os.ReadFile(filepath.Join("..", "..", "api", "v1alpha1", "connector.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), marker)
	if !found {
		t.Fatalf("the API has no %s", marker)
	}
	line, _, _ := strings.Cut(rest, "\n")
	names := append(strings.Split(line, ";"), string(v1alpha1.SystemShopify))
	set := systems.Set()
	for _, name := range names {
		system, source := set.Systems[name] != nil, set.Sources[name] != nil
		switch only := v1alpha1.System(name).SendsOnly(); {
		case name == string(v1alpha1.SystemGRPC):
			if system || source {
				t.Errorf("%s has a system or a source", name)
			}
		case only && (system || !source):
			t.Errorf("%s sends and is never called: it is a system %v, a source %v", name, system, source)
		case !only && !system:
			t.Errorf("%s cannot be called", name)
		}
	}
	for name := range set.Sources {
		if !slices.Contains(names, name) {
			t.Errorf("the API has no system %s", name)
		}
	}
}
