package catalog

import (
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/maintenance"
)

const maxRampUp = 24 * time.Hour

// maintenance checks the windows one by one, and then together.
func (c *compiler) maintenance(e *entry[*v1alpha1.Connector]) {
	const field = "spec.maintenance"
	windows := e.object.Spec.Maintenance
	if len(windows) == 0 {
		return
	}
	c.size(e.Resource, field, len(windows), 16, "window")
	readable := make([]maintenance.Window, 0, len(windows))
	for i := range windows {
		if window, ok := c.maintenanceWindow(e.Resource, at(field, i), &windows[i], e.object.Spec.Timeout.Duration); ok {
			readable = append(readable, window)
		}
	}
	if len(readable) == len(windows) && !maintenance.NewCalendar(readable).Opens() {
		c.reportf(e.Resource, field, "the windows together leave no time to send for a month and more, expected gaps between them; "+
			"paused: true keeps everything for as long as it is written")
	}
}

// maintenanceWindow returns the window with the time before it in which no call is
// made, because it might not be over when the window begins.
func (c *compiler) maintenanceWindow(r *Resource, field string, window *v1alpha1.MaintenanceWindow, timeout time.Duration) (maintenance.Window, bool) {
	schedule, err := maintenance.ParseSchedule(window.Schedule)
	if err != nil {
		c.reportf(r, field+".schedule", "found %q, expected five fields of cron (minute, hour, day, month, weekday), "+
			"such as \"0 2 * * 0\" for Sundays at two: %s", shorten(window.Schedule), shorten(err.Error()))
	}
	zone, zoneErr := maintenance.LoadZone(window.TimeZone)
	if zoneErr != nil {
		c.reportf(r, field+".timeZone", "found %q, expected a name of the IANA time zone database, such as America/New_York or UTC", shorten(window.TimeZone))
	}
	lasts, ramps := window.Duration.Duration, window.RampUp.Duration
	c.between(r, field+".rampUp", ramps, 0, maxRampUp)
	switch {
	case lasts <= 0 || lasts > maintenance.MaxDuration:
		c.reportf(r, field+".duration", "found %s, expected a time above 0s and up to %s, such as 2h", short(lasts), short(maintenance.MaxDuration))
		return maintenance.Window{}, false
	case err == nil && lasts >= schedule.Period():
		c.reportf(r, field+".duration", "found %s, expected less than %s: the schedule begins that often, so it would never end",
			short(lasts), short(schedule.Period()))
		return maintenance.Window{}, false
	case err == nil && lasts+timeout >= schedule.Period():
		c.reportf(r, field+".duration", "found %s every %s, expected more time between: a call may take spec.timeout, %s, "+
			"and has to be over when the window begins", short(lasts), short(schedule.Period()), short(timeout))
		return maintenance.Window{}, false
	}
	return maintenance.Window{Schedule: schedule, Zone: zone, Duration: lasts + timeout, RampUp: ramps}, err == nil && zoneErr == nil
}
