package image

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
)

// Reference is what an image is called: REGISTRY/PATH:VERSION.
type Reference struct{ Registry, Path, Version string }

// NewReference returns a reference that every registry takes.
func NewReference(registry, path, version string) (Reference, error) {
	r := Reference{Registry: registry, Path: path, Version: version}
	if _, err := name.NewTag(r.String(), name.StrictValidation); err != nil {
		return Reference{}, err
	}
	if registry == "" {
		return Reference{}, fmt.Errorf("%s has no registry, such as docker.io, which kubelets take where none is written", path)
	}
	return r, nil
}

// Repository returns the reference without its version. It is not the library's,
// which calls docker.io index.docker.io, a name that containerd never asks for.
func (r Reference) Repository() string { return r.Registry + "/" + r.Path }

func (r Reference) String() string { return r.Repository() + ":" + r.Version }
