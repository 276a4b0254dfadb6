// Package table reads the list of images.
package table

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Table is the list of images with what they have in common.
type Table struct {
	Version string  `yaml:"version"`
	Source  string  `yaml:"source"`
	Images  []Image `yaml:"images"`
}

// Image is one image: a binary and what is said about it.
type Image struct {
	Name        string `yaml:"name"`
	Title       string `yaml:"title"`
	Description string `yaml:"description"`
	Licenses    string `yaml:"licenses"`
	// Folder is where it is built, from the root of the repository.
	Folder  string `yaml:"folder"`
	Package string `yaml:"package"`
	// Stamp is the variable that the version is linked into, empty for none.
	Stamp string `yaml:"stamp"`
}

// Read reads a table and refuses what it does not know, because a word that is
// misspelled would be an image that is built another way than was meant.
func Read(path string) (Table, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return Table{}, err
	}
	var t Table
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&t); err != nil && !errors.Is(err, io.EOF) {
		return Table{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := t.check(); err != nil {
		return Table{}, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// A name is part of file names and of a reference to a registry.
var (
	namePattern    = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	versionPattern = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
)

func (t Table) check() error {
	if !versionPattern.MatchString(t.Version) {
		return fmt.Errorf("version is %q, it must be one such as 0.1.0", t.Version)
	}
	if len(t.Images) == 0 {
		return errors.New("images lists none")
	}
	seen := map[string]bool{}
	for i, image := range t.Images {
		switch {
		case !namePattern.MatchString(image.Name):
			return fmt.Errorf("images[%d].name is %q, it must be lower-case letters, digits and '-'", i, image.Name)
		case seen[image.Name]:
			return fmt.Errorf("images[%d]: there are two named %s", i, image.Name)
		case image.Folder == "" || image.Package == "":
			return fmt.Errorf("image %s: folder and package say what is built, and are needed", image.Name)
		case image.Title == "" || image.Description == "" || image.Licenses == "":
			return fmt.Errorf("image %s: title, description and licenses are needed, they are its labels", image.Name)
		}
		seen[image.Name] = true
	}
	return nil
}

// Select returns the images of these names, in the order of the table; all where
// no name is given.
func (t Table) Select(names []string) ([]Image, error) {
	if len(names) == 0 {
		return t.Images, nil
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	var selected []Image
	known := make([]string, len(t.Images))
	for i, image := range t.Images {
		known[i] = image.Name
		if wanted[image.Name] {
			selected = append(selected, image)
			delete(wanted, image.Name)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("there is no image %q, there are %s", name, strings.Join(known, ", "))
	}
	return selected, nil
}
