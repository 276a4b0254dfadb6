package catalog

import (
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// Object is one of the kinds of v1alpha1.
type Object interface {
	runtime.Object
	metav1.Object
	SetDefaults()
}

// Resource is an object and where it was written.
type Resource struct {
	// Object is nil for what could not be read as any resource; others may be
	// missing then that only cannot be seen.
	Object Object
	// File is how messages name the place; an operator names kind and name.
	File string
	// places holds the line of each field that is written, by its path.
	places map[string]place
	// broken: parts of it could not be read and were reported. It counts as
	// present where others refer to it, and is not judged any further.
	broken bool
}

// place is where a value was written.
type place struct {
	line int
	// block: the value begins on the next line and keeps its line breaks (a
	// YAML literal), so that a line of the value is a line of the file.
	block bool
}

// NewObject returns an empty object of a kind, nil for a kind that is none of v1alpha1's.
func NewObject(kind string) Object {
	switch kind {
	case v1alpha1.KindConnector:
		return &v1alpha1.Connector{}
	case v1alpha1.KindFlow:
		return &v1alpha1.Flow{}
	case v1alpha1.KindStockPool:
		return &v1alpha1.StockPool{}
	case v1alpha1.KindNotificationPolicy:
		return &v1alpha1.NotificationPolicy{}
	}
	return nil
}

func kindNames() []string {
	return []string{v1alpha1.KindConnector, v1alpha1.KindFlow, v1alpha1.KindStockPool, v1alpha1.KindNotificationPolicy}
}

// kindOf returns the kind by Go type: objects that come from an API server have
// no kind written in them.
func kindOf(object Object) string {
	switch object.(type) {
	case *v1alpha1.Connector:
		return v1alpha1.KindConnector
	case *v1alpha1.Flow:
		return v1alpha1.KindFlow
	case *v1alpha1.StockPool:
		return v1alpha1.KindStockPool
	case *v1alpha1.NotificationPolicy:
		return v1alpha1.KindNotificationPolicy
	}
	return fmt.Sprintf("%T", object)
}

// line returns the line of a field, or of the nearest field around it that is
// written.
func (r *Resource) line(field string) int { return r.place(field).line }

func (r *Resource) place(field string) place {
	for {
		if found, ok := r.places[field]; ok {
			return found
		}
		end := strings.LastIndexAny(field, ".[")
		if end < 0 {
			return r.places[""]
		}
		field = field[:end]
	}
}

func at(field string, index int) string { return field + "[" + strconv.Itoa(index) + "]" }
