package catalog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// BenchmarkCatalog is a small retailer's configuration, and one that is larger
// than any we know: what each role does when a document comes. The figures are in
// services/docs/adr/0002-catalog-one-document.md.
func BenchmarkCatalog(b *testing.B) {
	for _, flows := range []int{1, 1000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			files := whole(b)
			text := files["flow.yaml"]
			for i := 1; i < flows; i++ {
				files[fmt.Sprintf("flows-%d.yaml", i%10)] += "---\n" + strings.Replace(text, "name: orders", fmt.Sprintf("name: orders-%d", i), 1)
			}
			resources, problems := catalog.LoadDir(folder(b, files))
			if len(problems) > 0 {
				b.Fatal(problems)
			}
			document := encode(b, resources)
			for b.Loop() {
				decoded, err := catalog.Decode(document)
				if err != nil {
					b.Fatal(err)
				}
				if _, problems := catalog.Compile(decoded, systems.Set()); len(problems) > 0 {
					b.Fatal(problems)
				}
			}
			b.ReportMetric(float64(len(document)), "bytes")
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/op")
			b.ReportMetric(0, "ns/op")
		})
	}
}
