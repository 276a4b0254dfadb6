package faults

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/peppasync/peppasync/test/sim/jsontime"
)

// Mishaps are what goes wrong with webhooks before they leave the shop, so that a receiver without a fault of its own is
// not told, is told late, or is told twice. Rules are about calls to a system; these are about what it sends.
type Mishaps struct {
	// Drop is the share (0 to 1) of webhooks that are never sent and not counted as failed: the shop knows nothing of them.
	Drop float64 `json:"drop,omitempty"`
	// Late is the share of the rest that is held back by LateBy, a minute by default.
	Late   float64           `json:"late,omitempty"`
	LateBy jsontime.Duration `json:"lateBy,omitempty"`
	// Twice is the share, of those that are sent, which are sent once more right after.
	Twice float64 `json:"twice,omitempty"`
	// Topics that are affected; empty means all.
	Topics []string `json:"topics,omitempty"`
	// Seed of the choice.
	Seed uint64 `json:"seed,omitempty"`
}

// Fate is what becomes of one webhook before it is sent.
type Fate struct {
	Dropped bool
	Delay   time.Duration
	Twice   bool
}

// Validate says what is wrong with the mishaps.
func (m Mishaps) Validate() error {
	for _, share := range []struct {
		name  string
		value float64
	}{{"drop", m.Drop}, {"late", m.Late}, {"twice", m.Twice}} {
		if share.value < 0 || share.value > 1 || math.IsNaN(share.value) {
			return fmt.Errorf("mishaps: %s is %v; want a share between 0 and 1", share.name, share.value)
		}
	}
	if m.Late == 0 && m.LateBy > 0 {
		return errors.New("mishaps: lateBy is given and late is 0; want the share of webhooks that are late")
	}
	return nil
}

// Fate decides about one webhook. It depends on the seed, the topic and the id alone, so that the same sales meet the same
// mishaps whatever goroutine sends what.
func (m Mishaps) Fate(topic, id string) Fate {
	if len(m.Topics) > 0 && !slices.Contains(m.Topics, topic) {
		return Fate{}
	}
	draw := func(what string) float64 {
		h := fnv.New64a()
		fmt.Fprintf(h, "%s\x00%s\x00%s", what, topic, id)
		return rand.New(rand.NewPCG(m.Seed, h.Sum64())).Float64()
	}
	if draw("drop") < m.Drop {
		return Fate{Dropped: true}
	}
	fate := Fate{Twice: draw("twice") < m.Twice}
	if draw("late") < m.Late {
		fate.Delay = m.LateBy.Std()
		if fate.Delay == 0 {
			fate.Delay = time.Minute
		}
	}
	return fate
}
