package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
)

// LoadConfig reads a configuration from a YAML or JSON file. A field that is not known is an error.
func LoadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	cfg, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return cfg, nil
}

// ParseConfig reads a configuration in YAML or JSON. It goes through JSON, so that one set of names holds for both.
func ParseConfig(data []byte) (Config, error) {
	var document any
	if err := yaml.Unmarshal(data, &document); err != nil {
		return Config{}, err
	}
	if document == nil {
		return Config{}, nil
	}
	encoded, err := json.Marshal(document)
	if err != nil {
		return Config{}, fmt.Errorf("keys must be texts: %w", err)
	}
	var cfg Config
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&cfg); err != nil {
		return Config{}, err
	}
	return cfg, nil
}
