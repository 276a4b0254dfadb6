package account

import (
	"errors"
	"time"
)

// maintenance is a span in which every call is answered 503. An open one has a zero end.
type maintenance struct{ start, end time.Time }

// StartMaintenance begins maintenance now. With a duration it ends by itself, else by StopMaintenance.
func (f *Front) StartMaintenance(duration time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.inMaintenance(now) {
		return errors.New("maintenance is already on; stop it first")
	}
	m := maintenance{start: now}
	if duration > 0 {
		m.end = now.Add(duration)
	}
	f.maintenance = append(f.maintenance, m)
	return nil
}

// StopMaintenance ends maintenance now.
func (f *Front) StopMaintenance() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if !f.inMaintenance(now) {
		return errors.New("maintenance is not on")
	}
	f.maintenance[len(f.maintenance)-1].end = now
	return nil
}

// inMaintenance needs the lock. Only the last span can be open: a new one starts only when none is.
func (f *Front) inMaintenance(now time.Time) bool {
	if len(f.maintenance) == 0 {
		return false
	}
	last := f.maintenance[len(f.maintenance)-1]
	return last.end.IsZero() || now.Before(last.end)
}
