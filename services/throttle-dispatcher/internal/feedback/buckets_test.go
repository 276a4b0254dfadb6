package feedback_test

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/connectors/quota"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
)

func TestAbout(t *testing.T) {
	calls, points := feedback.Bucket{Name: "calls", Capacity: 40}, feedback.Bucket{Name: "points", Capacity: 2000, Points: true}
	large := feedback.Bucket{Name: "large", Capacity: 80}
	callLimit := quota.Figure{Limit: 40, Remaining: 8, Bucket: true, Capacity: 40, Available: 8}
	plain := quota.Figure{Limit: 40, Remaining: 8}
	for name, test := range map[string]struct {
		figure    quota.Figure
		buckets   []feedback.Bucket
		windows   []feedback.Window
		want      string
		available int64
	}{
		"of its kind":                            {callLimit, []feedback.Bucket{calls, points}, nil, "calls", 8},
		"of points":                              {quota.Figure{Bucket: true, Capacity: 1000, Available: 7, Points: true}, []feedback.Bucket{calls, points}, nil, "points", 7},
		"of another size, the only one":          {callLimit, []feedback.Bucket{large}, nil, "large", 8},
		"of its size, among several":             {callLimit, []feedback.Bucket{large, calls}, nil, "calls", 8},
		"of none among several":                  {quota.Figure{Bucket: true, Capacity: 50}, []feedback.Bucket{large, calls}, nil, "", 0},
		"of two alike":                           {callLimit, []feedback.Bucket{calls, calls}, nil, "", 0},
		"of no bucket that is declared":          {callLimit, []feedback.Bucket{points}, nil, "", 0},
		"fields that name neither, of its size":  {plain, []feedback.Bucket{calls}, nil, "calls", 8},
		"fields that name neither, another size": {plain, []feedback.Bucket{large}, nil, "", 0},
		"fields that are a window's":             {plain, []feedback.Bucket{calls}, []feedback.Window{{Calls: 40, Per: time.Minute}}, "", 0},
		"fields that say no limit":               {quota.Figure{Remaining: 8}, []feedback.Bucket{calls}, nil, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, available, ok := feedback.About(test.figure, test.buckets, test.windows)
			if got != test.want || available != test.available && ok || ok != (test.want != "") {
				t.Errorf("about %q, %d available, %v; want %q and %d", got, available, ok, test.want, test.available)
			}
		})
	}
}
