package feedback

import "github.com/peppasync/peppasync/services/connectors/quota"

// Bucket is a declared limit of what calls cost, which drains.
type Bucket struct {
	Name     string
	Capacity int64
	// Points: costs are counted in points, and not in calls.
	Points bool
}

// About returns which of the declared buckets a figure is about, and what it says to be
// available in it; false for none. A figure of a bucket is about the only one that
// counts what it counts, or the one of its size. One that says neither bucket nor
// window is about the bucket of its size, where no window has that size.
func About(f quota.Figure, buckets []Bucket, windows []Window) (name string, available int64, ok bool) {
	capacity, available, points := f.Capacity, f.Available, f.Points
	if !f.Bucket {
		if f.Limit == 0 {
			return "", 0, false
		}
		for _, w := range windows {
			if int64(w.Calls) == f.Limit {
				return "", 0, false
			}
		}
		capacity, available, points = f.Limit, f.Remaining, false
	}
	var alike, sized []Bucket
	for _, k := range buckets {
		if k.Points != points {
			continue
		}
		alike = append(alike, k)
		if k.Capacity == capacity {
			sized = append(sized, k)
		}
	}
	switch {
	case len(sized) == 1:
		return sized[0].Name, available, true
	case f.Bucket && len(alike) == 1:
		return alike[0].Name, available, true
	}
	return "", 0, false
}
