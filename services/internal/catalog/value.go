package catalog

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// value reads a node into a Go value. hint is what is expected there, in words;
// empty means what the type says.
func (d *decoder) value(node *yaml.Node, path string, into reflect.Value, hint string) {
	alias := node
	node, ok := d.resolve(node, path)
	if !ok {
		return
	}
	if alias != node {
		d.open = append(d.open, node)
		defer func() { d.open = d.open[:len(d.open)-1] }()
	}
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return
	}
	switch into.Interface().(type) {
	case metav1.Duration:
		d.duration(node, path, into, hint)
		return
	case intstr.IntOrString:
		d.intOrString(node, path, into, hint)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.value(node, path, into.Elem(), hint)
	case reflect.Struct:
		d.structure(node, path, into)
	case reflect.Slice:
		d.list(node, path, into, hint)
	case reflect.Map:
		d.texts(node, path, into)
	case reflect.String:
		d.text(node, path, into, hint)
	case reflect.Bool:
		d.boolean(node, path, into)
	case reflect.Int32, reflect.Int64:
		d.integer(node, path, into, hint)
	default:
		// A new kind of field in the API needs a reader here; a test loads every
		// field that there is.
		d.reportf(node, path, "fields of type %s cannot be read", into.Type())
	}
}

type structField struct {
	name     string
	value    reflect.Value
	required bool
	hint     string
}

// fieldsOf returns the fields of a struct as JSON names them.
func fieldsOf(v reflect.Value) []structField {
	fields := make([]structField, 0, v.NumField())
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		fields = append(fields, structField{
			name: name, value: v.Field(i), required: options == "",
			hint: expected[v.Type().Name()+"."+name],
		})
	}
	return fields
}

func jsonNames(t reflect.Type) []string {
	names := make([]string, 0, t.NumField())
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func (d *decoder) structure(node *yaml.Node, path string, into reflect.Value) {
	fields := fieldsOf(into)
	known, required := make([]string, len(fields)), make(map[string]string)
	for i, field := range fields {
		known[i] = field.name
		if field.required {
			required[field.name] = phrase(field.value.Type(), field.hint)
		}
	}
	if node.Kind != yaml.MappingNode {
		found := describe(node)
		if node.Kind == yaml.ScalarNode {
			found = "a single value"
		}
		d.reportf(node, path, "found %s, expected a map with %s", found, strings.Join(known, ", "))
		return
	}
	d.mapping(node, path, func(name string, value *yaml.Node) bool {
		i := slices.IndexFunc(fields, func(f structField) bool { return f.name == name })
		if i < 0 {
			return false
		}
		d.value(value, join(path, name), fields[i].value, fields[i].hint)
		return true
	}, known, required)
}

func (d *decoder) list(node *yaml.Node, path string, into reflect.Value, hint string) {
	if node.Kind != yaml.SequenceNode {
		if hint != "" {
			hint = "[" + hint + "]"
		}
		d.reportf(node, path, "found %s, expected a list%s", describe(node), suchAs(hint))
		return
	}
	list := reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content))
	for i, element := range node.Content {
		if d.full() {
			return
		}
		field := at(path, i)
		d.places[field] = place{line: element.Line}
		if element.Kind == yaml.ScalarNode && element.Tag == "!!null" {
			d.reportf(element, field, "found nothing, expected a value")
			continue
		}
		d.value(element, field, list.Index(i), hint)
	}
	into.Set(list)
}

// texts reads a map from text to text: labels and annotations.
func (d *decoder) texts(node *yaml.Node, path string, into reflect.Value) {
	if node.Kind != yaml.MappingNode {
		d.reportf(node, path, "found %s, expected a map from text to text", describe(node))
		return
	}
	texts := make(map[string]string, len(node.Content)/2)
	d.mapping(node, path, func(name string, value *yaml.Node) bool {
		var text string
		d.value(value, join(path, name), reflect.ValueOf(&text).Elem(), "")
		texts[name] = text
		return true
	}, nil, nil)
	into.Set(reflect.ValueOf(texts))
}

func (d *decoder) text(node *yaml.Node, path string, into reflect.Value, hint string) {
	allowed := enums[into.Type().Name()]
	switch {
	case len(allowed) > 0 && (node.Kind != yaml.ScalarNode || !slices.Contains(allowed, node.Value)):
		near := ""
		if candidate := nearest(node.Value, allowed); candidate != "" && node.Kind == yaml.ScalarNode {
			near = "; did you mean " + candidate + "?"
		}
		d.reportf(node, path, "found %s, expected %s%s", describe(node), choices(allowed), near)
	case node.Kind != yaml.ScalarNode:
		d.reportf(node, path, "found %s, expected text%s", describe(node), suchAs(hint))
	case node.Tag != "!!str" && strings.HasSuffix(path, secretRefName):
		// Not repeated: it may be the secret itself.
		d.reportf(node, path, "found what is no text, expected the name of a secret%s: put it in quotes", suchAs(hint))
	case node.Tag != "!!str":
		d.reportf(node, path, "found %s, which is no text, expected text%s: put it in quotes", describe(node), suchAs(hint))
	default:
		into.SetString(node.Value)
	}
}

// secretRefName ends the path of every field that names a secret.
const secretRefName = "secretRef.name"

func (d *decoder) boolean(node *yaml.Node, path string, into reflect.Value) {
	if node.Kind != yaml.ScalarNode || node.Tag != "!!bool" {
		d.reportf(node, path, "found %s, expected true or false", describe(node))
		return
	}
	into.SetBool(strings.EqualFold(node.Value, "true"))
}

func (d *decoder) integer(node *yaml.Node, path string, into reflect.Value, hint string) {
	number, err := strconv.ParseInt(node.Value, 10, 64)
	if node.Kind != yaml.ScalarNode || node.Tag != "!!int" || err != nil || into.OverflowInt(number) || !plain(node.Value) {
		if hint == "" {
			hint = "a whole number"
		}
		d.reportf(node, path, "found %s, expected %s", describe(node), hint)
		return
	}
	into.SetInt(number)
}

// plain refuses 017, which is fifteen to some readers of YAML.
func plain(digits string) bool {
	digits = strings.TrimPrefix(digits, "-")
	return digits == "0" || (digits != "" && digits[0] >= '1' && digits[0] <= '9')
}

func (d *decoder) duration(node *yaml.Node, path string, into reflect.Value, hint string) {
	parsed, err := time.ParseDuration(node.Value)
	if node.Kind != yaml.ScalarNode || err != nil || (node.Tag != "!!str" && node.Value != "0") {
		if hint == "" {
			hint = "a time with its unit, such as 30s"
		}
		d.reportf(node, path, "found %s, expected %s", describe(node), hint)
		return
	}
	into.Set(reflect.ValueOf(metav1.Duration{Duration: parsed}))
}

func (d *decoder) intOrString(node *yaml.Node, path string, into reflect.Value, hint string) {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!int" {
		if number, err := strconv.ParseInt(node.Value, 10, 32); err == nil && plain(node.Value) {
			into.Set(reflect.ValueOf(intstr.FromInt32(int32(number))))
			return
		}
	}
	if node.Kind != yaml.ScalarNode || node.Tag != "!!str" {
		d.reportf(node, path, "found %s, expected %s", describe(node), hint)
		return
	}
	into.Set(reflect.ValueOf(intstr.FromString(node.Value)))
}

// phrase says in words what a field of this type holds.
func phrase(t reflect.Type, hint string) string {
	if allowed := enums[t.Name()]; len(allowed) > 0 {
		return choices(allowed)
	}
	switch {
	case t == reflect.TypeFor[metav1.Duration](), t.Kind() == reflect.Int32, t.Kind() == reflect.Int64:
		return hint
	case t.Kind() == reflect.Struct:
		return "a map with " + strings.Join(jsonNames(t), ", ")
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return "a list of maps with " + strings.Join(jsonNames(t.Elem()), ", ")
	case t.Kind() == reflect.Slice:
		return "a list of " + phrase(t.Elem(), hint)
	}
	return "text" + suchAs(hint)
}

func suchAs(hint string) string {
	if hint == "" {
		return ""
	}
	return ", such as " + hint
}
