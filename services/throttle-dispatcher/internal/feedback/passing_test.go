package feedback_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
)

func TestWhoseTroubleARefusalIs(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 11, 28, 14, 47, second, 0, time.UTC) }
	type happening func(p *feedback.Passing, r *feedback.OwnRefusals) feedback.Refusal
	refused := func(second int) happening {
		return func(p *feedback.Passing, r *feedback.OwnRefusals) feedback.Refusal {
			return p.Refused(r, at(second), "put")
		}
	}
	passed := func(kind string, second int) happening {
		return func(p *feedback.Passing, _ *feedback.OwnRefusals) feedback.Refusal {
			p.Passed(kind, at(second))
			return feedback.Refusal{}
		}
	}
	another := func(second int) happening {
		return func(p *feedback.Passing, _ *feedback.OwnRefusals) feedback.Refusal {
			return p.Refused(&feedback.OwnRefusals{}, at(second), "put")
		}
	}
	cases := map[string]struct {
		happens []happening
		want    feedback.Refusal
	}{
		"the first is the account's":                  {[]happening{passed("put", 1), refused(2)}, feedback.Refusal{Times: 1}},
		"nobody else was asked":                       {[]happening{refused(1), refused(2)}, feedback.Refusal{Times: 2}},
		"others pass since":                           {[]happening{refused(1), passed("put", 2), refused(3)}, feedback.Refusal{Alone: true, Passed: true, Times: 2}},
		"what passes was sent before":                 {[]happening{refused(2), passed("put", 1), refused(3)}, feedback.Refusal{Times: 2}},
		"calls of another kind pass":                  {[]happening{refused(1), passed("read", 2), refused(3)}, feedback.Refusal{Times: 2}},
		"others passed, but not since the latest":     {[]happening{refused(1), passed("put", 2), refused(3), refused(4)}, feedback.Refusal{Alone: true, Times: 3}},
		"another was refused after those that passed": {[]happening{refused(1), passed("put", 2), another(3), refused(4)}, feedback.Refusal{Times: 2}},
		"another was refused, and others pass again": {
			[]happening{refused(1), another(2), passed("put", 3), refused(4)}, feedback.Refusal{Alone: true, Passed: true, Times: 2},
		},
		"together with another that is alone, too": {
			[]happening{refused(1), passed("put", 2), func(p *feedback.Passing, _ *feedback.OwnRefusals) feedback.Refusal {
				other := &feedback.OwnRefusals{}
				p.Refused(other, at(3), "put")
				p.Passed("put", at(4))
				return p.Refused(other, at(5), "put")
			}, refused(6)}, feedback.Refusal{Times: 2},
		},
		"another that is bad alone changes nothing": {
			[]happening{refused(1), passed("put", 2), func(p *feedback.Passing, _ *feedback.OwnRefusals) feedback.Refusal {
				other := &feedback.OwnRefusals{}
				p.Refused(other, at(3), "put") // the first of the other
				p.Passed("put", at(4))
				return p.Refused(other, at(5), "put")
			}, passed("put", 6), refused(7)}, feedback.Refusal{Alone: true, Passed: true, Times: 2},
		},
		"the account throttled a question": {[]happening{refused(1), passed("put", 2), func(p *feedback.Passing, _ *feedback.OwnRefusals) feedback.Refusal {
			p.Throttled(at(3))
			return feedback.Refusal{}
		}, refused(4)}, feedback.Refusal{Times: 2}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var p feedback.Passing
			var r feedback.OwnRefusals
			var got feedback.Refusal
			for _, happens := range c.happens {
				got = happens(&p, &r)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("the last refusal (-want +got):\n%s", diff)
			}
		})
	}
}

// One that is always refused is surely so after four refusals; where an account refuses
// any share of the calls by chance, hardly a delivery is.
func TestChanceIsRuledOut(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	now := time.Date(2026, 11, 28, 14, 47, 0, 0, time.UTC)
	const deliveries, between = 50_000, 9
	for _, share := range []float64{0.02, 0.1, 0.2, 0.34, 0.6} {
		surely, held := 0, 0
		for range deliveries {
			var p feedback.Passing
			var r feedback.OwnRefusals
			for attempts := 0; random.Float64() < share; {
				now = now.Add(time.Second)
				refusal := p.Refused(&r, now, "put")
				if refusal.Surely {
					surely++
					break
				}
				if refusal.Passed {
					attempts++
				}
				if attempts == 12 {
					held++
					break
				}
				for range between {
					now = now.Add(time.Second)
					if random.Float64() < share {
						p.Refused(&feedback.OwnRefusals{}, now, "put")
					} else {
						p.Passed("put", now)
					}
				}
			}
		}
		t.Logf("of %d deliveries, %.0f%% of the calls refused: %d surely, %d held", deliveries, 100*share, surely, held)
		if surely > deliveries/20_000 || held > 0 {
			t.Errorf("%.0f%% refused by chance: %d deliveries count as refused for themselves, and %d are held", 100*share, surely, held)
		}
	}
	var p feedback.Passing
	var r feedback.OwnRefusals
	for n := 1; ; n++ {
		now = now.Add(time.Second)
		if p.Refused(&r, now, "put").Surely {
			if n > 4 {
				t.Errorf("sure after %d refusals with nine calls that pass between them, want 4", n)
			}
			return
		}
		for range between {
			now = now.Add(time.Second)
			p.Passed("put", now)
		}
	}
}
