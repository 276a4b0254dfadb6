package status

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// Event is what a person should know: a condition that has changed its mind.
type Event struct {
	Warning         bool
	Reason, Message string
}

// Events returns what happened between two states of the conditions. That something is
// as it should be is no event at first sight, only after it was not.
func Events(before, after []metav1.Condition) []Event {
	var events []Event
	for _, now := range after {
		then := meta.FindStatusCondition(before, now.Type)
		if then != nil && then.Status == now.Status && (then.Reason == now.Reason || !bad(now)) {
			continue
		}
		if then == nil && !bad(now) || now.Status == metav1.ConditionUnknown || then != nil && !bad(now) && then.Status == metav1.ConditionUnknown {
			continue
		}
		events = append(events, Event{Warning: bad(now) && now.Type != v1alpha1.ConditionPaused, Reason: now.Reason, Message: now.Type + ": " + now.Message})
	}
	return events
}

func bad(c metav1.Condition) bool {
	switch c.Type {
	case v1alpha1.ConditionReady, v1alpha1.ConditionReachable:
		return c.Status == metav1.ConditionFalse
	}
	return c.Status == metav1.ConditionTrue
}
