package catalog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// format is the version of the document. It grows when an older program would
// misread a newer document.
const format = 1

// maxDocument is half of what one message of the bus may hold.
const maxDocument = 4 << 20

// ErrNewerFormat: the document was written by a newer release.
var ErrNewerFormat = errors.New("the catalog is of a newer format than this release reads")

// document is the catalog as it lies in the bucket.
type document struct {
	Format     int                            `json:"format"`
	Connectors []*v1alpha1.Connector          `json:"connectors,omitempty"`
	Flows      []*v1alpha1.Flow               `json:"flows,omitempty"`
	StockPools []*v1alpha1.StockPool          `json:"stockPools,omitempty"`
	Policies   []*v1alpha1.NotificationPolicy `json:"notificationPolicies,omitempty"`
}

// Encode returns the resources as one document, defaults filled in, sorted by
// name: equal configurations give equal bytes. Of the metadata it keeps name and
// namespace, since the rest changes without meaning anything to a role.
func Encode(resources []Resource) ([]byte, error) {
	d := document{Format: format}
	for i := range resources {
		if resources[i].broken || resources[i].Object == nil {
			return nil, fmt.Errorf("%s cannot be encoded: it was not read as a whole", resources[i].where())
		}
		object, ok := resources[i].Object.DeepCopyObject().(Object)
		if !ok { // every Object is made of the same type again
			continue
		}
		object.SetDefaults()
		switch o := object.(type) {
		case *v1alpha1.Connector:
			d.Connectors = append(d.Connectors, &v1alpha1.Connector{ObjectMeta: bare(o), Spec: o.Spec})
		case *v1alpha1.Flow:
			d.Flows = append(d.Flows, &v1alpha1.Flow{ObjectMeta: bare(o), Spec: o.Spec})
		case *v1alpha1.StockPool:
			d.StockPools = append(d.StockPools, &v1alpha1.StockPool{ObjectMeta: bare(o), Spec: o.Spec})
		case *v1alpha1.NotificationPolicy:
			d.Policies = append(d.Policies, &v1alpha1.NotificationPolicy{ObjectMeta: bare(o), Spec: o.Spec})
		default:
			return nil, fmt.Errorf("a %T has no place in the catalog", object)
		}
	}
	sortByName(d.Connectors)
	sortByName(d.Flows)
	sortByName(d.StockPools)
	sortByName(d.Policies)
	data, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode the catalog: %w", err)
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("the catalog is %d bytes, expected at most %d: shorten mappings, or run a second installation for a part of the connectors",
			len(data), maxDocument)
	}
	return data, nil
}

// Decode reads a document. It is strict: a role that does not know a field, such
// as a new kind of limit, must not act as if it were not there. The error is
// ErrNewerFormat for a newer release's document.
func Decode(data []byte) ([]Resource, error) {
	found, err := formatOf(data)
	switch {
	case err != nil:
		return nil, err
	case found > format:
		return nil, fmt.Errorf("%w: it is %d, this release reads up to %d: upgrade this process", ErrNewerFormat, found, format)
	case found < 1:
		return nil, fmt.Errorf("the catalog has format %d, expected 1 to %d", found, format)
	}
	var d document
	strict, err := kjson.UnmarshalStrict(data, &d)
	if err = errors.Join(append(strict, err)...); err != nil {
		return nil, fmt.Errorf("the catalog cannot be read: %w", err)
	}
	var resources []Resource
	resources = appendResources(resources, d.Connectors)
	resources = appendResources(resources, d.Flows)
	resources = appendResources(resources, d.StockPools)
	resources = appendResources(resources, d.Policies)
	for _, r := range resources {
		if r.Object == nil {
			return nil, errors.New("the catalog cannot be read: found null in a list, expected a resource")
		}
	}
	return resources, nil
}

// formatOf reads the format alone, whatever else the document holds.
func formatOf(data []byte) (int, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &head); err != nil {
		return 0, fmt.Errorf("the catalog cannot be read: %w", err)
	}
	return head.Format, nil
}

func appendResources[T interface {
	comparable
	Object
}](resources []Resource, objects []T) []Resource {
	var null T
	for _, object := range objects {
		r := Resource{}
		if object != null {
			r = Resource{Object: object, File: kindOf(object) + "/" + object.GetName()}
		}
		resources = append(resources, r)
	}
	return resources
}

func bare(object Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: object.GetName(), Namespace: object.GetNamespace()}
}

func sortByName[T Object](objects []T) {
	slices.SortFunc(objects, func(a, b T) int { return cmp.Compare(a.GetName(), b.GetName()) })
}
