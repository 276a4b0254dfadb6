package maintenance_test

import (
	"maps"
	"slices"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/services/internal/maintenance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loaded, err := maintenance.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func window(t testing.TB, schedule, in string, duration time.Duration) maintenance.Window {
	t.Helper()
	parsed, err := maintenance.ParseSchedule(schedule)
	if err != nil {
		t.Fatal(err)
	}
	return maintenance.Window{Schedule: parsed, Zone: zone(t, in), Duration: duration}
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse("2006-01-02 15:04 -0700", text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// Clocks change in New York on 8 March 2026 at 02:00 (to 03:00) and on 1 November
// 2026 at 02:00 (back to 01:00).
func TestNext(t *testing.T) {
	const newYork = "America/New_York"
	tests := map[string]struct {
		schedule, zone string
		duration       time.Duration
		after          string
		begin, end     string
	}{
		"Sundays at two, in summer":                     {"0 2 * * 0", newYork, 2 * time.Hour, "2026-06-10 12:00 +0000", "2026-06-14 02:00 -0400", "2026-06-14 04:00 -0400"},
		"Sundays at two, in winter":                     {"0 2 * * 0", newYork, 2 * time.Hour, "2026-01-07 12:00 +0000", "2026-01-11 02:00 -0500", "2026-01-11 04:00 -0500"},
		"inside it":                                     {"0 2 * * 0", newYork, 2 * time.Hour, "2026-06-14 03:59 -0400", "2026-06-14 02:00 -0400", "2026-06-14 04:00 -0400"},
		"the end is outside":                            {"0 2 * * 0", newYork, 2 * time.Hour, "2026-06-14 04:00 -0400", "2026-06-21 02:00 -0400", "2026-06-21 04:00 -0400"},
		"it begins in an hour that is skipped":          {"30 2 * * 0", newYork, 2 * time.Hour, "2026-03-07 12:00 +0000", "2026-03-08 01:30 -0500", "2026-03-08 05:30 -0400"},
		"it begins when an hour is skipped":             {"0 2 * * 0", newYork, time.Hour, "2026-03-07 12:00 +0000", "2026-03-08 01:00 -0500", "2026-03-08 04:00 -0400"},
		"it begins before an hour that is skipped":      {"30 1 * * 0", newYork, 2 * time.Hour, "2026-03-07 12:00 +0000", "2026-03-08 01:30 -0500", "2026-03-08 04:30 -0400"},
		"it begins after an hour that is skipped":       {"0 3 * * 0", newYork, time.Hour, "2026-03-07 12:00 +0000", "2026-03-08 03:00 -0400", "2026-03-08 04:00 -0400"},
		"it begins in an hour that is repeated":         {"30 1 * * 0", newYork, time.Hour, "2026-10-31 12:00 +0000", "2026-11-01 01:30 -0400", "2026-11-01 02:30 -0500"},
		"it begins before an hour that is repeated":     {"30 0 * * 0", newYork, 2 * time.Hour, "2026-10-31 12:00 +0000", "2026-11-01 00:30 -0400", "2026-11-01 01:30 -0500"},
		"it begins after an hour that is repeated":      {"0 2 * * 0", newYork, time.Hour, "2026-10-31 12:00 +0000", "2026-11-01 02:00 -0500", "2026-11-01 03:00 -0500"},
		"each hour, before it is repeated":              {"0 * * * *", newYork, 10 * time.Minute, "2026-11-01 00:15 -0400", "2026-11-01 01:00 -0400", "2026-11-01 01:10 -0400"},
		"each hour, when it is repeated":                {"0 * * * *", newYork, 10 * time.Minute, "2026-11-01 01:15 -0400", "2026-11-01 01:00 -0500", "2026-11-01 01:10 -0500"},
		"half an hour is skipped":                       {"15 2 * * *", "Australia/Lord_Howe", 10 * time.Minute, "2026-10-03 12:00 +1030", "2026-10-04 01:45 +1030", "2026-10-04 02:55 +1100"},
		"midnight is skipped":                           {"0 0 * * *", "America/Santiago", time.Hour, "2026-09-05 12:00 -0400", "2026-09-05 23:00 -0400", "2026-09-06 02:00 -0300"},
		"a zone ahead of the day":                       {"0 0 1 * *", "Pacific/Kiritimati", time.Hour, "2026-04-30 09:00 +0000", "2026-04-30 10:00 +0000", "2026-04-30 11:00 +0000"},
		"no zone is UTC":                                {"0 2 * * 0", "", time.Hour, "2026-06-10 12:00 +0000", "2026-06-14 02:00 +0000", "2026-06-14 03:00 +0000"},
		"over midnight and the end of the year":         {"0 23 31 12 *", "", 3 * time.Hour, "2027-01-01 01:59 +0000", "2026-12-31 23:00 +0000", "2027-01-01 02:00 +0000"},
		"a leap day":                                    {"0 0 29 2 *", "", time.Hour, "2096-03-01 00:00 +0000", "2104-02-29 00:00 +0000", "2104-02-29 01:00 +0000"},
		"the third Saturday of a month":                 {"0 22 * * SAT#3", "", time.Hour, "2026-06-01 00:00 +0000", "2026-06-20 22:00 +0000", "2026-06-20 23:00 +0000"},
		"the last Sunday of a month":                    {"0 1 * * SUN#L", "", time.Hour, "2026-06-01 00:00 +0000", "2026-06-28 01:00 +0000", "2026-06-28 02:00 +0000"},
		"a day of the month or of the week: the former": {"0 1 15 * MON", "", time.Hour, "2026-07-14 00:00 +0000", "2026-07-15 01:00 +0000", "2026-07-15 02:00 +0000"},
		"a day of the month or of the week: the latter": {"0 1 15 * MON", "", time.Hour, "2026-07-16 00:00 +0000", "2026-07-20 01:00 +0000", "2026-07-20 02:00 +0000"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			calendar := maintenance.NewCalendar([]maintenance.Window{window(t, test.schedule, test.zone, test.duration)})
			span, ok := calendar.Next(at(t, test.after))
			if !ok || !span.Begin.Equal(at(t, test.begin)) || !span.End.Equal(at(t, test.end)) {
				t.Errorf("after %s: %s to %s (%v), want %s to %s", test.after, span.Begin, span.End, ok, test.begin, test.end)
			}
		})
	}
}

func TestOverlappingWindowsAreOne(t *testing.T) {
	night := window(t, "0 1 * * *", "", 2*time.Hour)
	night.RampUp = 10 * time.Minute
	tests := map[string]struct {
		other    maintenance.Window
		end      string
		rampUp   time.Duration
		moreThan int
	}{
		"apart":                {window(t, "0 4 * * *", "", time.Hour), "2026-06-10 03:00 +0000", 10 * time.Minute, 0},
		"touching":             {window(t, "0 3 * * *", "", time.Hour), "2026-06-10 04:00 +0000", 10 * time.Minute, 0},
		"overlapping":          {window(t, "30 2 * * *", "", time.Hour), "2026-06-10 03:30 +0000", 10 * time.Minute, 0},
		"inside":               {window(t, "30 1 * * *", "", time.Hour), "2026-06-10 03:00 +0000", 10 * time.Minute, 0},
		"in another time zone": {window(t, "30 4 * * *", "Europe/Berlin", time.Hour), "2026-06-10 03:30 +0000", 10 * time.Minute, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			calendar := maintenance.NewCalendar([]maintenance.Window{test.other, night})
			span, ok := calendar.Next(at(t, "2026-06-09 12:00 +0000"))
			want := maintenance.Span{Begin: at(t, "2026-06-10 01:00 +0000"), End: at(t, test.end), RampUp: test.rampUp}
			if diff := cmp.Diff(want, span); !ok || diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLastFindsWhatEndedNotLongAgo(t *testing.T) {
	calendar := maintenance.NewCalendar([]maintenance.Window{window(t, "0 1 * * *", "", time.Hour)})
	for name, test := range map[string]struct {
		moment string
		since  time.Duration
		want   string
	}{
		"an hour ago":            {"2026-06-10 03:00 +0000", 2 * time.Hour, "2026-06-10 02:00 +0000"},
		"just now":               {"2026-06-10 02:00 +0000", time.Hour, "2026-06-10 02:00 +0000"},
		"longer ago":             {"2026-06-10 12:00 +0000", time.Hour, ""},
		"the newest of several":  {"2026-06-10 12:00 +0000", 72 * time.Hour, "2026-06-10 02:00 +0000"},
		"not the one that lasts": {"2026-06-10 01:30 +0000", 24 * time.Hour, "2026-06-09 02:00 +0000"},
	} {
		t.Run(name, func(t *testing.T) {
			span, ok := calendar.Last(at(t, test.moment), test.since)
			if ok != (test.want != "") || ok && !span.End.Equal(at(t, test.want)) {
				t.Errorf("%v (%v), want %s", span, ok, test.want)
			}
		})
	}
	if span, ok := (maintenance.Calendar{}).Next(time.Now()); ok {
		t.Errorf("no windows, and yet %v", span)
	}
}

func TestSchedulesThatAreNone(t *testing.T) {
	for _, text := range []string{
		"", "0 2 * *", "0 0 2 * * 0", "60 2 * * *", "0 24 * * *", "0 2 0 * *", "0 2 * 13 *", "0 2 * * 8x", "@daily",
		"TZ=UTC * * * *", "CRON_TZ=UTC 2 * * *", "0 2 30 2 *", "* * * * H", "-1 * * * *", "*/0 * * * *", "a b c d e",
	} {
		if _, err := maintenance.ParseSchedule(text); err == nil {
			t.Errorf("%q is taken for a schedule", text)
		}
	}
	for _, name := range []string{"local", "Local", "Mars/Olympus", "../etc/passwd", "EST5EDT5"} {
		if _, err := maintenance.LoadZone(name); err == nil {
			t.Errorf("%q is taken for a time zone", name)
		}
	}
}

func TestPeriod(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0 2 * * 0": 7 * 24 * time.Hour, "0 2 * * *": 24 * time.Hour, "*/15 * * * *": 15 * time.Minute, "* * * * *": time.Minute,
		"0 2,3 * * *": time.Hour, "0 2 1,3 * *": 2 * 24 * time.Hour, "0 0 29 2 *": 4 * 365 * 24 * time.Hour, "0 0 1 * *": 28 * 24 * time.Hour,
	} {
		schedule, err := maintenance.ParseSchedule(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := schedule.Period().Truncate(24 * time.Hour); want >= 365*24*time.Hour && got != want+24*time.Hour {
			t.Errorf("%s: %v, want %v and a day", text, got, want)
		} else if got := schedule.Period(); want < 365*24*time.Hour && got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestWindowsThatLeaveNoTime(t *testing.T) {
	day, night := window(t, "0 6 * * *", "", 14*time.Hour), window(t, "0 20 * * *", "", 10*time.Hour)
	if maintenance.NewCalendar([]maintenance.Window{day, night}).Opens() {
		t.Error("day and night are closed, and yet it opens")
	}
	night.Duration -= time.Minute
	if !maintenance.NewCalendar([]maintenance.Window{day, night}).Opens() {
		t.Error("a minute a day is open, and yet it never opens")
	}
	// The densest there can be must not take long to see through.
	even, odd := window(t, "0-58/2 * * * *", "", time.Minute), window(t, "1-59/2 * * * *", "", time.Minute)
	if maintenance.NewCalendar([]maintenance.Window{even, odd}).Opens() {
		t.Error("every minute is closed, and yet it opens")
	}
}

// A clock that is looked at every minute of every window's time zone is the judge:
// what begins by it is covered, and nothing else is, but for nights on which an
// hour is skipped.
func TestSpansCoverWhatTheClockOnTheWallShows(t *testing.T) {
	zones := []string{"", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu", "Pacific/Apia"}
	schedules := map[string]func(wall time.Time) bool{
		"0 2 * * 0": func(wall time.Time) bool {
			return wall.Hour() == 2 && wall.Minute() == 0 && wall.Weekday() == time.Sunday
		},
		"30 1 * * *":   func(wall time.Time) bool { return wall.Hour() == 1 && wall.Minute() == 30 },
		"0 0 * * *":    func(wall time.Time) bool { return wall.Hour() == 0 && wall.Minute() == 0 },
		"15 */6 * * *": func(wall time.Time) bool { return wall.Hour()%6 == 0 && wall.Minute() == 15 },
		"59 1 1 11 *":  func(wall time.Time) bool { return wall.Format("0102 1504") == "1101 0159" },
	}
	names := slices.Sorted(maps.Keys(schedules))
	// The days around a change of clocks are drawn often.
	days := []time.Time{at(t, "2026-03-07 00:00 +0000"), at(t, "2026-10-31 00:00 +0000"), at(t, "2026-03-28 00:00 +0000"), at(t, "2026-10-24 00:00 +0000"), at(t, "2026-09-05 00:00 +0000")}
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.SampledFrom(days).Draw(t, "day").AddDate(0, 0, rapid.IntRange(-2, 30).Draw(t, "later"))
		const minutes = 4 * 24 * 60
		var due [minutes]bool
		skips := false
		var windows []maintenance.Window
		for range rapid.IntRange(1, 4).Draw(t, "windows") {
			text := rapid.SampledFrom(names).Draw(t, "schedule")
			schedule, err := maintenance.ParseSchedule(text)
			if err != nil {
				t.Fatal(err)
			}
			where, err := maintenance.LoadZone(rapid.SampledFrom(zones).Draw(t, "zone"))
			if err != nil {
				t.Fatal(err)
			}
			lasts := rapid.IntRange(1, 359).Draw(t, "minutes")
			windows = append(windows, maintenance.Window{Schedule: schedule, Zone: where, Duration: time.Duration(lasts) * time.Minute})
			for m := -lasts; m < minutes; m++ {
				if schedules[text](from.Add(time.Duration(m) * time.Minute).In(where)) {
					for covered := max(m, 0); covered < min(m+lasts, minutes); covered++ {
						due[covered] = true
					}
				}
			}
			_, before := from.AddDate(0, 0, -2).In(where).Zone()
			_, after := from.AddDate(0, 0, 6).In(where).Zone()
			skips = skips || after > before
		}
		calendar := maintenance.NewCalendar(windows)
		span, ok := calendar.Next(from)
		for m := range minutes {
			moment := from.Add(time.Duration(m) * time.Minute)
			for ok && !span.End.After(moment) {
				end := span.End
				if span, ok = calendar.Next(end); ok && !span.Begin.After(end) {
					t.Fatalf("%v follows at once on what ended at %v", span, end)
				}
			}
			covered := ok && !moment.Before(span.Begin)
			if due[m] && !covered || covered && !due[m] && !skips {
				t.Fatalf("%v is covered: %v, want %v", moment, covered, due[m])
			}
		}
	})
}

// Any text is refused or gives beginnings that come one after the other.
func FuzzParseSchedule(f *testing.F) {
	for _, text := range []string{"0 2 * * 0", "*/5 1-3,7 L 1-12/2 SUN#3", "TZ=x * * * *", "59 23 31 12 7", "22-2 * * nov-feb fri-mon"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		schedule, err := maintenance.ParseSchedule(text)
		if err == nil && schedule.Period() < time.Minute {
			t.Errorf("%q begins again after %v", text, schedule.Period())
		}
	})
}

func BenchmarkNext(b *testing.B) {
	calendar := maintenance.NewCalendar([]maintenance.Window{
		window(b, "0 2 * * 0", "America/New_York", 2*time.Hour), window(b, "0 1 * * *", "Europe/Berlin", time.Hour),
	})
	moment := at(b, "2026-06-10 12:00 +0000")
	for b.Loop() {
		calendar.Next(moment)
	}
}
