package faults

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/peppasync/peppasync/test/sim/jsontime"
)

// Distribution names how reply times spread.
type Distribution string

// The distributions of reply times.
const (
	Fixed   Distribution = "fixed"   // always Min
	Uniform Distribution = "uniform" // between Min and Max
	Pareto  Distribution = "pareto"  // heavy-tailed: at least Min, cut at Max, tail index Shape
)

// Latency is how long a system takes before a call takes effect. The zero value is no time at all.
type Latency struct {
	Distribution Distribution      `json:"distribution,omitempty"`
	Min          jsontime.Duration `json:"min,omitempty"`
	Max          jsontime.Duration `json:"max,omitempty"`
	// Shape is the tail index of Pareto; smaller is heavier. 1.5 when not given.
	Shape float64 `json:"shape,omitempty"`
}

// Validate says what is wrong with the latency.
func (l Latency) Validate() error {
	switch l.Distribution {
	case "", Fixed:
		return nil
	case Uniform, Pareto:
		if l.Max < l.Min {
			return fmt.Errorf("latency %s: max %v is below min %v", l.Distribution, l.Max.Std(), l.Min.Std())
		}
		if l.Distribution == Pareto && l.Min == 0 {
			return errors.New("latency pareto: min must be above zero, it is the scale of the distribution")
		}
		if l.Shape < 0 {
			return fmt.Errorf("latency %s: shape %v is negative", l.Distribution, l.Shape)
		}
		return nil
	}
	return fmt.Errorf("latency distribution %q is unknown; want fixed, uniform or pareto", l.Distribution)
}

// at returns the reply time at the share u in [0, 1) of the distribution (its inverse).
func (l Latency) at(u float64) time.Duration {
	switch l.Distribution {
	case Uniform:
		return l.Min.Std() + time.Duration(u*float64(l.Max-l.Min))
	case Pareto:
		shape := l.Shape
		if shape == 0 {
			shape = 1.5
		}
		heavy := float64(l.Min) / math.Pow(1-u, 1/shape)
		return time.Duration(min(heavy, float64(l.Max)))
	default:
		return l.Min.Std()
	}
}
