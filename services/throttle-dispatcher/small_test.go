package throttledispatcher

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// After an outage each block is twice as large as the one before, up to what is wanted, and
// from then on as large as that.
func TestBlocksGrowAfterAnOutage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ wanted, want []int }{
		"at a quick pace": {[]int{39, 39, 39, 39, 39}, []int{8, 16, 32, 39, 39}},
		"at a slow pace":  {[]int{1, 39, 39}, []int{1, 39, 39}},
		"at a growing one": {
			[]int{10, 12, 100, 100}, []int{8, 12, 100, 100},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := worker{smallest: boundTogether}
			var got []int
			for _, most := range test.wanted {
				got = append(got, w.small(most))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := new(worker).small(128); got != 128 {
		t.Errorf("a block of %d where there was no outage, want 128", got)
	}
}
