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
	"slices"
	"strings"
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
	Kinds      []struct {
		Group   string `json:"group"`
		Version string `json:"version"`
		Kind    string `json:"kind"`
	} `json:"x-kubernetes-group-version-kind"`
	Preserve bool `json:"x-kubernetes-preserve-unknown-fields"`
}

// ReadSchema returns the schema of a version of Kubernetes, which its module has.
func ReadSchema(ctx context.Context, version string) (*Schema, error) {
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", "k8s.io/kubernetes@"+version)
	command.Dir = os.TempDir()
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("the module of Kubernetes %s: %w\n%s", version, err, out)
	}
	var module struct {
		Dir string `json:"Dir"`
	}
	if err := json.Unmarshal(out, &module); err != nil {
		return nil, fmt.Errorf("the module of Kubernetes %s: %w", version, err)
	}
	data, err := os.ReadFile(filepath.Join(module.Dir, "api", "openapi-spec", "swagger.json"))
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

// Knows reports whether it is of Kubernetes itself, and not of somebody's resources.
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
	return scalar(at, d, value)
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
