// Package sbom writes the bill of materials of an image, CycloneDX in JSON, from
// what the linker wrote into its binaries: what is really in them, and not what a
// go.mod could have led to.
package sbom

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
	"github.com/package-url/packageurl-go"
)

// Subject is the image that a bill is of.
type Subject struct {
	// Repository is where the image would be, such as docker.io/peppasync/peppasync.
	Name, Repository, Version, Digest string
	Description, Licenses             string
	Created                           time.Time
	// Ours is the path that our own modules share. They have no version of their
	// own, and get the image's.
	Ours     string
	Binaries []Binary
}

// Binary is one binary of the image.
type Binary struct{ Path, Platform string }

// Write writes the bill.
func Write(w io.Writer, s Subject) error {
	image := s.component()
	bom := cdx.NewBOM()
	// The image's digest makes the number: the same image has the same bill.
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceURL, []byte(s.Repository+"@"+s.Digest)).URN()
	bom.Metadata = &cdx.Metadata{Timestamp: s.Created.UTC().Format(time.RFC3339), Component: &image}

	libraries := map[string]cdx.Component{}
	var binaries []cdx.Component
	var refs []string
	var dependencies []cdx.Dependency
	for _, binary := range s.Binaries {
		component, modules, err := s.read(binary)
		if err != nil {
			return fmt.Errorf("bill of materials of %s: %w", s.Name, err)
		}
		of := make([]string, len(modules))
		for i, module := range modules {
			libraries[module.BOMRef] = module
			of[i] = module.BOMRef
		}
		binaries = append(binaries, component)
		refs = append(refs, component.BOMRef)
		dependencies = append(dependencies, cdx.Dependency{Ref: component.BOMRef, Dependencies: &of})
	}
	dependencies = append([]cdx.Dependency{{Ref: image.BOMRef, Dependencies: &refs}}, dependencies...)
	for _, library := range libraries {
		binaries = append(binaries, library)
	}
	slices.SortFunc(binaries, func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	bom.Components, bom.Dependencies = &binaries, &dependencies
	// 1.6 and not the newest: scanners read it.
	return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6)
}

func (s Subject) component() cdx.Component {
	purl := packageurl.NewPackageURL(packageurl.TypeOCI, "", s.Name, s.Digest,
		packageurl.QualifiersFromMap(map[string]string{"repository_url": s.Repository, "tag": s.Version}), "").ToString()
	return cdx.Component{
		BOMRef: purl, Type: cdx.ComponentTypeContainer, Name: s.Repository, Version: s.Version, PackageURL: purl,
		Description: s.Description, Licenses: &cdx.Licenses{{License: &cdx.License{ID: s.Licenses}}},
	}
}

// read returns a binary and the modules in it, the standard library among them.
func (s Subject) read(b Binary) (cdx.Component, []cdx.Component, error) {
	info, err := buildinfo.ReadFile(b.Path)
	if err != nil {
		return cdx.Component{}, nil, err
	}
	content, err := os.ReadFile(b.Path)
	if err != nil {
		return cdx.Component{}, nil, err
	}
	sum := sha256.Sum256(content)
	main, err := s.module(&info.Main)
	if err != nil {
		return cdx.Component{}, nil, err
	}
	binary := cdx.Component{
		BOMRef: "binary:" + b.Platform, Type: cdx.ComponentTypeApplication, Name: s.Name, Version: s.Version,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		Properties: &[]cdx.Property{{Name: "platform", Value: b.Platform}, {Name: "package", Value: info.Path}},
	}
	modules := []cdx.Component{main, standardLibrary(info.GoVersion)}
	for _, dependency := range info.Deps {
		module, err := s.module(dependency)
		if err != nil {
			return cdx.Component{}, nil, err
		}
		modules = append(modules, module)
	}
	return binary, modules, nil
}

func (s Subject) module(m *debug.Module) (cdx.Component, error) {
	name, version := m.Path, m.Version
	sum := m.Sum
	if m.Replace != nil {
		sum = m.Replace.Sum
		if !strings.HasPrefix(m.Replace.Path, ".") {
			name, version = m.Replace.Path, m.Replace.Version
		}
	}
	if name == s.Ours || strings.HasPrefix(name, s.Ours+"/") {
		version = "v" + s.Version
	}
	component := library(name, version)
	if sum == "" {
		return component, nil // ours: it is the commit's
	}
	// A go.sum holds the SHA-256 of the list of a module's files, in base64.
	encoded, ok := strings.CutPrefix(sum, "h1:")
	if !ok {
		return cdx.Component{}, fmt.Errorf("checksum %q of module %s: it begins with h1: no more", sum, name)
	}
	digest, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return cdx.Component{}, fmt.Errorf("checksum %q of module %s: %w", sum, name, err)
	}
	component.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(digest)}}
	component.Properties = &[]cdx.Property{{Name: "go.sum", Value: sum}}
	return component, nil
}

// standardLibrary is in no list of modules, but has vulnerabilities like any other.
func standardLibrary(version string) cdx.Component {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "go"), " ") // experiments follow
	return library("stdlib", version)
}

func library(module, version string) cdx.Component {
	namespace, name := path.Split(module)
	purl := packageurl.NewPackageURL(packageurl.TypeGolang, strings.TrimSuffix(namespace, "/"), name, version, nil, "").ToString()
	return cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: module, Version: version, PackageURL: purl}
}
