package arch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// madeOf are the programs of a machine on which .ci/run does nothing but call them. make
// says what its parts are, as the real one does, and fails as it is told.
var madeOf = map[string]string{
	".ci/run":               "",
	"bin/git":               `echo 0123456789abcdef`,
	"bin/gcc":               ``,
	"bin/make":              `echo "== first part of $1"; echo "== second part of $1"; printf "ok\tof %s\t1s\n" "$1"; [[ $1 != "${FAILING:-}" ]] || exit 3`,
	"bin/peppasync-cluster": `[[ -z ${WITHHELD:-} ]] || { echo "$WITHHELD"; exit 1; }`,
	"bin/apt-get":           ``,
}

// The last lines of .ci/run say where its time went, whichever way it ends.
func TestCISaysHowLongEachPartTook(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		environment string
		exit        int
		want        []string
		not         string
	}{
		"all passes": {"", 0, []string{
			"make verify", "make bench BENCHTIME=20ms", "make test", "make node", "make e2e", "e2e", "second part of verify", "second part of test",
		}, "NOT TESTED"},
		"a node is withheld": {"WITHHELD=no cgroups", 0, []string{"make test", "e2e", "first part of test", "NOT TESTED.*: no cgroups"}, "s  make e2e"},
		"the tests fail":     {"FAILING=test", 3, []string{"make verify", "second part of verify", "second part of test", "FAILED after"}, "passed in"},
		"the node fails":     {"FAILING=e2e", 3, []string{"make test", "make node", "second part of test", "FAILED after"}, "passed in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			for file, does := range madeOf {
				content := []byte("#!/usr/bin/env bash\n" + does + "\n")
				if file == ".ci/run" {
					content = script
				}
				if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(folder, file)), 0o700), os.WriteFile(filepath.Join(folder, file), content, 0o700)); err != nil {
					t.Fatal(err)
				}
			}
			run := exec.CommandContext(t.Context(), filepath.Join(folder, ".ci", "run"))
			run.Env = append(os.Environ(), fmt.Sprintf("PATH=%s:%s", filepath.Join(folder, "bin"), os.Getenv("PATH")), test.environment)
			said, err := run.CombinedOutput()
			if code := run.ProcessState.ExitCode(); code != test.exit {
				t.Fatalf("exit code %d, want %d: %v\n%s", code, test.exit, err, said)
			}
			_, last, _ := strings.Cut(string(said), "=== how long each step took")
			for _, want := range test.want {
				if !regexp.MustCompile(`(?m)^( *\d+ s  |=== .*)` + want).MatchString(last) {
					t.Errorf("the last lines do not say %q:\n%s", want, last)
				}
			}
			if strings.Contains(last, test.not) {
				t.Errorf("the last lines say %q:\n%s", test.not, last)
			}
		})
	}
}
