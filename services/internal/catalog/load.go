package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// A thousand flows with their mappings are below this.
	maxFileSize = 1 << 20
	maxFiles    = 1000
)

// LoadDir reads every *.yaml and *.yml file of a folder, not those below it, in
// the order of their names. It reports all problems of all files; the resources
// of a folder with problems are for Compile to look for more, not for use. A
// folder without any resource is a problem: it is more likely a mistake than a
// wish.
func LoadDir(dir string) ([]Resource, Problems) {
	files, problem := readDir(dir)
	if problem != nil {
		return nil, Problems{*problem}
	}
	return load(dir, files)
}

// file is a file as it was read, or the problem with reading it.
type file struct {
	path string
	data []byte
	err  string
}

func readDir(dir string) ([]file, *Problem) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, &Problem{File: dir, Message: fmt.Sprintf("cannot be read (%v), expected a folder with .yaml files", errors.Unwrap(err))}
	}
	var files []file
	for _, entry := range entries {
		name := entry.Name()
		// Editors and ConfigMap mounts keep files of their own behind a dot.
		if extension := filepath.Ext(name); strings.HasPrefix(name, ".") || (extension != ".yaml" && extension != ".yml") {
			continue
		}
		if len(files) == maxFiles {
			return nil, &Problem{File: dir, Message: fmt.Sprintf("found more than %d files, expected fewer: put several resources into one file, with --- between them", maxFiles)}
		}
		files = append(files, readFile(filepath.Join(dir, name)))
	}
	return files, nil
}

func readFile(path string) file {
	f := file{path: path}
	handle, err := os.Open(path) //nolint:gosec // the folder is named by who runs the program
	if err != nil {
		f.err = fmt.Sprintf("cannot be read: %v", errors.Unwrap(err))
		return f
	}
	defer func() { _ = handle.Close() }()
	if info, err := handle.Stat(); err == nil && !info.Mode().IsRegular() {
		f.err = "found something that is no regular file, expected YAML text"
		return f
	}
	data, err := io.ReadAll(io.LimitReader(handle, maxFileSize+1))
	switch {
	case err != nil:
		f.err = fmt.Sprintf("cannot be read: %v", err)
	case len(data) > maxFileSize:
		f.err = fmt.Sprintf("found more than %d bytes, expected fewer: split the file", maxFileSize)
	default:
		f.data = data
	}
	return f
}

func load(dir string, files []file) ([]Resource, Problems) {
	var resources []Resource
	var problems Problems
	for _, f := range files {
		if f.err != "" {
			problems = append(problems, Problem{File: f.path, Message: f.err})
			continue
		}
		found, more := decodeFile(f.path, f.data)
		resources, problems = append(resources, found...), append(problems, more...)
	}
	if len(resources) == 0 && len(problems) == 0 {
		problems = append(problems, Problem{File: dir, Message: "found no resource, expected at least one .yaml file with a Connector"})
	}
	return resources, problems
}

// decodeFile reads all documents of one file.
func decodeFile(path string, data []byte) ([]Resource, Problems) {
	var resources []Resource
	var problems Problems
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// What follows a syntax error cannot be told apart any more.
			problems = append(problems, syntaxProblem(path, err))
			break
		}
		resource, more := decodeDocument(path, &document)
		if resource != nil {
			resources = append(resources, *resource)
		}
		problems = append(problems, more...)
	}
	problems.sort()
	return resources, problems
}

// syntaxProblem takes the line out of the YAML library's text, which is where it
// says it.
func syntaxProblem(path string, err error) Problem {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	problem := Problem{File: path}
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		number, text, found := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil && found {
			problem.Line, message = line, text
		}
	}
	problem.Message = "found text that is not YAML (" + message + "), expected key: value, with indentation by spaces"
	return problem
}

// nearest returns the candidate that a typing mistake is likely to have meant,
// or an empty text.
func nearest(word string, candidates []string) string {
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, candidate := range candidates {
		if strings.EqualFold(word, candidate) {
			return candidate
		}
		if d := distance(strings.ToLower(word), strings.ToLower(candidate)); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbor (optimal string alignment).
func distance(a, b string) int {
	const longest = 64 // no field is longer, and the work grows with the square
	if len(a) > longest || len(b) > longest {
		return longest
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// choices spells a list for a sentence: "A, B or C".
func choices(names []string) string {
	names = slices.Clone(names)
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
