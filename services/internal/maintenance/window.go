// Package maintenance says when an external account is not to be called: windows
// that begin by a cron schedule in a time zone and last for a time. The catalog
// checks a Connector's windows with it and the throttle-dispatcher obeys them, so
// that both mean the same. It is pure: time comes in as an argument.
package maintenance

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/netresearch/go-cron"
)

// MaxDuration bounds one window: what is closed for longer is paused by a person.
const MaxDuration = 14 * 24 * time.Hour

// Schedule says when windows begin, as a clock on the wall shows it.
type Schedule struct{ cron cron.Schedule }

// ParseSchedule reads five fields of cron: minute, hour, day of the month, month
// and day of the week. Where both days are restricted either is enough, as in
// crontab(5); SUN#3 is the third Sunday of a month and SUN#L the last.
func ParseSchedule(text string) (Schedule, error) {
	if fields := strings.Fields(text); len(fields) != 5 {
		return Schedule{}, fmt.Errorf("it has %d fields", len(fields))
	}
	if strings.Contains(text, "=") {
		// The library would take "TZ=..." for a zone, of which there is a field.
		return Schedule{}, errors.New("a time zone is not part of it")
	}
	parser, err := cron.TryNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DowOrDom | cron.DowNth | cron.DowLast)
	if err != nil {
		return Schedule{}, err
	}
	// Nine years hold the longest wait for a 29th of February, over a century's turn.
	parsed, err := parser.WithMaxSearchYears(9).Parse(text)
	if err != nil {
		return Schedule{}, err
	}
	schedule := Schedule{parsed}
	if schedule.next(examined()).IsZero() {
		return Schedule{}, errors.New("no such day ever comes")
	}
	return schedule, nil
}

// examined is where the checks of schedules begin; any date would do.
func examined() time.Time { return time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC) }

// next returns the first beginning after wall, which is written as if in UTC:
// there every minute exists once, so that the library never meets a change of
// clocks, of which every library makes something else.
func (s Schedule) next(wall time.Time) time.Time { return s.cron.Next(wall) }

// Period returns the shortest time from one beginning to the next, by a clock that
// never changes.
func (s Schedule) Period() time.Duration {
	shortest := time.Duration(1<<63 - 1)
	at := s.next(examined())
	// Ten years, or more than a day of the densest.
	for range 2000 {
		following := s.next(at)
		if following.IsZero() || following.After(examined().AddDate(10, 0, 0)) {
			break
		}
		shortest = min(shortest, following.Sub(at))
		at = following
	}
	return shortest
}

// LoadZone returns a time zone by its name in the IANA database, UTC for none.
func LoadZone(name string) (*time.Location, error) {
	if strings.EqualFold(name, "local") {
		// It would mean something else on every machine.
		return nil, errors.New("it depends on the machine")
	}
	return time.LoadLocation(name)
}

// Window is one entry of a Connector's maintenance.
type Window struct {
	Schedule Schedule
	Zone     *time.Location
	Duration time.Duration
	// RampUp is how long the pace grows after it; 0 for full pace at once.
	RampUp time.Duration
}

// Span is a stretch of time in which nothing may be under way: from Begin on,
// until before End.
type Span struct {
	Begin, End time.Time
	RampUp     time.Duration
}

// spans returns the window that begins when a clock on the wall shows wall: one
// span, except on a night on which clocks change.
//
// A time that comes twice begins two spans. For a time that is skipped nobody can
// know what the other side does: go by the old clock, by the new one, or begin when
// the clocks change; the span covers all of them.
func (w Window) spans(wall time.Time) []Span {
	// No zone changes its clocks twice within four days.
	_, before := wall.Add(-48 * time.Hour).In(w.Zone).Zone()
	_, after := wall.Add(48 * time.Hour).In(w.Zone).Zone()
	old, young := read(wall, before), read(wall, after)
	_, atOld := old.In(w.Zone).Zone()
	_, atYoung := young.In(w.Zone).Zone()
	switch {
	case before == after || atOld == before && atYoung != after:
		return []Span{{old, old.Add(w.Duration), w.RampUp}}
	case atYoung == after && atOld != before:
		return []Span{{young, young.Add(w.Duration), w.RampUp}}
	case atOld == before:
		return []Span{{old, old.Add(w.Duration), w.RampUp}, {young, young.Add(w.Duration), w.RampUp}}
	}
	// Skipped: by the new clock it is earlier.
	return []Span{{young, old.Add(w.Duration), w.RampUp}}
}

// read returns the moment at which a clock that is offset seconds ahead of UTC
// shows wall.
func read(wall time.Time, offset int) time.Time {
	return wall.Add(-time.Duration(offset) * time.Second)
}
