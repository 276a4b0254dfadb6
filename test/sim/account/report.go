package account

import (
	"maps"
	"slices"
	"time"

	"github.com/peppasync/peppasync/test/sim/arrivals"
)

// Report is what the account's own arrival log says.
type Report struct {
	// Calls is the number of all arrivals, refused ones and probes included.
	Calls int `json:"calls"`
	// ByOperation counts the same arrivals by what they asked for.
	ByOperation map[string]int `json:"byOperation,omitempty"`
	// ByOutcome counts them by accepted, throttled, refused, unavailable, cut and pending.
	ByOutcome map[string]int `json:"byOutcome,omitempty"`
	// Limits holds the largest number of arrivals in any closed rolling window, per declared window.
	Limits []LimitReport `json:"limits,omitempty"`
	// Concurrency holds the largest number of calls in progress at once.
	Concurrency ConcurrencyReport `json:"concurrency"`
	// Throttled counts the calls refused because the account was over a limit, over its concurrency or under a
	// penalty. Injected 429 replies are in Faults instead.
	Throttled int `json:"throttled"`
	// Penalties counts how often the blocking penalty was imposed, PenaltyUntil is when the last one ends.
	Penalties    int        `json:"penalties"`
	PenaltyUntil *time.Time `json:"penaltyUntil,omitempty"`
	// Faults counts injected faults by kind; LateCommits those of cutCommitLater that have taken effect.
	Faults      map[string]int      `json:"faults,omitempty"`
	LateCommits int                 `json:"lateCommits,omitempty"`
	Maintenance []MaintenanceReport `json:"maintenance,omitempty"`
}

// LimitReport compares a declared window with what arrived.
type LimitReport struct {
	Name string `json:"name"`
	// WindowMs is the length of the window in milliseconds.
	WindowMs int64 `json:"windowMs"`
	// Limit is the declared number of calls; 0 means that the window is only measured.
	Limit int `json:"limit"`
	// Largest is the largest number of arrivals in any closed rolling window of that length.
	Largest int `json:"largest"`
}

// ConcurrencyReport compares the declared concurrency with what was in progress.
type ConcurrencyReport struct {
	Limit   int `json:"limit"`
	Largest int `json:"largest"`
}

// MaintenanceReport is one span of maintenance. End and FirstAcceptedAfterMs, the time from the end to the arrival of the
// first write that was accepted after it, are absent while they lie in the future.
type MaintenanceReport struct {
	Start                time.Time  `json:"start"`
	End                  *time.Time `json:"end,omitempty"`
	FirstAcceptedAfterMs *float64   `json:"firstAcceptedAfterMs,omitempty"`
}

// Report returns the state of the account now.
func (f *Front) Report() Report {
	tally := f.log.Tally()
	largest := f.log.Largest()
	f.mu.Lock()
	defer f.mu.Unlock()
	r := Report{
		ByOperation: maps.Clone(f.operations), ByOutcome: tally,
		Concurrency: ConcurrencyReport{Limit: f.cfg.Concurrency, Largest: f.largestInFlight},
		Throttled:   f.refusedBy[OverWindow] + f.refusedBy[OverConcurrency] + f.refusedBy[UnderPenalty],
		Penalties:   f.penalties, LateCommits: f.lateCommits,
	}
	for _, n := range tally {
		r.Calls += n
	}
	for i, w := range f.cfg.Limits {
		r.Limits = append(r.Limits, LimitReport{
			Name: w.Name, WindowMs: w.Per.Std().Milliseconds(), Limit: w.Calls, Largest: largest[i],
		})
	}
	if !f.penaltyUntil.IsZero() {
		until := f.penaltyUntil
		r.PenaltyUntil = &until
	}
	for kind, n := range f.plan.Fired() {
		if r.Faults == nil {
			r.Faults = make(map[string]int)
		}
		r.Faults[string(kind)] = n
	}
	now := time.Now()
	for _, m := range f.maintenance {
		r.Maintenance = append(r.Maintenance, f.maintenanceReport(m, now))
	}
	return r
}

func (f *Front) maintenanceReport(m maintenance, now time.Time) MaintenanceReport {
	r := MaintenanceReport{Start: m.start}
	if m.end.IsZero() || now.Before(m.end) {
		return r
	}
	end := m.end
	r.End = &end
	if at, ok := f.log.FirstWrite(m.end); ok {
		after := float64(at.Sub(m.end)) / float64(time.Millisecond)
		r.FirstAcceptedAfterMs = &after
	}
	return r
}

// Rate returns the calls a minute that arrived between two moments and were accepted, leaving out maintenance: a call that
// is refused takes nothing forward.
func (f *Front) Rate(from, to time.Time) float64 {
	var at []time.Duration
	for _, a := range f.log.Snapshot() {
		if a.Outcome == arrivals.Accepted {
			at = append(at, a.At)
		}
	}
	return f.RateOf(at, from, to)
}

// RateOf is Rate for a chosen part of the arrivals, given as times since the origin of the arrival log.
func (f *Front) RateOf(at []time.Duration, from, to time.Time) float64 {
	slices.Sort(at)
	origin := f.log.Origin()
	return 60 * arrivals.Rate(at, from.Sub(origin), to.Sub(origin), f.pauses(to))
}

// pauses reach from the start of maintenance to the first accepted write after it, so that a slow return to work
// shows in FirstAcceptedAfterMs and not in the pace.
func (f *Front) pauses(now time.Time) []arrivals.Pause {
	f.mu.Lock()
	defer f.mu.Unlock()
	origin := f.log.Origin()
	var pauses []arrivals.Pause
	for _, m := range f.maintenance {
		end := m.end
		if end.IsZero() {
			end = now
		} else if at, ok := f.log.FirstWrite(end); ok {
			end = at
		}
		pauses = append(pauses, arrivals.Pause{From: m.start.Sub(origin), To: end.Sub(origin)})
	}
	return pauses
}
