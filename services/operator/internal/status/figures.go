package status

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// figures writes what is counted. What nobody tells stays as it was, but for the pace and
// the time to go, which would be wrong a moment later.
func figures(next *v1alpha1.ConnectorStatus, in Input) {
	next.Limit = limitText(in.Connector.Spec.Limits)
	if in.Counts != nil {
		next.Queue = in.Counts.Queued + in.Counts.Deferred
		next.Held = in.Counts.Held
		next.Undelivered = in.Counts.Undelivered()
	}
	next.Pace, next.ETA = none, none
	if in.Told == nil {
		return
	}
	next.Owner = in.Told.GetOwner()
	if in.Told.GetPacePerMinute() > 0 {
		next.Pace = fmt.Sprintf("%.1f/min", in.Told.GetPacePerMinute())
	}
	if eta := in.Told.GetEta(); eta != nil && in.Told.GetWaiting() > 0 {
		next.ETA = Rounded(eta.AsTime().Sub(in.Now))
	}
	if len(in.Told.GetLimits()) == 0 {
		return
	}
	next.Limits, next.Largest = nil, ""
	for _, l := range in.Told.GetLimits() {
		next.Limits = append(next.Limits, limitStatus(l))
	}
	next.Largest = largestText(next.Limits[0])
}

func limitStatus(l *dispatcherv1.Limit) v1alpha1.LimitStatus {
	s := v1alpha1.LimitStatus{Name: l.GetName(), Calls: l.GetCalls(), LargestWindowCount: l.GetLargestWindowCount(), UsedByOthers: l.GetUsedByOthers()}
	if l.GetPer() != nil {
		s.Per = Span(l.GetPer().AsDuration())
	}
	if l.GetSince() != nil {
		since := metav1.NewTime(l.GetSince().AsTime().Truncate(time.Second))
		s.Since = &since
	}
	return s
}

func largestText(l v1alpha1.LimitStatus) string {
	text := fmt.Sprintf("%d of %d", l.LargestWindowCount, l.Calls)
	if l.Per != "" {
		text += " in " + l.Per
	}
	return text
}

// limitText is the first limit as it is written.
func limitText(limits []v1alpha1.Limit) string {
	if len(limits) == 0 {
		return none
	}
	text := none
	switch l := limits[0]; {
	case l.RollingWindow != nil:
		text = fmt.Sprintf("%d per %s", l.RollingWindow.Calls, Span(l.RollingWindow.Per.Duration))
	case l.Concurrency != nil:
		text = fmt.Sprintf("%d at once", l.Concurrency.Calls)
	case l.Bucket != nil:
		text = fmt.Sprintf("%d, %d per %s", l.Bucket.Capacity, max(l.Bucket.Refill.Calls, l.Bucket.Refill.Points), Span(l.Bucket.Refill.Per.Duration))
	}
	if more := len(limits) - 1; more > 0 {
		text += fmt.Sprintf(" +%d", more)
	}
	return text
}

// Rounded is a time to go, as finely as it is of use: each change of it is a write to the
// API server.
func Rounded(d time.Duration) string {
	unit := time.Second
	switch {
	case d >= time.Hour:
		unit = time.Minute
	case d >= 10*time.Minute:
		unit = 10 * time.Second
	}
	return Span(max(0, d).Round(unit))
}

// Span is a duration without the parts that are zero, such as 1m.
func Span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
