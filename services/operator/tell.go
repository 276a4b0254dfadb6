package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/operator/internal/status"
)

// tellOthers writes the status of what is no Connector.
func (o *operator) tellOthers(ctx context.Context, objects []object) error {
	var failed error
	for _, object := range objects {
		ready, known := o.verdicts.of(resource(kindOf(object), object).File, object, time.Now())
		if !known {
			continue
		}
		if err := o.tellOne(ctx, object, ready); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func (o *operator) tellOne(ctx context.Context, object object, ready status.Ready) error {
	base, ok := object.DeepCopyObject().(client.Object)
	current := statusOf(object)
	if !ok || current == nil {
		return nil
	}
	before := current.DeepCopy()
	holds := metav1.ConditionFalse
	if ready.OK {
		holds = metav1.ConditionTrue
	}
	current.ObservedGeneration = object.GetGeneration()
	meta.SetStatusCondition(&current.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: holds, Reason: ready.Reason, Message: ready.Message, ObservedGeneration: object.GetGeneration(),
		LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second)),
	})
	if equality.Semantic.DeepEqual(before, current) {
		return nil
	}
	if err := client.IgnoreNotFound(o.client.Status().Patch(ctx, object, client.MergeFrom(base))); err != nil {
		return fmt.Errorf("write the status of %s: %w", resource(kindOf(object), object).File, err)
	}
	o.happened(object, before.Conditions, current.Conditions)
	return nil
}

func statusOf(object object) *v1alpha1.Status {
	switch o := object.(type) {
	case *v1alpha1.Flow:
		return &o.Status
	case *v1alpha1.StockPool:
		return &o.Status
	case *v1alpha1.NotificationPolicy:
		return &o.Status
	}
	return nil
}

// happened writes an event for what a person should know.
func (o *operator) happened(about client.Object, before, after []metav1.Condition) {
	for _, event := range status.Events(before, after) {
		kind := corev1.EventTypeNormal
		if event.Warning {
			kind = corev1.EventTypeWarning
		}
		o.events.Eventf(about, nil, kind, event.Reason, "Observe", "%s", shortened(event.Message))
	}
}

// shortened keeps the bound that the API server has for the text of an event.
func shortened(text string) string {
	const longest = 1000
	if len(text) <= longest {
		return text
	}
	return text[:longest] + "..."
}
