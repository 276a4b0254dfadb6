package catalog_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// seen is what one call brought.
type seen struct {
	resources []catalog.Resource
	problems  catalog.Problems
}

// buffer returns the pool's buffer, -1 where there is no such pool or a problem.
func (s seen) buffer() int64 {
	for i := range s.resources {
		if pool, ok := s.resources[i].Object.(*v1alpha1.StockPool); ok && len(s.problems) == 0 {
			return pool.Spec.Buffer
		}
	}
	return -1
}

// follow watches a folder until the test ends.
func follow(t *testing.T, dir string) <-chan seen {
	t.Helper()
	calls := make(chan seen, 100)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- catalog.WatchDir(ctx, dir, func(resources []catalog.Resource, problems catalog.Problems) {
			calls <- seen{resources, problems}
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("it ended with %v", err)
			}
		case <-time.After(deadline):
			t.Error("it does not end")
		}
	})
	return calls
}

// await waits until a call satisfies a condition; calls between may show what was
// half done.
func await(t *testing.T, calls <-chan seen, what string, condition func(seen) bool) {
	t.Helper()
	late := time.After(deadline)
	var last seen
	for {
		select {
		case last = <-calls:
			if condition(last) {
				return
			}
		case <-late:
			t.Fatalf("no call %s; the last one had %d resources and problems %v", what, len(last.resources), last.problems)
		}
	}
}

func awaitPool(t *testing.T, calls <-chan seen, units int64) {
	t.Helper()
	await(t, calls, "with the buffer", func(s seen) bool { return s.buffer() == units })
}

func awaitProblem(t *testing.T, calls <-chan seen, text string) {
	t.Helper()
	await(t, calls, "with the problem "+text, func(s seen) bool { return strings.Contains(s.problems.Error(), text) })
}

// swap writes a text beside a file and puts it in its place, as most editors do.
func swap(t *testing.T, path, text string) {
	t.Helper()
	beside := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".swp")
	write(t, beside, text)
	if err := os.Rename(beside, path); err != nil {
		t.Fatal(err)
	}
}

func pool(units string) string {
	return "apiVersion: peppasync.io/v1alpha1\nkind: StockPool\nmetadata: {name: main}\nspec:\n  buffer: " + units +
		"\n  skus: [A]\n  source: {connector: erp, location: x}\n  channels: [{connector: shop, location: x}]\n"
}

func TestAnEditTakesEffect(t *testing.T) {
	dir := folder(t, map[string]string{"stock.yaml": pool("1")})
	calls := follow(t, dir)
	awaitPool(t, calls, 1)
	path := filepath.Join(dir, "stock.yaml")

	write(t, path, pool("2")) // in place, as some editors do
	awaitPool(t, calls, 2)

	swap(t, path, pool("3"))
	awaitPool(t, calls, 3)

	write(t, filepath.Join(dir, "more.yaml"), strings.Replace(pool("1"), "main", "more", 1))
	await(t, calls, "with both", func(s seen) bool { return len(s.resources) == 2 })
	if err := os.Remove(filepath.Join(dir, "more.yaml")); err != nil {
		t.Fatal(err)
	}
	await(t, calls, "with one", func(s seen) bool { return len(s.resources) == 1 })
}

// The system tells of a change, which is seen well before the next look around.
func TestAnEditTakesEffectSoon(t *testing.T) {
	dir := folder(t, map[string]string{"stock.yaml": pool("0")})
	calls := follow(t, dir)
	awaitPool(t, calls, 0)
	fastest := deadline
	for units := 1; units <= 4; units++ {
		begin := time.Now()
		swap(t, filepath.Join(dir, "stock.yaml"), pool(strconv.Itoa(units)))
		awaitPool(t, calls, int64(units))
		// Without being told, each would be seen with the look around that
		// follows the one before: 2 s later, except for the first.
		if took := time.Since(begin); units > 1 {
			fastest = min(fastest, took)
		}
	}
	if fastest > time.Second {
		t.Errorf("the fastest of three edits took %v", fastest)
	}
}

// A reader may see half of what an editor writes. It is told as a problem, and
// the rest mends it.
func TestAHalfWrittenFileIsNoMoreThanAProblem(t *testing.T) {
	dir := folder(t, map[string]string{"stock.yaml": pool("1")})
	calls := follow(t, dir)
	awaitPool(t, calls, 1)
	whole := pool("2")
	file, err := os.Create(filepath.Join(dir, "stock.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	half := strings.Index(whole, "connector: erp") + 5
	if _, err := file.WriteString(whole[:half]); err != nil {
		t.Fatal(err)
	}
	awaitProblem(t, calls, "stock.yaml:7: found text that is not YAML")
	if _, err := file.WriteString(whole[half:]); err != nil {
		t.Fatal(err)
	}
	awaitPool(t, calls, 2)
}

func TestBrokenYAMLAndItsRepair(t *testing.T) {
	dir := folder(t, map[string]string{"stock.yaml": pool("1")})
	calls := follow(t, dir)
	awaitPool(t, calls, 1)
	path := filepath.Join(dir, "stock.yaml")
	write(t, path, pool("many"))
	awaitProblem(t, calls, `stock.yaml:5: spec.buffer: found "many", expected a whole number of units, such as 5`)
	write(t, path, "\xff\xfe")
	awaitProblem(t, calls, "stock.yaml:1: found bytes that are not UTF-8")
	write(t, path, pool("1"))
	awaitPool(t, calls, 1)
}

func TestWhatChangesNothingIsNotTold(t *testing.T) {
	dir := folder(t, map[string]string{"stock.yaml": pool("1")})
	calls := follow(t, dir)
	awaitPool(t, calls, 1)
	swap(t, filepath.Join(dir, "stock.yaml"), pool("1"))
	write(t, filepath.Join(dir, "README.md"), "words")
	write(t, filepath.Join(dir, ".stock.yaml.swp"), pool("7"))
	// Longer than it takes to hear of them, and to look around without hearing.
	select {
	case call := <-calls:
		t.Errorf("told of %d resources, problems %v", len(call.resources), call.problems)
	case <-time.After(2500 * time.Millisecond):
	}
}

// Kubernetes writes a mounted ConfigMap into a new folder, and points ..data at
// it by a rename; the names that are read never change.
func TestAMountedConfigMapIsFollowed(t *testing.T) {
	dir := t.TempDir()
	generation := func(name, units string) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "stock.yaml"), pool(units))
		link(t, name, filepath.Join(dir, "..data_tmp"))
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	generation("..2026_11_23_09_30_00.1", "1")
	link(t, "..data/stock.yaml", filepath.Join(dir, "stock.yaml"))
	calls := follow(t, dir)
	awaitPool(t, calls, 1)
	generation("..2026_11_23_09_31_00.2", "2")
	if err := os.RemoveAll(filepath.Join(dir, "..2026_11_23_09_30_00.1")); err != nil {
		t.Fatal(err)
	}
	awaitPool(t, calls, 2)
	generation("..2026_11_23_09_32_00.3", "x")
	awaitProblem(t, calls, "spec.buffer")
	generation("..2026_11_23_09_33_00.4", "4")
	awaitPool(t, calls, 4)
}

func TestAFolderThatIsRemovedAndMadeAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	calls := follow(t, dir) // it need not be there at the start either
	awaitProblem(t, calls, "no such file or directory")
	for _, units := range []string{"1", "2"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "stock.yaml"), pool(units))
		awaitPool(t, calls, int64(units[0]-'0'))
		// The new folder is watched like the old one.
		write(t, filepath.Join(dir, "stock.yaml"), pool(units+"0"))
		awaitPool(t, calls, 10*int64(units[0]-'0'))
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		awaitProblem(t, calls, "no such file or directory")
	}
}

// Another folder is moved to its place, as some tools deploy.
func TestAFolderThatIsReplacedAsAWhole(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "files")
	for name, units := range map[string]string{"files": "1", "next": "2"} {
		if err := os.Mkdir(filepath.Join(parent, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(parent, name, "stock.yaml"), pool(units))
	}
	calls := follow(t, dir)
	awaitPool(t, calls, 1)
	for _, move := range [][2]string{{"files", "old"}, {"next", "files"}} {
		if err := os.Rename(filepath.Join(parent, move[0]), filepath.Join(parent, move[1])); err != nil {
			t.Fatal(err)
		}
	}
	awaitPool(t, calls, 2)
	write(t, filepath.Join(dir, "stock.yaml"), pool("3"))
	awaitPool(t, calls, 3)
}
