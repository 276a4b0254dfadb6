// Package chart checks the Helm chart from outside: it renders it with helm itself, and
// judges what comes out by the schemas of Kubernetes, by Pod Security's own rules, and by
// the programs that it starts.
package chart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"k8s.io/apimachinery/pkg/util/yaml"
)

// Manifest is one rendered object.
type Manifest map[string]any

// Kind returns what it is.
func (m Manifest) Kind() string { kind, _ := m["kind"].(string); return kind }

// Name returns kind and name, for messages.
func (m Manifest) Name() string {
	metadata, _ := m["metadata"].(map[string]any)
	return fmt.Sprintf("%s/%v", m.Kind(), metadata["name"])
}

// Helm runs helm and returns what it prints.
func Helm(ctx context.Context, helm string, arguments ...string) ([]byte, error) {
	var out, problem bytes.Buffer
	command := exec.CommandContext(ctx, helm, arguments...)
	command.Stdout, command.Stderr = &out, &problem
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("helm %v: %w\n%s%s", arguments, err, out.String(), problem.String())
	}
	return out.Bytes(), nil
}

// Render returns every object of the chart, its hooks too, as it is with further flags of
// helm template.
func Render(ctx context.Context, helm, chart string, flags ...string) ([]Manifest, error) {
	return RenderAs(ctx, helm, chart, "peppasync", "shop", flags...)
}

// RenderAs is Render as another release in another namespace.
func RenderAs(ctx context.Context, helm, chart, release, namespace string, flags ...string) ([]Manifest, error) {
	out, err := Helm(ctx, helm, append([]string{"template", release, chart, "--namespace", namespace}, flags...)...)
	if err != nil {
		return nil, err
	}
	var all []Manifest
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(out), 4096); ; {
		var one Manifest
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("what helm rendered is no YAML: %w", err)
		}
		if len(one) > 0 {
			all = append(all, one)
		}
	}
}
