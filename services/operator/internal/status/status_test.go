package status

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

var start = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

func erp() *v1alpha1.Connector {
	c := &v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{
		System: v1alpha1.SystemNetSuite, Endpoint: "https://erp.example.com",
		Limits: []v1alpha1.Limit{{Name: "per-minute", RollingWindow: &v1alpha1.RollingWindow{Calls: 100, Per: metav1.Duration{Duration: time.Minute}}}},
	}}
	c.Name, c.Generation = "erp", 3
	return c
}

func TestFigures(t *testing.T) {
	t.Parallel()
	told := &dispatcherv1.Connector{
		State: dispatcherv1.State_STATE_RUNNING, Owner: "dispatcher-0", PacePerMinute: 98.97, Waiting: 990,
		Eta: timestamppb.New(start.Add(9*time.Minute + 50*time.Second + 400*time.Millisecond)),
		Limits: []*dispatcherv1.Limit{{
			Name: "per-minute", Calls: 100, Per: durationpb.New(time.Minute), LargestWindowCount: 100, Since: timestamppb.New(start.Add(-time.Hour)),
		}},
	}
	got, _ := Next(&v1alpha1.ConnectorStatus{}, Input{
		Connector: erp(), Ready: Ready{OK: true, Reason: "Compiled"}, Told: told, Counts: &Counts{Queued: 990, Deferred: 2, Held: 1}, Now: start,
	}, Memory{})
	since := metav1.NewTime(start.Add(-time.Hour))
	want := v1alpha1.ConnectorStatus{
		ObservedGeneration: 3, Limit: "100 per 1m", Pace: "99.0/min", Queue: 992, Held: 1, Undelivered: 993, ETA: "9m50s", Owner: "dispatcher-0",
		Largest: "100 of 100 in 1m",
		Limits:  []v1alpha1.LimitStatus{{Name: "per-minute", Calls: 100, Per: "1m", LargestWindowCount: 100, Since: &since}},
	}
	got.Conditions = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

// A figure that was 0 is 0 and not absent, and one that nobody can tell stays.
func TestFiguresThatNobodyTells(t *testing.T) {
	t.Parallel()
	old := v1alpha1.ConnectorStatus{Queue: 7, Held: 1, Undelivered: 8, Pace: "99.0/min", ETA: "5m", Owner: "dispatcher-0"}
	got, _ := Next(&old, Input{Connector: erp(), Now: start}, Memory{})
	if got.Queue != 7 || got.Undelivered != 8 || got.Pace != "-" || got.ETA != "-" || got.Owner != "dispatcher-0" {
		t.Errorf("got %+v", got)
	}
}

// state draws what a dispatcher may tell.
func state(t *rapid.T) *dispatcherv1.Connector {
	if rapid.IntRange(0, 4).Draw(t, "told") == 0 {
		return nil
	}
	return &dispatcherv1.Connector{State: dispatcherv1.State(rapid.IntRange(0, 8).Draw(t, "state"))}
}

// However the dispatcher wavers, no condition changes its status more than three times
// (not known, good, bad) within the time that good news has to hold, bad news is told at once, and the same input twice
// changes nothing.
func TestConditionsDoNotFlap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var current v1alpha1.ConnectorStatus
		var memory Memory
		changes := map[string][]time.Time{}
		now := start
		for range rapid.IntRange(1, 80).Draw(t, "looks") {
			now = now.Add(time.Second)
			in := Input{Connector: erp(), Ready: Ready{OK: true, Reason: "Compiled"}, Told: state(t), Counts: &Counts{}, Now: now}
			next, after := Next(&current, in, memory)
			again, _ := Next(&next, in, after)
			if diff := cmp.Diff(next, again); diff != "" {
				t.Fatalf("the same again changes (-first +second):\n%s", diff)
			}
			for _, c := range next.Conditions {
				if before := meta.FindStatusCondition(current.Conditions, c.Type); before != nil && before.Status != c.Status {
					changes[c.Type] = append(changes[c.Type], now)
				}
			}
			if in.Told.GetState() == dispatcherv1.State_STATE_DOWN && !meta.IsStatusConditionFalse(next.Conditions, v1alpha1.ConditionReachable) {
				t.Fatal("it is down, and Reachable does not say so")
			}
			if in.Told.GetState() == dispatcherv1.State_STATE_MAINTENANCE && !meta.IsStatusConditionTrue(next.Conditions, v1alpha1.ConditionPaused) {
				t.Fatal("a window is open, and Paused does not say so")
			}
			if in.Told.GetState() == dispatcherv1.State_STATE_THROTTLED && !meta.IsStatusConditionTrue(next.Conditions, v1alpha1.ConditionThrottled) {
				t.Fatal("it is throttled, and Throttled does not say so")
			}
			current, memory = next, after
		}
		for _, name := range []string{v1alpha1.ConditionReachable, v1alpha1.ConditionThrottled, v1alpha1.ConditionPaused} {
			for i := 3; i < len(changes[name]); i++ {
				if changes[name][i].Sub(changes[name][i-3]) < Settle {
					t.Fatalf("%s changed four times from %v to %v", name, changes[name][i-3], changes[name][i])
				}
			}
		}
	})
}

// A replica that is slow to answer once is no news; one that is away is, and then nobody
// says that the Connector is fed, or within its limits.
func TestNobodyTells(t *testing.T) {
	t.Parallel()
	told := &dispatcherv1.Connector{State: dispatcherv1.State_STATE_MAINTENANCE, PacePerMinute: 99, Owner: "dispatcher-0"}
	in := Input{Connector: erp(), Ready: Ready{OK: true, Reason: "Compiled"}, Told: told, Counts: &Counts{}, Now: start}
	status, memory := Next(&v1alpha1.ConnectorStatus{}, in, Memory{})
	in.Told = nil
	for in.Now = start.Add(time.Second); in.Now.Before(start.Add(Settle)); in.Now = in.Now.Add(time.Second) {
		next, after := Next(&status, in, memory)
		if diff := cmp.Diff(status, next); diff != "" {
			t.Fatalf("after %v without an answer (-before +after):\n%s", in.Now.Sub(start), diff)
		}
		memory = after
	}
	for range 30 {
		status, memory = Next(&status, in, memory)
		in.Now = in.Now.Add(time.Second)
	}
	for _, name := range []string{v1alpha1.ConditionReachable, v1alpha1.ConditionThrottled, v1alpha1.ConditionPaused} {
		if c := meta.FindStatusCondition(status.Conditions, name); c.Status != metav1.ConditionUnknown {
			t.Errorf("%s is %s (%s) while nobody tells", name, c.Status, c.Message)
		}
	}
	if status.Pace != "-" {
		t.Errorf("the pace is %s while nobody tells", status.Pace)
	}
}

// What a person writes counts at once, both ways, whoever tells what.
func TestPausedByAPerson(t *testing.T) {
	t.Parallel()
	in := Input{Connector: erp(), Ready: Ready{OK: true, Reason: "Compiled"}, Told: &dispatcherv1.Connector{State: dispatcherv1.State_STATE_RUNNING}, Now: start}
	status, memory := Next(&v1alpha1.ConnectorStatus{}, in, Memory{})
	for i, paused := range []bool{true, false, true} {
		in.Connector.Spec.Paused, in.Now = paused, in.Now.Add(time.Second)
		status, memory = Next(&status, in, memory)
		if got := meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionPaused); got != paused {
			t.Errorf("change %d: Paused is %v, want %v", i, got, paused)
		}
	}
}

// What a person reads of a system that is closed: why, until when where that is long, and
// how it ends; beside what else is the matter, and never a time that nobody told.
func TestWhatIsSaidOfAClosedSystem(t *testing.T) {
	t.Parallel()
	const ends = `; nothing is sent until 2027-01-01 01:00 UTC; "peppasync connectors reopen erp" ends it now`
	closed := func(state dispatcherv1.State, after time.Duration, because string) *dispatcherv1.Connector {
		return &dispatcherv1.Connector{
			State: state, AsOf: timestamppb.New(start), ClosedUntil: timestamppb.New(start.Add(after)), ClosedBecause: because, DownSince: timestamppb.New(start),
		}
	}
	down := dispatcherv1.State_STATE_DOWN
	for name, test := range map[string]struct {
		told            *dispatcherv1.Connector
		condition, want string
		status          metav1.ConditionStatus
	}{
		"a short pause": {closed(dispatcherv1.State_STATE_THROTTLED, time.Second, "it throttled a call"), "Throttled", "it throttled a call", metav1.ConditionTrue},
		"a long pause":  {closed(dispatcherv1.State_STATE_THROTTLED, time.Hour, "it throttled a call"), "Throttled", "it throttled a call" + ends, metav1.ConditionTrue},
		"down, and it asked to be left alone": {
			closed(down, time.Hour, "it is down, and its replies ask that it be left alone"), "Throttled",
			"it is down, and its replies ask that it be left alone" + ends, metav1.ConditionTrue,
		},
		"down, and it asked for nothing": {closed(down, time.Hour, ""), "Throttled", "it has not asked for a pause", metav1.ConditionFalse},
		"paused by a person, and closed by a reply": {
			closed(dispatcherv1.State_STATE_PAUSED, time.Hour, "it throttled a call"), "Throttled", "it throttled a call" + ends, metav1.ConditionTrue,
		},
		"down": {closed(down, time.Hour, ""), "Reachable", "it does not answer since 2027-01-01 00:00 UTC; it is asked again and again, and what waits is kept", metav1.ConditionFalse},
		"down since when nobody told": {
			&dispatcherv1.Connector{State: down}, "Reachable", "it does not answer; it is asked again and again, and what waits is kept", metav1.ConditionFalse,
		},
		"a window": {
			closed(dispatcherv1.State_STATE_MAINTENANCE, time.Hour, ""), "Paused", "a window of spec.maintenance is near or open, until 2027-01-01 01:00 UTC", metav1.ConditionTrue,
		},
		"a window that ends now": {
			&dispatcherv1.Connector{State: dispatcherv1.State_STATE_MAINTENANCE}, "Paused", "a window of spec.maintenance is near or open", metav1.ConditionTrue,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _ := Next(&v1alpha1.ConnectorStatus{}, Input{Connector: erp(), Told: test.told, Now: start}, Memory{})
			c := meta.FindStatusCondition(got.Conditions, test.condition)
			if c.Status != test.status || c.Message != test.want {
				t.Errorf("%s is %s: %q, want %s: %q", test.condition, c.Status, c.Message, test.status, test.want)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	down := []metav1.Condition{{Type: "Reachable", Status: metav1.ConditionFalse, Reason: "Down", Message: "it does not answer"}}
	up := []metav1.Condition{{Type: "Reachable", Status: metav1.ConditionTrue, Reason: "Answering", Message: "it answers"}}
	for name, test := range map[string]struct {
		before, after []metav1.Condition
		want          []Event
	}{
		"good at first sight":   {nil, up, nil},
		"bad at first sight":    {nil, down, []Event{{true, "Down", "Reachable: it does not answer"}}},
		"gets bad":              {up, down, []Event{{true, "Down", "Reachable: it does not answer"}}},
		"gets good":             {down, up, []Event{{false, "Answering", "Reachable: it answers"}}},
		"stays bad":             {down, down, nil},
		"nobody tells any more": {up, []metav1.Condition{{Type: "Reachable", Status: metav1.ConditionUnknown, Reason: "Unknown"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, Events(test.before, test.after)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}
