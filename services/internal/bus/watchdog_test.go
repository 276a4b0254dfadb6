package bus

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestStalled(t *testing.T) {
	info := func(pending uint64, ackPending int, delivered uint64, paused bool) *jetstream.ConsumerInfo {
		return &jetstream.ConsumerInfo{
			Config:     jetstream.ConsumerConfig{MaxAckPending: 8},
			NumPending: pending, NumAckPending: ackPending, Paused: paused,
			Delivered: jetstream.SequenceInfo{Consumer: delivered},
		}
	}
	for name, c := range map[string]struct {
		before, now *jetstream.ConsumerInfo
		want        bool
	}{
		"messages wait, none delivered":           {info(5, 0, 10, false), info(6, 0, 10, false), true},
		"room is left":                            {info(5, 7, 10, false), info(5, 7, 10, false), true},
		"nothing waits":                           {info(0, 0, 10, false), info(0, 0, 10, false), false},
		"they have only just come":                {info(0, 0, 10, false), info(5, 0, 10, false), false},
		"delivered meanwhile":                     {info(5, 0, 10, false), info(5, 0, 11, false), false},
		"the handler holds all that it may":       {info(5, 8, 10, false), info(5, 8, 10, false), false},
		"it has given one back just now":          {info(5, 8, 10, false), info(5, 7, 10, false), false},
		"paused by an operator":                   {info(5, 0, 10, true), info(5, 0, 10, true), false},
		"an ephemeral consumer without such room": {nil, info(5, 0, 10, false), false},
	} {
		t.Run(name, func(t *testing.T) {
			var before observation
			if c.before != nil {
				before = observe(c.before)
			}
			if got := stalled(before, observe(c.now)); got != c.want {
				t.Errorf("stalled is %v, want %v", got, c.want)
			}
		})
	}
	if watchInterval < 2*time.Second {
		t.Errorf("the interval %v is within what a busy server may need", watchInterval)
	}
}

// A consumer without work asks only when its stream has grown; one that was seen to
// have something is asked about each time.
func TestNothingSince(t *testing.T) {
	seen := func(pending, newest uint64) observation {
		o := observe(&jetstream.ConsumerInfo{NumPending: pending})
		o.newest = newest
		return o
	}
	for name, c := range map[string]struct {
		before observation
		newest uint64
		want   bool
	}{
		"nothing waited, and the stream is as it was": {seen(0, 7), 7, true},
		"the stream has grown":                        {seen(0, 7), 8, false},
		"the stream was made anew":                    {seen(0, 7), 0, false},
		"something waited":                            {seen(1, 7), 7, false},
		"it was not looked at yet":                    {observation{}, 0, false},
	} {
		if got := c.before.nothingSince(c.newest); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
