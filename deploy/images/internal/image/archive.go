package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Archive is one reference with its images, one a platform.
type Archive struct {
	// Tag names it with the registry, as a kubelet asks for it.
	Tag    Reference
	Images []v1.Image
	// Labels are said of the reference as of each image.
	Labels map[string]string
}

// WriteFile writes the archive and returns the digest that the reference has. The
// file is there whole or not at all.
func (a Archive) WriteFile(path string) (v1.Hash, error) {
	folder, err := os.MkdirTemp(filepath.Dir(path), ".layout-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { _ = os.RemoveAll(folder) }() // what stays is a hidden folder beside the archive
	digest, err := a.writeLayout(folder)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("OCI layout of %s: %w", a.Tag, err)
	}
	if err := pack(folder, path); err != nil {
		return v1.Hash{}, fmt.Errorf("archive of %s: %w", a.Tag, err)
	}
	return digest, nil
}

// writeLayout writes an OCI layout whose index has one entry, named for containerd
// (with the registry, as a kubelet asks for it) and for those who read only the
// specification.
func (a Archive) writeLayout(folder string) (v1.Hash, error) {
	entry, err := addendum(a.Images[0])
	if err != nil {
		return v1.Hash{}, err
	}
	if len(a.Images) > 1 {
		index, err := a.index()
		if err != nil {
			return v1.Hash{}, err
		}
		entry = mutate.IndexAddendum{Add: index}
	}
	entry.Annotations = map[string]string{
		"io.containerd.image.name":          a.Tag.String(),
		"org.opencontainers.image.ref.name": a.Tag.Version,
	}
	top := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), entry)
	if _, err := layout.Write(folder, top); err != nil {
		return v1.Hash{}, err
	}
	if len(a.Images) == 1 {
		if err := a.writeDockerManifest(folder); err != nil {
			return v1.Hash{}, err
		}
	}
	return entry.Add.Digest()
}

func (a Archive) index() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range a.Images {
		entry, err := addendum(image)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, entry)
	}
	annotated, ok := mutate.Annotations(index, a.Labels).(v1.ImageIndex)
	if !ok {
		return nil, fmt.Errorf("an annotated index is no index any more: %T", index)
	}
	return annotated, nil
}

// plain is an image whose entry in an index claims no artifact type: the library
// gives it that of its configuration, and an image is no artifact.
type plain struct{ v1.Image }

// ArtifactType returns none.
func (plain) ArtifactType() (string, error) { return "", nil }

// addendum is an image's entry in an index, with the platform by which it is chosen.
func addendum(image v1.Image) (mutate.IndexAddendum, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return mutate.IndexAddendum{}, err
	}
	return mutate.IndexAddendum{Add: plain{image}, Descriptor: v1.Descriptor{Platform: config.Platform()}}, nil
}

// writeDockerManifest makes the layout a docker-archive as well, for those that know
// only that. It has no word for platforms: with more than one it would name whichever
// comes last, so then there is none.
func (a Archive) writeDockerManifest(folder string) error {
	config, err := a.Images[0].ConfigName()
	if err != nil {
		return err
	}
	layers, err := a.Images[0].Layers()
	if err != nil {
		return err
	}
	described := tarball.Descriptor{Config: blob(config), RepoTags: []string{a.Tag.String()}}
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return err
		}
		described.Layers = append(described.Layers, blob(digest))
	}
	content, err := json.Marshal(tarball.Manifest{described})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "manifest.json"), content, 0o600)
}

func blob(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }

// pack writes the files of a folder as a tar, in the order of their names and with
// nothing in it of when, where and by whom.
func pack(folder, path string) (err error) {
	next, err := os.CreateTemp(filepath.Dir(path), ".archive-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = next.Close()
			_ = os.Remove(next.Name())
		}
	}()
	w := tar.NewWriter(next)
	if err := writeTree(w, folder); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := next.Chmod(0o644); err != nil {
		return err
	}
	if err := next.Close(); err != nil {
		return err
	}
	return os.Rename(next.Name(), path)
}

func writeTree(w *tar.Writer, folder string) error {
	files := os.DirFS(folder)
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if entry.IsDir() {
			header.Typeflag, header.Name, header.Mode = tar.TypeDir, name+"/", 0o755
			return w.WriteHeader(header)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		header.Size = info.Size()
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		file, err := files.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, file)
		return errors.Join(err, file.Close())
	})
}
