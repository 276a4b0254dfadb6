package operator

import (
	"strings"
	"testing"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// What is most likely misspelt is written all the same, with a warning to who writes it; and
// to nobody who writes something else beside it.
func TestAdviceIsAWarning(t *testing.T) {
	t.Parallel()
	all, problems := catalog.LoadDir("../../deploy/demo")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var flow, other catalog.Resource
	for i := range all {
		all[i] = resource(kindOf(all[i].Object), all[i].Object)
		if strings.HasPrefix(all[i].File, "Flow/") {
			flow = all[i]
		} else {
			other = all[i]
		}
	}
	object, ok := flow.Object.(*v1alpha1.Flow)
	if !ok {
		t.Fatalf("%s is a %T", flow.File, flow.Object)
	}
	object.Spec.From[0].Topics = append(object.Spec.From[0].Topics, "orders/paied")
	for _, test := range []struct {
		written catalog.Resource
		want    int
	}{{flow, 1}, {other, 0}} {
		refused, warnings := judge(all, test.written)
		if len(refused) > 0 || len(warnings) != test.want || test.want == 1 && !strings.Contains(warnings[0], "did you mean orders/paid?") {
			t.Errorf("%s is refused with %q and warned of with %q", test.written.File, refused, warnings)
		}
	}
}
