package crd

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// What applying this release's definition does to a field.
const (
	added    = "added"
	removed  = "removed"
	narrowed = "narrowed"
	widened  = "widened"
	changed  = "changed"
)

// Change is one difference.
type Change struct {
	// Field is a path such as spec.limits[].headroom; of a definition's other parts, the
	// name of the part.
	Field    string `json:"field"`
	What     string `json:"what"`
	Detail   string `json:"detail,omitempty"`
	Breaking bool   `json:"breaking"`
}

type differ struct{ changes []Change }

func (d *differ) add(field, what, detail string, breaking bool) {
	d.changes = append(d.changes, Change{Field: field, What: what, Detail: detail, Breaking: breaking})
}

func changes(theirs, ours *apiextensionsv1.CustomResourceDefinition) []Change {
	d := &differ{}
	if !reflect.DeepEqual(theirs.Spec.Names, ours.Spec.Names) {
		d.add("names", changed, "", theirs.Spec.Names.Plural != ours.Spec.Names.Plural || theirs.Spec.Names.Kind != ours.Spec.Names.Kind)
	}
	if theirs.Spec.Scope != ours.Spec.Scope {
		d.add("scope", changed, fmt.Sprintf("from %s to %s", theirs.Spec.Scope, ours.Spec.Scope), true)
	}
	before, after := versions(theirs), versions(ours)
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[name]; !ok {
			d.add("version "+name, removed, "", true)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		old, ok := before[name]
		if !ok {
			d.add("version "+name, added, "", false)
			continue
		}
		d.version(old, after[name])
	}
	if len(d.changes) == 0 {
		d.add("definition", changed, "in what no resource is judged by", false)
	}
	return d.changes
}

func versions(of *apiextensionsv1.CustomResourceDefinition) map[string]*apiextensionsv1.CustomResourceDefinitionVersion {
	byName := make(map[string]*apiextensionsv1.CustomResourceDefinitionVersion)
	for i := range of.Spec.Versions {
		byName[of.Spec.Versions[i].Name] = &of.Spec.Versions[i]
	}
	return byName
}

func (d *differ) version(before, after *apiextensionsv1.CustomResourceDefinitionVersion) {
	if before.Served && !after.Served {
		d.add("version "+after.Name, narrowed, "not served any more", true)
	}
	if !reflect.DeepEqual(before.AdditionalPrinterColumns, after.AdditionalPrinterColumns) {
		d.add("columns", changed, "what kubectl get shows", false)
	}
	if !reflect.DeepEqual(before.Subresources, after.Subresources) {
		d.add("subresources", changed, "", before.Subresources != nil && after.Subresources == nil)
	}
	if before.Schema == nil || before.Schema.OpenAPIV3Schema == nil || after.Schema == nil || after.Schema.OpenAPIV3Schema == nil {
		if !reflect.DeepEqual(before.Schema, after.Schema) {
			d.add("schema", changed, "one of both has none", true)
		}
		return
	}
	words := len(d.changes)
	d.schema("", before.Schema.OpenAPIV3Schema, after.Schema.OpenAPIV3Schema)
	if words == len(d.changes) && !reflect.DeepEqual(before.Schema, after.Schema) {
		d.add("descriptions", changed, "the words that kubectl explain shows", false)
	}
}

func (d *differ) schema(path string, before, after *apiextensionsv1.JSONSchemaProps) {
	at := path
	if at == "" {
		at = "(resource)"
	}
	if before.Type != after.Type || before.XIntOrString != after.XIntOrString || before.Format != after.Format {
		d.add(at, changed, fmt.Sprintf("from %s to %s", typeOf(before), typeOf(after)), true)
		return
	}
	d.bounds(at, before, after)
	d.enum(at, before, after)
	d.rules(at, before, after)
	if !reflect.DeepEqual(before.Default, after.Default) {
		d.add(at, changed, fmt.Sprintf("default from %s to %s", raw(before.Default), raw(after.Default)), false)
	}
	d.required(path, before, after)
	d.properties(path, before, after)
	if before.Items != nil && before.Items.Schema != nil && after.Items != nil && after.Items.Schema != nil {
		d.schema(path+"[]", before.Items.Schema, after.Items.Schema)
	}
	b, a := before.AdditionalProperties, after.AdditionalProperties
	if b != nil && b.Schema != nil && a != nil && a.Schema != nil {
		d.schema(path+"{}", b.Schema, a.Schema)
	}
}

func (d *differ) required(path string, before, after *apiextensionsv1.JSONSchemaProps) {
	for _, name := range after.Required {
		if _, known := before.Properties[name]; known && !slices.Contains(before.Required, name) {
			d.add(join(path, name), narrowed, "needed from now on", true)
		}
	}
	for _, name := range before.Required {
		if _, still := after.Properties[name]; still && !slices.Contains(after.Required, name) {
			d.add(join(path, name), widened, "not needed any more", false)
		}
	}
}

func (d *differ) properties(path string, before, after *apiextensionsv1.JSONSchemaProps) {
	for _, name := range slices.Sorted(maps.Keys(before.Properties)) {
		old, field := before.Properties[name], join(path, name)
		if next, ok := after.Properties[name]; ok {
			d.schema(field, &old, &next)
			continue
		}
		d.add(field, removed, "what a resource says of it is refused", !strings.HasPrefix(field, "status"))
	}
	for _, name := range slices.Sorted(maps.Keys(after.Properties)) {
		if _, ok := before.Properties[name]; !ok {
			needed := slices.Contains(after.Required, name) && after.Properties[name].Default == nil
			detail := ""
			if needed {
				detail = "and needed"
			}
			d.add(join(path, name), added, detail, needed && !strings.HasPrefix(path, "status"))
		}
	}
}

// bounds compares what a value may be. A bound that is new or tighter narrows.
func (d *differ) bounds(at string, before, after *apiextensionsv1.JSONSchemaProps) {
	least := func(name string, before, after *float64) { d.bound(at, name, before, after, 1) }
	most := func(name string, before, after *float64) { d.bound(at, name, before, after, -1) }
	least("minimum", before.Minimum, after.Minimum)
	most("maximum", before.Maximum, after.Maximum)
	least("minLength", number(before.MinLength), number(after.MinLength))
	most("maxLength", number(before.MaxLength), number(after.MaxLength))
	least("minItems", number(before.MinItems), number(after.MinItems))
	most("maxItems", number(before.MaxItems), number(after.MaxItems))
	least("minProperties", number(before.MinProperties), number(after.MinProperties))
	most("maxProperties", number(before.MaxProperties), number(after.MaxProperties))
	switch {
	case before.Pattern == after.Pattern:
	case after.Pattern == "":
		d.add(at, widened, "any text", false)
	default:
		d.add(at, narrowed, "pattern "+after.Pattern, true)
	}
	if !reflect.DeepEqual(before.XListType, after.XListType) || !slices.Equal(before.XListMapKeys, after.XListMapKeys) {
		d.add(at, changed, "how a list is merged", true)
	}
}

func (d *differ) bound(at, name string, before, after *float64, sign float64) {
	switch {
	case after == nil && before == nil, after != nil && before != nil && *after == *before:
	case after == nil:
		d.add(at, widened, "no "+name+" any more", false)
	case before == nil || sign*(*after-*before) > 0:
		d.add(at, narrowed, fmt.Sprintf("%s %v", name, *after), true)
	default:
		d.add(at, widened, fmt.Sprintf("%s %v", name, *after), false)
	}
}

func number(n *int64) *float64 {
	if n == nil {
		return nil
	}
	f := float64(*n)
	return &f
}

func (d *differ) enum(at string, before, after *apiextensionsv1.JSONSchemaProps) {
	old, next := make([]string, 0, len(before.Enum)), make([]string, 0, len(after.Enum))
	for _, value := range before.Enum {
		old = append(old, string(value.Raw))
	}
	for _, value := range after.Enum {
		next = append(next, string(value.Raw))
	}
	if len(old) == 0 && len(next) > 0 {
		d.add(at, narrowed, "only "+strings.Join(next, ", "), true)
		return
	}
	if len(next) == 0 && len(old) > 0 {
		d.add(at, widened, "any value", false)
		return
	}
	for _, value := range old {
		if !slices.Contains(next, value) {
			d.add(at, narrowed, "not "+value+" any more", true)
		}
	}
	for _, value := range next {
		if !slices.Contains(old, value) {
			d.add(at, widened, value+" too", false)
		}
	}
}

// rules compares what CEL asks. What a rule means is not compared: one that is written
// another way may refuse more.
func (d *differ) rules(at string, before, after *apiextensionsv1.JSONSchemaProps) {
	has := func(rules apiextensionsv1.ValidationRules, rule string) bool {
		return slices.ContainsFunc(rules, func(r apiextensionsv1.ValidationRule) bool { return r.Rule == rule })
	}
	for _, rule := range after.XValidations {
		if !has(before.XValidations, rule.Rule) {
			d.add(at, narrowed, "rule: "+rule.Message, true)
		}
	}
	for _, rule := range before.XValidations {
		if !has(after.XValidations, rule.Rule) {
			d.add(at, widened, "no rule any more: "+rule.Message, false)
		}
	}
}

func typeOf(s *apiextensionsv1.JSONSchemaProps) string {
	switch {
	case s.XIntOrString:
		return "a number or a text"
	case s.Format != "":
		return s.Type + " (" + s.Format + ")"
	}
	return s.Type
}

func raw(value *apiextensionsv1.JSON) string {
	if value == nil {
		return "none"
	}
	return string(value.Raw)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
