package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Schema is the OpenAPI document of one version of Kubernetes.
type Schema struct {
	Definitions map[string]*definition `json:"definitions"`

	kinds map[string]*definition
}

type definition struct {
	Type       string                 `json:"type"`
	Format     string                 `json:"format"`
	Ref        string                 `json:"$ref"`
	Properties map[string]*definition `json:"properties"`
	Additional *definition            `json:"additionalProperties"`
	Items      *definition            `json:"items"`
	Required   []string               `json:"required"`
	Enum       []any                  `json:"enum"`
	Pattern    string                 `json:"pattern"`
	Kinds      []struct {
		Group   string `json:"group"`
		Version string `json:"version"`
		Kind    string `json:"kind"`
	} `json:"x-kubernetes-group-version-kind"`
	Preserve bool `json:"x-kubernetes-preserve-unknown-fields"`
}

// ReadSchema returns the schema of a version of Kubernetes, which its module has.
func ReadSchema(ctx context.Context, version string) (*Schema, error) {
	data, err := moduleFile(ctx, "k8s.io/kubernetes@"+version, "api/openapi-spec/swagger.json")
	if err != nil {
		return nil, err
	}
	schema := &Schema{kinds: map[string]*definition{}}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(schema); err != nil {
		return nil, fmt.Errorf("schema of Kubernetes %s: %w", version, err)
	}
	for _, d := range schema.Definitions {
		for _, k := range d.Kinds {
			schema.kinds[strings.TrimPrefix(k.Group+"/"+k.Version, "/")+" "+k.Kind] = d
		}
	}
	return schema, nil
}

// ReadDefinitions returns the schemas of what the chart has of other products, out of their
// modules. None of their code is taken in.
func ReadDefinitions(ctx context.Context) (*Schema, error) {
	schema := &Schema{kinds: map[string]*definition{}}
	for module, file := range map[string]string{
		// The last of the whole module: since then only its Go types are published as one.
		"github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
		"github.com/kedacore/keda/v2@v2.21.0":                        "config/crd/bases/keda.sh_scaledobjects.yaml",
	} {
		data, err := moduleFile(ctx, module, file)
		if err != nil {
			return nil, err
		}
		var custom struct {
			Spec struct {
				Group string `json:"group"`
				Names struct {
					Kind string `json:"kind"`
				} `json:"names"`
				Versions []struct {
					Name   string `json:"name"`
					Schema struct {
						OpenAPIV3Schema *definition `json:"openAPIV3Schema"`
					} `json:"schema"`
				} `json:"versions"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal(data, &custom); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", file, module, err)
		}
		for _, version := range custom.Spec.Versions {
			// A definition leaves open what every object has.
			version.Schema.OpenAPIV3Schema.Properties["metadata"] = &definition{}
			schema.kinds[custom.Spec.Group+"/"+version.Name+" "+custom.Spec.Names.Kind] = version.Schema.OpenAPIV3Schema
		}
	}
	return schema, nil
}

// moduleFile reads a file of a module at its version.
func moduleFile(ctx context.Context, module, file string) ([]byte, error) {
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	command.Dir = os.TempDir()
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w\n%s", module, err, out)
	}
	var found struct {
		Dir string `json:"Dir"`
	}
	if err := json.Unmarshal(out, &found); err != nil {
		return nil, fmt.Errorf("module %s: %w", module, err)
	}
	return os.ReadFile(filepath.Join(found.Dir, filepath.FromSlash(file)))
}

// Knows reports whether it has the kind of a manifest.
func (s *Schema) Knows(m Manifest) bool { return s.kinds[kindOf(m)] != nil }

func kindOf(m Manifest) string { return fmt.Sprintf("%v %v", m["apiVersion"], m["kind"]) }

// Problems returns what an API server of that version would not take, or would drop.
func (s *Schema) Problems(m Manifest) []string {
	d := s.kinds[kindOf(m)]
	if d == nil {
		return []string{fmt.Sprintf("%s: there is no %s", m.Name(), kindOf(m))}
	}
	return s.check(m.Name(), d, map[string]any(m))
}

func (s *Schema) check(at string, d *definition, value any) []string {
	if strings.HasSuffix(d.Ref, ".resource.Quantity") {
		if _, number := value.(float64); number {
			return nil
		}
	}
	if d.Ref != "" {
		d = s.Definitions[strings.TrimPrefix(d.Ref, "#/definitions/")]
	}
	switch {
	case d == nil || d.Type == "" && d.Properties == nil: // anything
		return nil
	case value == nil:
		return []string{at + ": is null"}
	case d.Type == "object" || d.Properties != nil:
		return s.object(at, d, value)
	case d.Type == "array":
		list, is := value.([]any)
		if !is {
			return []string{at + ": is no list"}
		}
		var problems []string
		for i, one := range list {
			problems = append(problems, s.check(fmt.Sprintf("%s[%d]", at, i), d.Items, one)...)
		}
		return problems
	}
	return append(scalar(at, d, value), chosen(at, d, value)...)
}

// chosen judges a value by the values that there are.
func chosen(at string, d *definition, value any) []string {
	if len(d.Enum) > 0 && !slices.Contains(d.Enum, value) {
		return []string{fmt.Sprintf("%s: %v is none of %v", at, value, d.Enum)}
	}
	text, is := value.(string)
	if !is || d.Pattern == "" {
		return nil
	}
	pattern, err := regexp.Compile(d.Pattern)
	if err != nil {
		return []string{fmt.Sprintf("%s: the schema's pattern %s: %v", at, d.Pattern, err)}
	}
	if !pattern.MatchString(text) {
		return []string{fmt.Sprintf("%s: %s does not match %s", at, text, d.Pattern)}
	}
	return nil
}

func (s *Schema) object(at string, d *definition, value any) []string {
	fields, is := value.(map[string]any)
	if !is {
		return []string{at + ": is no object"}
	}
	var problems []string
	for _, name := range d.Required {
		if _, there := fields[name]; !there {
			problems = append(problems, at+": lacks "+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field := d.Properties[name]
		if field == nil {
			field = d.Additional
		}
		switch {
		case field != nil:
			problems = append(problems, s.check(at+"."+name, field, fields[name])...)
		case d.Properties != nil && !d.Preserve:
			problems = append(problems, at+": has no field "+name)
		}
	}
	return problems
}

func scalar(at string, d *definition, value any) []string {
	_, text := value.(string)
	f, number := value.(float64)
	whole := number && f == float64(int64(f))
	_, truth := value.(bool)
	fits := map[string]bool{"string": text, "integer": whole, "number": number, "boolean": truth}[d.Type]
	// A port by its name or number is a string in the schema.
	if d.Type == "string" && d.Format == "int-or-string" {
		fits = text || whole
	}
	if !fits {
		return []string{fmt.Sprintf("%s: %v is no %s", at, value, d.Type)}
	}
	return nil
}
