package v1alpha1_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// kubectl and the API server read YAML 1.1, in which these words are true and false
// unless they are in quotes, as keys too: a field "on" arrives as "true".
var booleans = []string{"y", "n", "yes", "no", "on", "off", "true", "false"}

func TestNoFieldIsABooleanInYAML(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(of reflect.Type, path string)
	walk = func(of reflect.Type, path string) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(of.Elem(), path)
		case reflect.Struct:
			if seen[of] {
				return
			}
			seen[of] = true
			for field := range of.Fields() {
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				if slices.Contains(booleans, strings.ToLower(name)) {
					t.Errorf("%s.%s is read as a boolean by kubectl: choose another name", path, name)
				}
				walk(field.Type, path+"."+name)
			}
		}
	}
	for _, object := range []any{v1alpha1.Connector{}, v1alpha1.Flow{}, v1alpha1.StockPool{}, v1alpha1.NotificationPolicy{}} {
		of := reflect.TypeOf(object)
		walk(of, of.Name())
	}
	if len(seen) < 20 {
		t.Errorf("only %d structs were looked at", len(seen))
	}
}
