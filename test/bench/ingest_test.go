package bench

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim/arrivals"
)

const (
	// ingestSlice is how long each figure is measured in a round: what is compared is
	// measured by turns, because a shared machine is another one every second.
	ingestSlice = 400 * time.Millisecond
	// halfSpan and overSpan are how long half of the largest rate, and four times as
	// much, are held.
	halfSpan = 2 * time.Second
	overSpan = 3 * time.Second
	// overConnections are enough to have four times too much under way, and fewer than
	// ingest takes.
	overConnections = 2000

	// What is promised: a share of what the bare handler does, by connections; how long
	// senders wait at half of the largest rate, and with far too many of them; and a
	// resident size.
	ingestHalf   = 20 * time.Millisecond
	ingestWait   = 5 * time.Second
	ingestMemory = 200 << 20
)

// ingestGoals are the shares by connections; for 512 nothing is promised.
var ingestGoals = map[int]float64{32: 0.50, 128: 0.60}

// ingestRow is what is measured with so many connections.
type ingestRow struct {
	connections                   int
	bare, one, many, alone, batch sent
	// Processor time of the sender and the bare handler, and of the sender, ingest and
	// NATS, for what they did of the above.
	bareCPU, oursCPU spent
}

// spent is processor time by who spent it.
type spent struct{ sender, receiver, nats time.Duration }

func (s *spent) add(from, to spent) {
	s.sender += to.sender - from.sender
	s.receiver += to.receiver - from.receiver
	s.nats += to.nats - from.nats
}

func (s spent) per(requests int) time.Duration {
	return (s.sender + s.receiver + s.nats) / time.Duration(max(requests, 1))
}

// ingestBench is the product, the bare handler and JetStream's client side by side.
type ingestBench struct {
	*files
	least     bareProcess
	address   string
	raw       *raw
	one, many *mail
	rows      []*ingestRow
}

// BenchmarkIngest delivers signed webhooks of 4 KiB to the product's ingest, which has
// each on disk before it answers, on 32, 128 and 512 connections: of one connector and
// topic, and of 20 connectors with five topics each. Beside it, by turns, stands a bare
// net/http handler that reads the body, verifies the signature and keeps nothing, and
// JetStream's own client, publishing each message by itself and in atomic batches.
// Then half of the largest rate is sent, as an open loop, and four times the largest.
//
// Ingest, NATS and the bare handler are processes of their own; the roles behind ingest
// do not run, because their work would be measured too. Beside the rates stands the
// processor time that a request took of all who had to do with it, which other work on
// the machine changes less. BENCHTIME=10x measures ten rounds, of seven seconds each.
func BenchmarkIngest(b *testing.B) {
	i := openIngest(b)
	for b.Loop() {
		for _, row := range i.rows {
			i.round(row)
		}
	}
	b.StopTimer()
	used, err := i.Ingest(0)
	if err != nil {
		b.Fatal(err)
	}
	var told verdict
	best, peak := 0.0, used.Peak
	for _, row := range i.rows {
		row.report(b, &told)
		best = max(best, row.one.rate(), row.many.rate())
	}
	told.missedf(peak > ingestMemory, "%d MB with up to 512 connections, promised are %d", peak>>20, ingestMemory>>20)
	b.ReportMetric(float64(peak)/(1<<20), "peak-MB")
	half := open(b, i.address, i.many, best/2, 128, halfSpan, false)
	reportHalf(b, &told, &half, best/2)
	over := open(b, i.address, i.many, 4*best, overConnections, overSpan, true)
	reportOver(b, &told, &over, 4*best)
	if used, err = i.Ingest(0); err != nil {
		b.Fatal(err)
	}
	told.linef("ingest took %d MB at most with up to 512 connections, and %d MB after that", peak>>20, used.Peak>>20)
	// Of a benchmark's log testing shows ten lines.
	fmt.Println(strings.Join(append(told.lines, told.misses...), "\n"))
}

func openIngest(b *testing.B) *ingestBench {
	b.Helper()
	p := product(b)
	p.Without = true
	for i := range 20 {
		p.write(shopFile, shopName(i), "http://127.0.0.1:1")
	}
	p.start()
	address, _, _ := strings.Cut(strings.TrimPrefix(p.WebhookURL(""), "http://"), "/")
	i := &ingestBench{
		files: p, least: bare(b), address: address, raw: newRaw(b, p.URL()), one: newMail(b, 1, 1), many: newMail(b, 20, 5),
		rows: []*ingestRow{{connections: 32}, {connections: 128}, {connections: 512}},
	}
	i.many.next.Store(1 << 40) // no id is told twice
	for _, target := range []string{i.least.address, i.address} {
		closed(b, target, i.many, 32) // code is paged in, connectors are known
	}
	return i
}

// round measures everything once.
func (i *ingestBench) round(row *ingestRow) {
	for _, shape := range []struct {
		mail *mail
		ours *sent
	}{{i.one, &row.one}, {i.many, &row.many}} {
		begun := i.spent(i.least.pid)
		row.bare.add(closed(i.b, i.least.address, shape.mail, row.connections))
		between := i.spent(i.least.pid)
		between.nats = begun.nats // which had nothing to do with it
		row.bareCPU.add(begun, between)
		begun = i.spent(0)
		shape.ours.add(closed(i.b, i.address, shape.mail, row.connections))
		row.oursCPU.add(begun, i.spent(0))
	}
	row.alone.add(i.raw.measure(row.connections, false, ingestSlice))
	row.batch.add(i.raw.measure(row.connections, true, ingestSlice))
}

// spent returns the processor time so far, the receiver being the process of that
// number, or ingest where it is 0.
func (i *ingestBench) spent(pid int) spent {
	i.b.Helper()
	var s spent
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		i.b.Fatal(err)
	}
	s.sender = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	nats, err := i.NATS()
	if err != nil {
		i.b.Fatal(err)
	}
	s.nats = nats.CPU
	used, err := i.Ingest(0)
	if pid != 0 {
		used, err = runner.UsageOf(pid)
	}
	if err != nil {
		i.b.Fatal(err)
	}
	s.receiver = used.CPU
	return s
}

func (r *ingestRow) report(b *testing.B, told *verdict) {
	b.Helper()
	told.linef("%4d connections: bare handler %s", r.connections, figures(&r.bare))
	for _, shape := range []struct {
		name string
		sent *sent
	}{{"1 connector x 1 topic", &r.one}, {"20 connectors x 5 topics", &r.many}} {
		ratio := shape.sent.rate() / r.bare.rate()
		told.linef("     ingest, %s: %s, %.2f of the bare handler", shape.name, figures(shape.sent), ratio)
		told.missedf(ratio < ingestGoals[r.connections], "%.2f of the bare handler's rate at %d connections, %s, promised is %.2f",
			ratio, r.connections, shape.name, ingestGoals[r.connections])
		if shape.sent.lost > 0 || len(shape.sent.refusals) > 0 {
			b.Errorf("%d were lost (%v) and %d refused", shape.sent.lost, shape.sent.why, len(shape.sent.refusals))
		}
	}
	bareEach, oursEach := r.bareCPU.per(len(r.bare.waits)), r.oursCPU.per(len(r.one.waits)+len(r.many.waits))
	told.linef("     processor time for each: bare %s; ingest %s; by that %.2f of the bare handler",
		r.bareCPU.each(len(r.bare.waits)), r.oursCPU.each(len(r.one.waits)+len(r.many.waits)), float64(bareEach)/float64(oursEach))
	told.linef("     JetStream alone, each by itself: %s; in atomic batches: %s", figures(&r.alone), figures(&r.batch))
	ours := (r.one.rate() + r.many.rate()) / 2
	b.ReportMetric(ours, fmt.Sprintf("acks/s-%d", r.connections))
	b.ReportMetric(ours/r.bare.rate(), fmt.Sprintf("of-bare-%d", r.connections))
	b.ReportMetric(float64(bareEach)/float64(oursEach), fmt.Sprintf("of-bare-CPU-%d", r.connections))
	b.ReportMetric(ours/r.alone.rate(), fmt.Sprintf("of-raw-%d", r.connections))
	b.ReportMetric(ours/r.batch.rate(), fmt.Sprintf("of-batches-%d", r.connections))
}

// each says what a request took of whom.
func (s spent) each(requests int) string {
	n := time.Duration(max(requests, 1))
	text := fmt.Sprintf("%v (sender %v, receiver %v", s.per(requests).Round(time.Microsecond),
		(s.sender / n).Round(time.Microsecond), (s.receiver / n).Round(time.Microsecond))
	if s.nats > 0 {
		text += fmt.Sprintf(", NATS %v", (s.nats / n).Round(time.Microsecond))
	}
	return text + ")"
}

func figures(s *sent) string {
	return fmt.Sprintf("%.0f/s, p50 %v, p99 %v", s.rate(), at(s.waits, 0.5), at(s.waits, 0.99))
}

// at returns a quantile, rounded to what can be told apart.
func at(waits []time.Duration, share float64) time.Duration {
	if len(waits) == 0 {
		return 0
	}
	slices.Sort(waits)
	return arrivals.Percentile(waits, share).Round(10 * time.Microsecond)
}

func reportHalf(b *testing.B, told *verdict, s *sent, rate float64) {
	b.Helper()
	told.linef("half of the largest rate, %.0f/s: %s, %d refused, %d unsent", rate, figures(s), len(s.refusals), s.unsent)
	b.ReportMetric(float64(at(s.waits, 0.99))/float64(time.Millisecond), "half-p99-ms")
	told.missedf(at(s.waits, 0.99) > ingestHalf, "p99 is %v at half of the largest rate, promised is %v", at(s.waits, 0.99), ingestHalf)
	if s.lost > 0 {
		b.Errorf("%d were lost: %v", s.lost, s.why)
	}
}

func reportOver(b *testing.B, told *verdict, s *sent, rate float64) {
	b.Helper()
	told.linef("four times the largest rate, %.0f/s, of which %d found none of %d connections free: %s, the longest %v; %d refused, p99 %v, the longest %v",
		rate, s.unsent, overConnections, figures(s), at(s.waits, 1), len(s.refusals), at(s.refusals, 0.99), at(s.refusals, 1))
	longest := max(at(s.waits, 1), at(s.refusals, 1))
	b.ReportMetric(float64(longest)/float64(time.Millisecond), "overload-max-ms")
	told.missedf(longest > ingestWait, "a sender waited for %v at four times the largest rate, promised is %v", longest, ingestWait)
	if s.lost > 0 {
		b.Errorf("%d were lost: %v", s.lost, s.why)
	}
}

// verdict is what is told at the end. What is missed is no failure: on a machine that is
// busy with other things it tells nothing.
type verdict struct{ lines, misses []string }

func (r *verdict) linef(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *verdict) missedf(is bool, format string, args ...any) {
	if is {
		r.misses = append(r.misses, "MISSED: "+fmt.Sprintf(format, args...))
	}
}
