package catalog_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/expr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReplaceIsSeenByWhoWaits(t *testing.T) {
	compiler, err := expr.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := compiler.Mapping(`{"id": externalId}`)
	if err != nil {
		t.Fatal(err)
	}
	store := catalog.NewStore(&catalog.Snapshot{})
	changed := store.Changed()
	if _, _, ok := store.Step("sell", "erp"); ok {
		t.Error("an empty catalog has a step")
	}
	store.Replace(&catalog.Snapshot{Revision: 2, Flows: []*catalog.Flow{{Name: "sell", Steps: []catalog.Step{{Name: "erp", Mapping: mapping}, {Name: "bare"}}}}})
	select {
	case <-changed:
	default:
		t.Error("the change is not announced")
	}
	if _, got, ok := store.Step("sell", "erp"); !ok || got != mapping {
		t.Error("the step's mapping is not found")
	}
	if _, _, ok := store.Step("sell", "bare"); ok {
		t.Error("a step without a mapping is found")
	}
	empty := catalog.NewStore(nil)
	if _, _, ok := empty.Step("sell", "erp"); ok || empty.Connectors() != nil || empty.Current() != nil {
		t.Error("a store without a snapshot has something in it")
	}
	if store.Current().Revision != 2 {
		t.Errorf("revision %d, want 2", store.Current().Revision)
	}
}
