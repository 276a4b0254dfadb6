package throttledispatcher

import (
	"fmt"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	windows "github.com/peppasync/peppasync/services/internal/maintenance"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/maintenance"
)

// rampEvery is how often a pace that grows is looked at again.
const rampEvery = 200 * time.Millisecond

// calendarOf returns the connector's maintenance windows.
func calendarOf(connector *v1alpha1.Connector) (maintenance.Calendar, error) {
	var all []windows.Window
	for i, w := range connector.Spec.Maintenance {
		schedule, err := windows.ParseSchedule(w.Schedule)
		if err != nil {
			return nil, fmt.Errorf("connector %s: maintenance[%d].schedule %q: %w", connector.Name, i, w.Schedule, err)
		}
		zone, err := windows.LoadZone(w.TimeZone)
		if err != nil {
			return nil, fmt.Errorf("connector %s: maintenance[%d].timeZone: %w", connector.Name, i, err)
		}
		all = append(all, windows.Window{Schedule: schedule, Zone: zone, Duration: w.Duration.Duration, RampUp: w.RampUp.Duration})
	}
	return windows.NewCalendar(all), nil
}

// watchMaintenance takes in what the spec and the limits say of windows and ramps.
//
// Calling ends before a window by as much as the call handed out last may take:
// the time until it is sent, the call timeout, and the grace in which the bytes
// of a call without a reply die. Replies are mostly quicker; to go by them would
// win half a minute of a window of hours, and now and then leave a call whose
// outcome nobody knows.
func (w *worker) watchMaintenance(now time.Time) error {
	calendar, err := w.calendar(w.spec)
	if err != nil {
		return err
	}
	limits := w.budget.Limits()
	settings := maintenance.Settings{
		Calendar:     calendar,
		Lead:         blockHorizon + 2*longestStall + limits.Tolerance + limits.CallTimeout + limits.Grace,
		OutageRampUp: w.spec.Spec.Outage.RampUp.Duration,
	}
	if w.maintenance == nil {
		w.maintenance = maintenance.NewWatch(now, settings)
		return nil
	}
	w.maintenance.Set(now, settings)
	return nil
}

// keepMaintenance brings the budget's pace up to date and tells the log when a
// window begins and ends.
func (w *worker) keepMaintenance(now time.Time) {
	until, closed := w.maintenance.Closed(now)
	w.budget.Slow(w.part(now))
	switch {
	case closed && w.inMaintenance.begins(now):
		w.log.Info("a maintenance window is near; nothing is sent until it is over", "until", until, "waiting", w.queue.Len())
	case !closed:
		if lasted, was := w.inMaintenance.ends(now); was {
			w.log.Info("the maintenance window is over; feeding goes on", "after", lasted, "pace", w.maintenance.Part(now), "waiting", w.queue.Len())
		}
	}
}

// quiet returns until when no call may be handed out, for reasons that the budget
// does not know; not after now where there is none.
func (w *worker) quiet(now time.Time) time.Time {
	until, _ := w.maintenance.Closed(now)
	return latest(until, w.quietUntil)
}
