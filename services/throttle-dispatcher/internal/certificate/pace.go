package certificate

import "time"

const (
	slots = 60
	// shortestSpan is the least time that a pace is measured over.
	shortestSpan = time.Minute
	// latencyShare is the weight of a reply in the mean of reply times.
	latencyShare = 1.0 / 16
)

// pace measures over the last span: how fast calls followed each other while
// others waited, and how many calls a delivery took.
type pace struct {
	span int64
	ring [slots]slot
	// Of the call before.
	sent    int64
	waiting bool

	latency float64
	// cost and spent are the mean of what the latest calls were reserved for and did
	// cost; 0 before the first.
	cost, spent float64
}

// slot is a share of the span; number says which, counted from 1970.
type slot struct {
	number int64
	gaps   int
	length int64
	calls  int
	closes int
	// counted calls were reserved for cost and did cost spent, in all.
	counted     int
	cost, spent int64
}

// setSpan forgets what was measured over another one.
func (p *pace) setSpan(limits []Limit) {
	span := int64(0)
	for _, l := range limits {
		if l.Per > 0 && (span == 0 || int64(l.Per) < span) {
			span = int64(l.Per)
		}
	}
	span = max(span, int64(shortestSpan))
	if span != p.span {
		*p = pace{span: span, latency: p.latency, cost: p.cost, spent: p.spent}
	}
}

func (p *pace) slot(t int64) *slot {
	number := t / (p.span / slots)
	s := &p.ring[uint64(number)%slots] //nolint:gosec // only the remainder counts
	if s.number < number {
		*s = slot{number: number}
	}
	return s
}

// add takes a call. The gap before it counts where a delivery waited in it.
func (p *pace) add(c *call) {
	if gap := c.sent - p.sent; p.waiting && gap >= 0 && gap <= p.span {
		s := p.slot(c.sent)
		s.gaps++
		s.length += gap
	}
	s := p.slot(c.sent)
	s.counted++
	s.cost += c.cost
	s.spent += c.spent
	p.sent, p.waiting = c.sent, c.waiting
	if c.state != settled {
		return
	}
	from := c.sent
	if c.issued != 0 {
		from = c.issued
	}
	took := float64(max(c.ended-from, 0))
	if p.latency == 0 {
		p.latency = took
	}
	p.latency += (took - p.latency) * latencyShare
}

// block takes what a block of the log says of deliveries.
func (p *pace) block(at int64, calls, closes int) {
	s := p.slot(at)
	s.calls += calls
	s.closes += closes
}

// last sums up the span that ends now.
func (p *pace) last(now int64) slot {
	var sum slot
	newest := now / (p.span / slots)
	for _, s := range &p.ring {
		if s.number <= newest-slots || s.number > newest {
			continue
		}
		sum.gaps += s.gaps
		sum.length += s.length
		sum.calls += s.calls
		sum.closes += s.closes
		sum.counted += s.counted
		sum.cost += s.cost
		sum.spent += s.spent
	}
	return sum
}
