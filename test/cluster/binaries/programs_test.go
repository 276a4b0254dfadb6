package binaries

import (
	"path"
	"testing"
)

// TestProgramsOfOneModule may be built by one command, whose output is a folder.
func TestProgramsOfOneModule(t *testing.T) {
	t.Parallel()
	for name, p := range programs {
		for other, q := range programs {
			if name == other || p.tool != q.tool {
				continue
			}
			if p.cgo != q.cgo || p.tags != q.tags {
				t.Errorf("%s and %s are of one module, and want other flags", name, other)
			}
			if path.Base(p.pkg) != name {
				t.Errorf("%s would be built as %s", name, path.Base(p.pkg))
			}
		}
	}
}
