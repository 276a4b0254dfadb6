package throttledispatcher

import "time"

const (
	// blockHorizon is how far ahead send times are handed out. What a crash leaves
	// unused of it is lost to the pace, and what is claimed no longer follows its
	// order's edits, so it is short; each block costs an fsync, so it is not
	// shorter.
	blockHorizon = 400 * time.Millisecond
	// blockLead is how long before the next send time its block is begun. A send
	// time that passes before it is handed out is lost to the pace, so the lead
	// covers a stall of the process or of the disk.
	blockLead = 250 * time.Millisecond
	// flushEvery bounds how often closes alone cause a block.
	flushEvery = 40 * time.Millisecond
	// replyOnRecord is how old the newest reply on record may be. An owner who takes
	// over tells from replies how long calls are worked on of which it has no
	// settlement; without one each of them counts until its deadline, and a crash
	// with as many handed out as may run at once is half a minute without a call.
	replyOnRecord = time.Second
	// longestStall bounds how far ahead slow blocks make the worker look.
	longestStall = 300 * time.Millisecond
	// waitedLong is from when on a call that was late has waited for a connection
	// rather than for the processor.
	waitedLong = 20 * time.Millisecond
	// crowdedFor is how long after the last sign of it the connections count as too
	// few for the pace.
	crowdedFor = time.Second
)

// stalls follows how long blocks take to be bound and stored. While they take
// long, they are begun earlier and reach further, so that the pace goes on
// meanwhile. Its zero value has seen none.
type stalls struct{ worst time.Duration }

// note takes in how long a block took. The worst of the last minute or so counts:
// at some ten blocks a second it is halved in 10 s.
func (s *stalls) note(took time.Duration) {
	s.worst = max(min(took, longestStall), s.worst-s.worst/128)
}

func (s *stalls) lead() time.Duration    { return blockLead + s.worst }
func (s *stalls) horizon() time.Duration { return blockHorizon + 2*s.worst }
func (s *stalls) flush() time.Duration   { return flushEvery + s.worst }

// ahead returns how many permits may be out beside those of calls that are under way,
// which the transport bounds: those that wait for their send time. They are a block's,
// or what the pace makes of the horizon.
func (w *worker) ahead() int {
	limits := w.budget.Limits()
	gap := limits.Gap() // of the whole pace
	if gap == 0 {
		return maxPerBlock
	}
	return max(maxPerBlock, int((blockHorizon+2*longestStall)/gap))
}

// sent takes in that a call is under way, or would be if there were room.
func (w *worker) sent(i issue) {
	if i.short {
		w.parallel.short(time.Now())
		return
	}
	w.budget.Issued(i.number, i.at)
	at, ok := w.unsent[i.number]
	delete(w.unsent, i.number)
	w.parallel.sees(i.at, w.client.UnderWay())
	if ok {
		w.leftAt[i.number] = i.at
	}
	if ok && (w.underWay() == 1 || !w.silence.askedSince.After(w.silence.heardAt)) {
		w.silence.askedSince = i.at
	}
	if ok && i.at.Sub(at) > waitedLong && i.at.Before(w.crowdedUntil) && w.underWay() >= w.slots(i.at) {
		w.crowdedUntil = i.at.Add(crowdedFor)
	}
}

// full reports whether as many calls are under way as can be, those that were cut off
// a moment ago included. Those that wait for room hold connections, so that further
// ones find none.
func (w *worker) full() bool {
	return max(w.underWay(), w.client.UnderWay()) >= min(w.connections, w.parallel.allowed)
}

// slots returns how many calls can be under way, or could as soon as they are needed.
func (w *worker) slots(now time.Time) int {
	if w.mayWiden(now) {
		return w.connections
	}
	return w.parallel.allowed
}

// room returns how many send times may be handed out. Where the system is so slow
// that connections bound the rate and not the pace, one call waits for the next
// free connection; more would let their time pass.
func (w *worker) room(now time.Time) int {
	due := 0
	for _, at := range w.unsent {
		if !now.Before(at) {
			due++
		}
	}
	if due > 1 && w.underWay() >= w.slots(now) {
		w.crowdedUntil = now.Add(crowdedFor)
	}
	if now.Before(w.crowdedUntil) {
		return max(0, w.slots(now)+1-w.flying)
	}
	return maxPerBlock
}
