package up

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/services/internal/catalog"
)

// misspelt takes orders on a topic that Shopify is not known to have.
const misspelt = `apiVersion: peppasync.io/v1alpha1
kind: Flow
metadata: {name: orders}
spec:
  from: [{connector: shop, topics: [orders/paied]}]
  deliver: [{name: wms, connector: wms, operation: putOrder, mapping: '{"total": order.total}'}]
`

const mayBeMisspelt = "did you mean orders/paid?"

// What may be a mistake is said when it starts, and taken all the same.
func TestATopicThatIsMostLikelyMisspeltIsWarnedOf(t *testing.T) {
	w := newWarehouse(t)
	p := launch(t, folder(t, map[string]string{"shop.yaml": shop, "warehouse.yaml": w.connector(), "flow.yaml": misspelt}), t.TempDir())
	p.logs.await(t, mayBeMisspelt)
	p.end()
	if text := p.logs.String(); strings.Count(text, mayBeMisspelt) != 1 || strings.Contains(text, "level=ERROR") {
		t.Errorf("want one warning and no error in the log:\n%s", text)
	}
}

// The folder is read again also where nothing has changed: that is no reason to repeat it.
func TestAdviceIsSaidOncePerChange(t *testing.T) {
	w := newWarehouse(t)
	log := newLogs()
	f := newFiles(nil, slog.New(slog.NewTextHandler(log, nil)))
	content := map[string]string{"shop.yaml": shop, "warehouse.yaml": w.connector(), "flow.yaml": misspelt}
	for _, step := range []struct {
		name, flow string
		said       int
	}{
		{"the start", misspelt, 1},
		{"the same again", misspelt, 1},
		{"a comment", "# Orders.\n" + misspelt, 1},
		{"another change", strings.Replace(misspelt, `"total"`, `"sum"`, 1), 2},
		{"an edit that is not taken", strings.Replace(misspelt, "connector: wms", "connector: nowhere", 1), 2},
		{"the one before it", strings.Replace(misspelt, `"total"`, `"sum"`, 1), 2},
		{"the topic put right", strings.Replace(misspelt, "paied", "paid", 1), 2},
		{"the mistake again", misspelt, 3},
	} {
		content["flow.yaml"] = step.flow
		resources, problems := catalog.LoadDir(folder(t, content))
		f.take(t.Context(), resources, problems)
		if n := strings.Count(log.String(), mayBeMisspelt); n != step.said {
			t.Errorf("after %s it was said %d times, want %d:\n%s", step.name, n, step.said, log)
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 3 {
		t.Errorf("%d warnings, want 3:\n%s", n, log)
	}
}
