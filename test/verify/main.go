// Command verify checks that the repository is whole: every module stands
// without the workspace, every generated file has its source, and generating
// has changed nothing. It runs from the repository's root, after generation.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, ".", os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "verify: %v\n", err)
		os.Exit(1)
	}
}

// run makes every check and returns all that failed, joined.
func run(ctx context.Context, root string, out io.Writer) error {
	tree := os.DirFS(root)
	modules, err := findModules(tree)
	if err != nil {
		return err
	}
	var failed []error
	for _, m := range modules {
		for _, args := range m.commands() {
			fmt.Fprintf(out, "%s: %s\n", m.folder, strings.Join(args, " "))
			if err := command(ctx, path.Join(root, m.folder), out, args...); err != nil {
				failed = append(failed, fmt.Errorf("module %s: %s: %w", m.folder, strings.Join(args, " "), err))
			}
		}
	}
	orphans, err := findOrphans(tree)
	if err != nil {
		return err
	}
	if len(orphans) > 0 {
		failed = append(failed, fmt.Errorf("generated files without a source, delete them: %s", strings.Join(orphans, ", ")))
	}
	return errors.Join(append(failed, checkClean(ctx, root))...)
}

// module is a folder with a go.mod, from the root of the repository.
type module struct {
	folder string
	// tool is set for the pinned tools, which have no packages of their own.
	tool bool
}

// commands returns what must succeed in the module's folder. Vet type-checks
// the tests too, so that it finds a requirement that only they miss.
func (m module) commands() [][]string {
	commands := [][]string{{"go", "mod", "tidy", "-diff"}}
	if !m.tool {
		// A module of one program would leave that in its folder.
		commands = append(commands, []string{"go", "build", "-o", os.DevNull, "./..."}, []string{"go", "vet", "./..."})
	}
	return commands
}

func findModules(tree fs.FS) ([]module, error) {
	var modules []module
	err := walkFiles(tree, func(name string) {
		if path.Base(name) == "go.mod" {
			folder := path.Dir(name)
			tool := strings.HasPrefix(folder, "deploy/tools/") || strings.HasPrefix(folder, "test/cluster/tools/")
			modules = append(modules, module{folder: folder, tool: tool})
		}
	})
	return modules, err
}

// findOrphans returns the generated messages and services whose .proto is gone:
// the generators write files and never remove one.
func findOrphans(tree fs.FS) ([]string, error) {
	var orphans []string
	err := walkFiles(tree, func(name string) {
		source, generated := strings.CutSuffix(strings.Replace(name, "_grpc.pb.go", ".pb.go", 1), ".pb.go")
		if !generated {
			return
		}
		if _, err := fs.Stat(tree, source+".proto"); err != nil {
			orphans = append(orphans, name)
		}
	})
	return orphans, err
}

// walkFiles visits the files of the repository in order, without those of
// hidden folders and testdata.
func walkFiles(tree fs.FS, visit func(name string)) error {
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.IsDir():
			visit(name)
		case name != "." && (entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("walk the repository: %w", err)
	}
	return nil
}

// checkClean fails if the working tree differs from the commit.
func checkClean(ctx context.Context, root string) error {
	var status strings.Builder
	if err := command(ctx, root, &status, "git", "status", "--porcelain"); err != nil {
		return fmt.Errorf("git status: %w", err)
	}
	if status.Len() == 0 {
		return nil
	}
	var diff strings.Builder
	if err := command(ctx, root, &diff, "git", "--no-pager", "diff", "HEAD", "--stat", "--patch"); err != nil {
		return fmt.Errorf("git diff: %w", err)
	}
	return fmt.Errorf("the tree differs from the commit; commit what was generated:\n%s%s", status.String(), diff.String())
}

// command runs without the workspace, which would lend a module what its own
// go.mod does not require.
func command(ctx context.Context, folder string, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stdout, cmd.Stderr = out, out
	return cmd.Run()
}
