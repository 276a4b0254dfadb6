package cluster

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image is one static program FROM scratch: there is no registry to take a
// base from.
type Image struct {
	// Name as pods say it, with a tag that is not latest, or the kubelet would
	// try to pull it.
	Name string
	// Program is the file of the machine that becomes /program.
	Program string
	// User is a number, because there is no /etc/passwd that would know a name.
	User string
}

// Write makes an archive that Import takes.
func (i Image) Write(archive string) error {
	tag, err := name.NewTag(i.Name)
	if err != nil {
		return err
	}
	content, err := programLayer(i.Program)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS:           "linux",
		Architecture: runtime.GOARCH,
		Config:       v1.Config{Entrypoint: []string{"/program"}, User: i.User},
		RootFS:       v1.RootFS{Type: "layers", DiffIDs: diffIDs(image)},
	})
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(archive, tag, image); err != nil {
		return fmt.Errorf("write %s: %w", archive, err)
	}
	return nil
}

func diffIDs(image v1.Image) []v1.Hash {
	config, err := image.ConfigFile()
	if err != nil {
		return nil // the image is made in memory, a line before
	}
	return config.RootFS.DiffIDs
}

func programLayer(program string) ([]byte, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	if err := archive.WriteHeader(&tar.Header{Name: "program", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(data))}); err != nil {
		return nil, err
	}
	if _, err := archive.Write(data); err != nil {
		return nil, err
	}
	return layer.Bytes(), archive.Close()
}
