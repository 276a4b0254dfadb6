package bus

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is removed and added between two pages, what is there all the time is told, and
// nothing twice.
func TestPagesOfSubjectsLeaveNoneOut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		there := map[string]uint64{}
		for i := range rapid.IntRange(0, 20_000).Draw(t, "subjects") {
			there[fmt.Sprintf("dispatch.v1.erp.bulk.%06d", i)] = 1
		}
		stays := maps.Clone(there)
		size := rapid.IntRange(2*subjectOverlap, 6000).Draw(t, "page")
		asked := 0
		ask := func(offset int) (subjectPage, error) {
			if asked++; asked > 200 {
				t.Fatal("it asks without an end")
			}
			if asked > 1 && asked < 20 {
				sorted := slices.Sorted(maps.Keys(there))
				for range min(len(sorted), rapid.IntRange(0, 1).Draw(t, "drains")*rapid.IntRange(0, 3000).Draw(t, "removed")) {
					delete(there, sorted[0])
					delete(stays, sorted[0])
					sorted = sorted[1:]
				}
			}
			sorted := slices.Sorted(maps.Keys(there))
			page := subjectPage{Total: len(sorted), Offset: offset}
			page.State.Subjects = map[string]uint64{}
			for _, subject := range sorted[min(offset, len(sorted)):min(offset+size, len(sorted))] {
				page.State.Subjects[subject] = there[subject]
			}
			return page, nil
		}
		told := map[string]int{}
		if err := eachSubject(ask, func(subject string, _ uint64) { told[subject]++ }); err != nil {
			t.Fatal(err)
		}
		for subject, n := range told {
			if n > 1 {
				t.Fatalf("%s is told %d times", subject, n)
			}
		}
		for subject := range stays {
			if told[subject] == 0 {
				t.Fatalf("%s is left out of %d", subject, len(stays))
			}
		}
	})
}
