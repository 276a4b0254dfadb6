// Package image makes an image of one binary, and nothing else in it, and writes
// images as an archive that is an OCI layout.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is who the binary runs as. Kubernetes checks runAsNonRoot by the number; a
// name could be root's.
const user = "65532:65532"

// Options is what an image says about itself.
type Options struct {
	// Name is that of the binary, which is at /bin/NAME.
	Name     string
	Platform v1.Platform
	// Created is the time of the source, not of the build, which would make each
	// build another image.
	Created time.Time
	// Labels are in the configuration, where docker inspect shows them, and in the
	// manifest, where registries do.
	Labels map[string]string
}

// New makes an image of the binary at path.
func New(path string, o Options) (v1.Image, error) {
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	content, err := rootfs(o.Name, binary)
	if err != nil {
		return nil, fmt.Errorf("layer of %s: %w", o.Name, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("layer of %s: %w", o.Name, err)
	}
	created := v1.Time{Time: o.Created.UTC()}
	img, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), &v1.ConfigFile{
		OS: o.Platform.OS, Architecture: o.Platform.Architecture, Variant: o.Platform.Variant,
		Created: created,
		RootFS:  v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User: user, WorkingDir: "/", Labels: o.Labels,
			Entrypoint: []string{"/bin/" + o.Name},
			Env:        []string{"PATH=/bin"}, // so that kubectl exec finds it by its name
		},
	})
	if err != nil {
		return nil, err
	}
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{
		Layer: layer, MediaType: types.OCILayer,
		History: v1.History{Created: created, CreatedBy: "COPY " + o.Name + " /bin/" + o.Name},
	})
	if err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(img, o.Labels).(v1.Image)
	if !ok {
		return nil, fmt.Errorf("an annotated image is no image any more: %T", img)
	}
	return annotated, nil
}

// rootfs returns the one layer. Its times are 1970 and not those of the commit:
// then a release that leaves a binary as it was moves no layer.
func rootfs(name string, binary []byte) ([]byte, error) {
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	epoch := time.Unix(0, 0)
	entries := []struct {
		header tar.Header
		body   []byte
	}{
		{header: tar.Header{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o755, ModTime: epoch}},
		{header: tar.Header{Typeflag: tar.TypeReg, Name: "bin/" + name, Mode: 0o555, ModTime: epoch, Size: int64(len(binary))}, body: binary},
	}
	for _, entry := range entries {
		if err := w.WriteHeader(&entry.header); err != nil {
			return nil, err
		}
		if _, err := w.Write(entry.body); err != nil {
			return nil, err
		}
	}
	return content.Bytes(), w.Close()
}
