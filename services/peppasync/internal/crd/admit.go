package crd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"github.com/peppasync/peppasync/services/internal/catalog"
)

// admitter judges the objects of one kind as the API server does.
type admitter struct {
	structure *structural.Structural
	schema    validation.SchemaValidator
	rules     *cel.Validator
	// status: it is another's to write, and what a manifest says of it is dropped.
	status bool
}

// admit judges a new object. The order is the API server's: drop and report what is
// unknown (kubectl asks for that), fill in defaults, then metadata, schema, lists, and
// the rules only where what they would look at is there.
func (a *admitter) admit(ctx context.Context, d document) []catalog.Problem {
	object, problems := a.filled(d)
	errs := metavalidation.ValidateObjectMetaAccessor(object, true, metavalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	errs = append(errs, validation.ValidateCustomResource(nil, object.Object, a.schema)...)
	errs = append(errs, objectmeta.Validate(ctx, nil, object.Object, a.structure, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, a.structure, object.Object)...)
	if !slices.ContainsFunc(errs, blocks) {
		broken, _ := a.rules.Validate(ctx, nil, a.structure, object.Object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, broken...)
	}
	for _, err := range errs {
		name := strings.TrimPrefix(err.Field, "<nil>")
		problems = append(problems, catalog.Problem{File: d.file, Line: d.line(name), Field: name, Message: words(err)})
	}
	return problems
}

// filled returns the object as it would be kept, and what is unknown in the one that was sent.
func (a *admitter) filled(d document) (*unstructured.Unstructured, []catalog.Problem) {
	object := (&unstructured.Unstructured{Object: d.value}).DeepCopy()
	if a.status {
		delete(object.Object, "status")
	}
	if object.GetNamespace() == "" {
		object.SetNamespace("default") // whoever applies it says which
	}
	var problems []catalog.Problem
	unknown := pruning.PruneWithOptions(object.Object, a.structure, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	slices.Sort(unknown)
	for _, path := range unknown {
		problems = append(problems, catalog.Problem{
			File: d.file, Line: d.line(path), Field: path, Message: "there is no such field: correct its name, or take it out",
		})
	}
	// A label that is a boolean to kubectl, and the like.
	if _, _, _, err := objectmeta.GetObjectMetaWithOptions(object.Object, objectmeta.ObjectMetaOptions{}); err != nil {
		problems = append(problems, catalog.Problem{File: d.file, Line: d.line("metadata"), Field: "metadata", Message: fmt.Sprintf(
			"%v; words such as on and yes are booleans unless they are in quotes", err)})
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(object.Object, a.structure)
	defaulting.Default(object.Object, a.structure)
	return object, problems
}

// blocks reports whether rules are not asked any more: they would fail by what is
// missing.
func blocks(err *field.Error) bool {
	switch err.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	default:
		return false
	}
}

// words says what is wrong without the value: a secret may have been pasted there.
func words(err *field.Error) string {
	detail := err.Detail
	if _, rest, ok := strings.Cut(detail, err.Field+" in body "); ok && err.Field != "" {
		detail = rest
	}
	switch {
	case err.Type == field.ErrorTypeRequired && detail == "":
		return "is missing, it is needed"
	case err.Type == field.ErrorTypeDuplicate:
		return "is written twice, expected it once"
	case err.Type == field.ErrorTypeTypeInvalid:
		// Such as: must be of type integer: "string", where the last is what was found.
		wanted, found, ok := strings.Cut(detail, ": ")
		if ok {
			return fmt.Sprintf("%s, found %s", wanted, strings.Trim(found, `"`))
		}
	case detail == "":
		return err.Type.String()
	}
	return detail
}

// kinds lists the kinds that are known, for those who misspell one.
func (d *Definitions) kinds() string {
	names := make([]string, 0, len(d.admitters))
	for kind := range maps.Keys(d.admitters) {
		names = append(names, kind.Kind)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
