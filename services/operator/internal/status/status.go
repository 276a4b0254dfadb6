// Package status says what a Connector's status is, from what the roles tell. It is
// pure: values in, values out.
package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// none is what a column shows where there is nothing to say.
const none = "-"

// Settle is how long good news must hold until it is believed, and how long nobody may
// tell of a Connector until that is said: an account that is throttled twice a minute is
// throttled, and a replica that starts again is no news.
const Settle = 10 * time.Second

// Ready is what became of the resource in the catalog.
type Ready struct {
	OK              bool
	Reason, Message string
}

// Counts are what NATS holds for the Connector.
type Counts struct {
	// Queued is what lies in its lanes, Deferred what waits for its next attempt, Held
	// what is on hold.
	Queued, Deferred, Held int64
}

// Undelivered is all of it.
func (c Counts) Undelivered() int64 { return c.Queued + c.Deferred + c.Held }

// Input is what is known of a Connector at one moment.
type Input struct {
	Connector *v1alpha1.Connector
	Ready     Ready
	// Told is what the replica tells that feeds it; nil where none does.
	Told *dispatcherv1.Connector
	// Counts is nil where NATS could not be asked, and Refusals are not known then either.
	Counts *Counts
	// Refusals are what it refuses for good as a source, by operation.
	Refusals []Refusal
	// Obstacles are why it cannot go yet, where it is being deleted.
	Obstacles []string
	Now       time.Time
}

// Memory is what has to be remembered from one call to the next. It may be lost: good
// news is then late once.
type Memory struct {
	// Better holds since when a condition would be better than it says.
	Better map[string]time.Time
	// Told is what was told last, and At when: one answer that is late is no news.
	Told *dispatcherv1.Connector
	At   time.Time
}

// heard returns what is to be believed of the dispatcher now, and what to remember of it.
func (m Memory) heard(told *dispatcherv1.Connector, now time.Time) (*dispatcherv1.Connector, Memory) {
	switch {
	case told != nil:
		return told, Memory{Told: told, At: now}
	case m.Told != nil && now.Sub(m.At) < Settle:
		return m.Told, Memory{Told: m.Told, At: m.At}
	}
	return nil, Memory{}
}

// Next returns the status after old. It changes nothing that has not changed.
func Next(old *v1alpha1.ConnectorStatus, in Input, memory Memory) (v1alpha1.ConnectorStatus, Memory) {
	next := *old.DeepCopy()
	next.ObservedGeneration = in.Connector.Generation
	var remembered Memory
	in.Told, remembered = memory.heard(in.Told, in.Now)
	figures(&next, in)
	better := map[string]time.Time{}
	for _, wanted := range conditions(in) {
		wanted.ObservedGeneration = in.Connector.Generation
		before := meta.FindStatusCondition(next.Conditions, wanted.Type)
		if before != nil && !news(wanted, before) {
			since, known := memory.Better[wanted.Type]
			if !known {
				since = in.Now
			}
			if in.Now.Sub(since) < Settle {
				better[wanted.Type] = since
				continue
			}
		}
		wanted.LastTransitionTime = metav1.NewTime(in.Now.Truncate(time.Second))
		meta.SetStatusCondition(&next.Conditions, wanted)
	}
	slices.SortFunc(next.Conditions, func(a, b metav1.Condition) int { return cmp.Compare(rank(a.Type), rank(b.Type)) })
	remembered.Better = better
	return next, remembered
}

// rank keeps the conditions in the order in which people read them.
func rank(condition string) int {
	return slices.Index([]string{
		v1alpha1.ConditionReady, v1alpha1.ConditionReachable, v1alpha1.ConditionThrottled, v1alpha1.ConditionPaused,
		v1alpha1.ConditionSourceRefused, v1alpha1.ConditionDraining,
	}, condition)
}

// news reports whether a condition is to be believed at once: what does not change it, what
// a person did, and bad news. What gets better, or is not known any more, has to hold.
func news(wanted metav1.Condition, before *metav1.Condition) bool {
	if wanted.Status == before.Status && wanted.Reason == before.Reason {
		return true
	}
	switch wanted.Type {
	case v1alpha1.ConditionReachable:
		return wanted.Status == metav1.ConditionFalse || before.Status == metav1.ConditionUnknown && wanted.Status == metav1.ConditionTrue
	case v1alpha1.ConditionThrottled:
		return wanted.Status == metav1.ConditionTrue
	case v1alpha1.ConditionPaused:
		// What spec.paused says counts at once, both ways.
		return wanted.Status == metav1.ConditionTrue || before.Reason == v1alpha1.ReasonAsWritten
	case v1alpha1.ConditionSourceRefused:
		// That a refusal is over is a record, and not a call that went well once.
		return wanted.Status != metav1.ConditionUnknown
	}
	return true
}

func conditions(in Input) []metav1.Condition {
	all := []metav1.Condition{condition(v1alpha1.ConditionReady, in.Ready.OK, in.Ready.Reason, in.Ready.Message)}
	all = append(all, reachable(in), throttled(in), paused(in), sourceRefused(in))
	if in.Connector.DeletionTimestamp == nil {
		return append(all, condition(v1alpha1.ConditionDraining, false, v1alpha1.ReasonInUse, "it is not being deleted"))
	}
	message := "it goes now"
	if len(in.Obstacles) > 0 {
		message = "it was deleted, and stays until this is over: " + strings.Join(in.Obstacles, "; ")
	}
	return append(all, condition(v1alpha1.ConditionDraining, true, v1alpha1.ReasonDeleted, message))
}

func condition(name string, holds bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: name, Status: status, Reason: reason, Message: message}
}

// unknown is a condition that nobody can tell.
func unknown(name, reason, message string) metav1.Condition {
	return metav1.Condition{Type: name, Status: metav1.ConditionUnknown, Reason: reason, Message: message}
}

// uncalled is Reachable where no call tells.
func uncalled(reason, message string) metav1.Condition {
	return unknown(v1alpha1.ConditionReachable, reason, message)
}

const (
	onlySends = "it takes events in and is never called"
	untold    = "no replica of the throttle-dispatcher tells of it"
	starting  = "the throttle-dispatcher is about to take it"
)

// silent returns a condition where no replica tells of the Connector, and whether that is so.
func silent(name string, in Input) (metav1.Condition, bool) {
	switch in.Told.GetState() { //nolint:exhaustive // in all other states it is told of
	case dispatcherv1.State_STATE_ELSEWHERE, dispatcherv1.State_STATE_UNSPECIFIED:
		return unknown(name, v1alpha1.ReasonUnknown, untold), true
	case dispatcherv1.State_STATE_STARTING:
		return unknown(name, v1alpha1.ReasonStarting, starting), true
	}
	return metav1.Condition{}, false
}

func reachable(in Input) metav1.Condition {
	const name = v1alpha1.ConditionReachable
	if in.Connector.Spec.OnlySends() {
		return uncalled(v1alpha1.ReasonNotCalled, onlySends)
	}
	switch in.Told.GetState() {
	case dispatcherv1.State_STATE_DOWN:
		return condition(name, false, v1alpha1.ReasonDown, fmt.Sprintf("it does not answer%s; it is asked again and again, and what waits is kept",
			clock(" since ", in.Told.GetDownSince())))
	case dispatcherv1.State_STATE_WAITING_FOR_CREDENTIALS:
		return condition(name, false, v1alpha1.ReasonCredentials, fmt.Sprintf("there are no credentials that work: "+
			"look at the Secret that spec.auth.secretRef names (%s); what waits is kept", secretOf(in.Connector)))
	case dispatcherv1.State_STATE_RUNNING, dispatcherv1.State_STATE_THROTTLED:
		return condition(name, true, v1alpha1.ReasonAnswering, "no call says otherwise")
	case dispatcherv1.State_STATE_PAUSED, dispatcherv1.State_STATE_MAINTENANCE:
		return uncalled(v1alpha1.ReasonNotCalled, "it is not called while it is paused")
	case dispatcherv1.State_STATE_STARTING:
		return uncalled(v1alpha1.ReasonStarting, starting)
	case dispatcherv1.State_STATE_ELSEWHERE, dispatcherv1.State_STATE_UNSPECIFIED:
	}
	return uncalled(v1alpha1.ReasonUnknown, untold)
}

func secretOf(c *v1alpha1.Connector) string {
	if c.Spec.Auth == nil {
		return "none is named"
	}
	return c.Spec.Auth.SecretRef.Name
}

func throttled(in Input) metav1.Condition {
	const name = v1alpha1.ConditionThrottled
	if in.Connector.Spec.OnlySends() {
		return condition(name, false, v1alpha1.ReasonNotCalled, onlySends)
	}
	// It may have asked for one, and be down or paused by a person beside.
	if because := strings.TrimSuffix(in.Told.GetClosedBecause(), "."); because != "" || in.Told.GetState() == dispatcherv1.State_STATE_THROTTLED {
		return condition(name, true, v1alpha1.ReasonPauseAsked, cmp.Or(because, "it asked for a pause")+ends(in))
	}
	if c, is := silent(name, in); is {
		return c
	}
	return condition(name, false, v1alpha1.ReasonWithin, "it has not asked for a pause")
}

func paused(in Input) metav1.Condition {
	const name = v1alpha1.ConditionPaused
	switch {
	case in.Connector.Spec.Paused:
		return condition(name, true, v1alpha1.ReasonAsWritten, "spec.paused: everything is kept and nothing is sent")
	case in.Told.GetState() == dispatcherv1.State_STATE_MAINTENANCE:
		return condition(name, true, v1alpha1.ReasonMaintenance, "a window of spec.maintenance is near or open"+
			clock(", until ", in.Told.GetClosedUntil()))
	case in.Connector.Spec.OnlySends():
		return condition(name, false, v1alpha1.ReasonNotCalled, onlySends)
	}
	if c, is := silent(name, in); is {
		return c
	}
	return condition(name, false, v1alpha1.ReasonFeeding, "nothing says that it is not to be fed")
}

// ends says until when a long pause lasts and how it is ended; a short one is over before
// that is read.
func ends(in Input) string {
	until := in.Told.GetClosedUntil()
	if until == nil || until.AsTime().Sub(in.Told.GetAsOf().AsTime()) < longPause {
		return ""
	}
	return fmt.Sprintf("%s; \"peppasync connectors reopen %s\" ends it now", clock("; nothing is sent until ", until), in.Connector.Name)
}

// longPause is what a person may want to end.
const longPause = 2 * time.Minute

// clock is a time behind the words that lead to it; nothing where it is not known.
func clock(words string, at *timestamppb.Timestamp) string {
	if at == nil {
		return ""
	}
	return words + at.AsTime().UTC().Format("2006-01-02 15:04 MST")
}
