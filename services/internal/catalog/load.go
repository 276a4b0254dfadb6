package catalog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
			return nil, &Problem{File: dir, Message: fmt.Sprintf(
				"found more than %d files, expected fewer: put several resources into one file, with --- between them", maxFiles)}
		}
		files = append(files, readFile(filepath.Join(dir, name)))
	}
	return files, nil
}

func readFile(path string) file {
	f := file{path: path}
	// Asked before it is opened: to open a named pipe waits for who writes to it.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f.err = "found something that is no regular file, expected YAML text"
		return f
	}
	handle, err := os.Open(path)
	if err != nil {
		f.err = fmt.Sprintf("cannot be read: %v", errors.Unwrap(err))
		return f
	}
	defer func() { _ = handle.Close() }()
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

// DecodeDocument reads one document of a file that the caller has read and split; nil
// where nothing could be made of it. The nodes say the lines, and so the places of all
// problems.
func DecodeDocument(file string, document *yaml.Node) (*Resource, Problems) {
	return decodeDocument(file, document)
}

func load(dir string, files []file) ([]Resource, Problems) {
	var resources []Resource
	var problems Problems
	for _, f := range files {
		if f.err != "" {
			resources = append(resources, Resource{File: f.path, broken: true})
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
