package catalog

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// The markers are what an API server checks; files are checked by the same.
func TestClosedListsAreThoseOfTheMarkers(t *testing.T) {
	const marker = "+kubebuilder:validation:Enum="
	paths, err := filepath.Glob(filepath.Join("..", "..", "api", "v1alpha1", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	marked := make(map[string][]string)
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			general, ok := declaration.(*ast.GenDecl)
			if !ok || general.Tok != token.TYPE || general.Doc == nil {
				continue
			}
			for _, line := range general.Doc.List {
				if _, values, ok := strings.Cut(line.Text, marker); ok {
					marked[general.Specs[0].(*ast.TypeSpec).Name.Name] = strings.Split(values, ";")
				}
			}
		}
	}
	if diff := cmp.Diff(marked, enums); diff != "" {
		t.Errorf("the lists differ (-markers +enums):\n%s", diff)
	}
}

// A field of a new type needs a reader, and a number or a time needs words for
// what is expected of it.
func TestEveryFieldCanBeReadAndExplained(t *testing.T) {
	seen := make(map[string]bool)
	var walk func(owner string, typ reflect.Type)
	walk = func(owner string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		switch {
		case typ == reflect.TypeFor[metav1.Duration](), typ == reflect.TypeFor[intstr.IntOrString](), typ.Kind() == reflect.Int32, typ.Kind() == reflect.Int64:
			if expected[owner] == "" {
				t.Errorf("%s: nothing says what is expected there", owner)
			}
		case typ.Kind() == reflect.String, typ.Kind() == reflect.Bool:
		case typ.Kind() == reflect.Struct:
			for field := range typ.Fields() {
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				if name == "" {
					t.Errorf("%s.%s has no name", typ.Name(), field.Name)
				}
				key := typ.Name() + "." + name
				if !seen[key] {
					seen[key] = true
					walk(key, field.Type)
				}
			}
		default:
			t.Errorf("%s: there is no reader for a %s", owner, typ)
		}
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[v1alpha1.ConnectorSpec](), reflect.TypeFor[v1alpha1.FlowSpec](),
		reflect.TypeFor[v1alpha1.StockPoolSpec](), reflect.TypeFor[v1alpha1.NotificationPolicySpec](),
	} {
		walk("", typ)
	}
	for key := range expected {
		if !seen[key] {
			t.Errorf("%s: there is no such field any more", key)
		}
	}
}
