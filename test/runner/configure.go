package runner

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Overrides change a manifest before it is written: for each resource name the
// values to set, by path below spec, such as "endpoint".
type Overrides map[string]map[string]any

// WriteManifests copies the YAML files of from into folder to with the
// overrides made. Each name in overrides must exist.
func WriteManifests(from, to string, overrides Overrides) error {
	files, err := filepath.Glob(filepath.Join(from, "*.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no manifests in %s", from)
	}
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	left := maps.Clone(overrides)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var resource map[string]any
		if err := yaml.Unmarshal(data, &resource); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		name := nameOf(resource)
		if values, ok := overrides[name]; ok {
			spec, isMap := resource["spec"].(map[string]any)
			if !isMap {
				return fmt.Errorf("%s: no spec to change", file)
			}
			maps.Copy(spec, values)
			delete(left, name)
			if data, err = yaml.Marshal(resource); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), data, 0o600); err != nil {
			return err
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("no manifest in %s is named %v", from, slices.Sorted(maps.Keys(left)))
	}
	return nil
}

func nameOf(resource map[string]any) string {
	metadata, _ := resource["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return name
}

// WriteSecrets writes one folder for each secret and one file for each key.
func WriteSecrets(folder string, secrets map[string]map[string]string) error {
	for name, keys := range secrets {
		if err := os.MkdirAll(filepath.Join(folder, name), 0o700); err != nil {
			return err
		}
		for key, value := range keys {
			if err := os.WriteFile(filepath.Join(folder, name, key), []byte(value), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}
