package arch

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// A variable that nobody defines is an empty word to make: "$(RACE) packages" would run the
// packages' names as commands, or nothing at all.
func TestMakefileHasNoUndefinedVariable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, target := range regexp.MustCompile(`(?m)^([a-z0-9]+):.*## `).FindAllStringSubmatch(string(text), -1) {
		targets = append(targets, target[1])
	}
	if len(targets) < 10 {
		t.Fatalf("found the targets %v only", targets)
	}
	for _, target := range targets {
		said, err := exec.CommandContext(t.Context(), "make", "-C", "../..", "-n", "--warn-undefined-variables", target).CombinedOutput()
		if err != nil {
			t.Errorf("make -n %s: %v\n%s", target, err, said)
		}
		for line := range strings.Lines(string(said)) {
			if strings.Contains(line, "undefined variable") {
				t.Errorf("make %s: %s", target, line)
			}
		}
	}
}
