package crd

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	kyaml "sigs.k8s.io/yaml"
)

// group is that of all our resources.
const group = "peppasync.io"

// Definitions are the definitions of a release, by name.
type Definitions struct {
	definitions []*apiextensionsv1.CustomResourceDefinition
	admitters   map[schema.GroupVersionKind]*admitter
}

// Load reads the definitions that are embedded in the binary.
func Load(files fs.FS) (*Definitions, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, err
	}
	d := &Definitions{admitters: make(map[schema.GroupVersionKind]*admitter)}
	for _, name := range names {
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		definition, err := parseDefinition(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		d.definitions = append(d.definitions, definition)
		for i := range definition.Spec.Versions {
			version := &definition.Spec.Versions[i]
			kind := schema.GroupVersionKind{Group: definition.Spec.Group, Version: version.Name, Kind: definition.Spec.Names.Kind}
			if d.admitters[kind], err = newAdmitter(version); err != nil {
				return nil, fmt.Errorf("%s: version %s: %w", name, version.Name, err)
			}
		}
	}
	slices.SortFunc(d.definitions, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return cmp.Compare(a.Name, b.Name) })
	return d, nil
}

// parseDefinition fills in what an API server would, so that one that comes from a
// cluster is the same as the one that was applied to it.
func parseDefinition(content []byte) (*apiextensionsv1.CustomResourceDefinition, error) {
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := kyaml.Unmarshal(content, definition); err != nil {
		return nil, err
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(definition)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&definition.Spec)
	return definition, nil
}

func newAdmitter(version *apiextensionsv1.CustomResourceDefinitionVersion) (*admitter, error) {
	if version.Schema == nil || version.Schema.OpenAPIV3Schema == nil {
		return nil, errors.New("it has no schema")
	}
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, internal, nil); err != nil {
		return nil, err
	}
	a := &admitter{status: version.Subresources != nil && version.Subresources.Status != nil}
	var err error
	if a.schema, _, err = validation.NewSchemaValidator(internal); err != nil {
		return nil, err
	}
	if a.structure, err = structural.NewStructural(internal); err != nil {
		return nil, err
	}
	if err := defaulting.PruneDefaults(a.structure); err != nil {
		return nil, err
	}
	a.rules = cel.NewValidator(a.structure, true, celconfig.PerCallLimit)
	return a, nil
}

func index(step string) (int, error) { return strconv.Atoi(step) }
