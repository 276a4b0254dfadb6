package maintenance_test

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	windows "github.com/peppasync/peppasync/services/internal/maintenance"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/maintenance"
)

// The outlook says beforehand what the watch will say, over both changes of the clocks and
// with windows that overlap.
func TestOutlookIsWhatTheWatchWillSay(t *testing.T) {
	berlin, err := windows.LoadZone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		var all []windows.Window
		for range rapid.IntRange(0, 3).Draw(t, "windows") {
			text := rapid.SampledFrom([]string{"0 2 * * *", "30 2 * * *", "30 1 * * SUN", "0 */3 * * *", "15 2 * * *"}).Draw(t, "schedule")
			schedule, err := windows.ParseSchedule(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, windows.Window{
				Schedule: schedule, Zone: rapid.SampledFrom([]*time.Location{berlin, time.UTC}).Draw(t, "zone"),
				Duration: time.Duration(rapid.IntRange(1, 170).Draw(t, "minutes")) * time.Minute,
				RampUp:   time.Duration(rapid.IntRange(0, 90).Draw(t, "ramp")) * time.Minute,
			})
		}
		begin := rapid.SampledFrom([]time.Time{
			time.Date(2026, time.March, 28, 20, 0, 0, 0, time.UTC), time.Date(2026, time.October, 24, 20, 0, 0, 0, time.UTC),
		}).Draw(t, "begin")
		settings := maintenance.Settings{Calendar: windows.NewCalendar(all), Lead: time.Duration(rapid.IntRange(0, 40).Draw(t, "lead")) * time.Minute}
		watch := maintenance.NewWatch(begin, settings)
		until := begin.Add(36 * time.Hour)
		var said []maintenance.Closing
		for c := range watch.Outlook().After(begin) {
			if said = append(said, c); c.From.After(until) {
				break
			}
		}
		for now := begin; now.Before(until); now = now.Add(7 * time.Minute) {
			for len(said) > 0 && !said[0].Until.After(now) {
				if window, _ := watch.Ramps(now); window != said[0].Ramp && !said[0].Until.Before(window.From) {
					t.Fatalf("at %v the ramp is %v, said was %v", now, window, said[0].Ramp)
				}
				said = said[1:]
			}
			at, closed := watch.Closed(now)
			if within := len(said) > 0 && !now.Before(said[0].From); within != closed || closed && !at.Equal(said[0].Until) {
				t.Fatalf("at %v it is closed: %v until %v, said was %v", now, closed, at, said)
			}
		}
	})
}

// Many ask at a time, each from where it is, of what is remembered.
func TestOutlookIsRememberedForAll(t *testing.T) {
	calendar := nightly(t)
	outlook := maintenance.NewWatch(clock(0, 0, 0), maintenance.Settings{Calendar: calendar}).Outlook()
	var all sync.WaitGroup
	for asker := range 8 {
		all.Go(func() {
			for day := range 40 {
				now := clock(24*((day*7+asker)%40)+1, 0, 0)
				n, want := 0, now
				for c := range outlook.After(now) {
					span, _ := calendar.Next(want)
					if !c.Until.Equal(span.End) || !c.From.Equal(span.Begin) {
						t.Errorf("after %v the calendar says %v, the outlook %v", want, span, c)
					}
					if want = c.Until; n == 20 {
						break
					}
					n++
				}
			}
		})
	}
	all.Wait()
}
