package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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
}

// BenchmarkIngest delivers signed webhooks of 4 KiB to the product's ingest, which has
// each on disk before it answers, on 32, 128 and 512 connections: of one connector and
// topic, and of 20 connectors with five topics each. Beside it, by turns, stands a bare
// net/http handler that reads the body, verifies the signature and keeps nothing, and
// JetStream's own client, publishing each message by itself and in atomic batches.
// Then half of the largest rate is sent, as an open loop, and four times the largest.
//
// Ingest, NATS and the bare handler are processes of their own; the roles behind ingest
// do not run, because their work would be measured too. BENCHTIME=10x measures ten
// rounds, of six seconds each.
func BenchmarkIngest(b *testing.B) {
	p := product(b)
	p.Without = true
	for i := range 20 {
		p.write(shopFile, shopName(i), "http://127.0.0.1:1")
	}
	p.start()
	address := strings.TrimPrefix(p.WebhookURL(""), "http://")
	address, _, _ = strings.Cut(address, "/")
	least := bare(b)
	client := newRaw(b, p.URL())
	one, many := newMail(b, 1, 1), newMail(b, 20, 5)
	many.next.Store(1 << 40) // no id is told twice
	rows := []*ingestRow{{connections: 32}, {connections: 128}, {connections: 512}}
	for _, target := range []string{least, address} {
		closed(b, target, many, 32) // code is paged in, connections are known
	}
	for b.Loop() {
		for _, row := range rows {
			row.bare.add(closed(b, least, one, row.connections))
			row.one.add(closed(b, address, one, row.connections))
			row.bare.add(closed(b, least, many, row.connections))
			row.many.add(closed(b, address, many, row.connections))
			row.alone.add(client.measure(row.connections, false, ingestSlice))
			row.batch.add(client.measure(row.connections, true, ingestSlice))
		}
	}
	b.StopTimer()
	used, err := p.Ingest(0)
	if err != nil {
		b.Fatal(err)
	}
	best := 0.0
	for _, row := range rows {
		row.report(b)
		best = max(best, row.one.rate(), row.many.rate())
	}
	missedf(b, used.Peak > ingestMemory, "ingest took %d MB with up to 512 connections, promised are %d", used.Peak>>20, ingestMemory>>20)
	b.ReportMetric(float64(used.Peak)/(1<<20), "peak-MB")
	half := open(b, address, many, best/2, 128, halfSpan, false)
	reportHalf(b, &half, best/2)
	over := open(b, address, many, 4*best, overConnections, overSpan, true)
	reportOver(b, &over, 4*best)
	if used, err = p.Ingest(0); err != nil {
		b.Fatal(err)
	}
	b.Logf("ingest took %d MB at most, and %v of processor time", used.Peak>>20, used.CPU)
}

func (r *ingestRow) report(b *testing.B) {
	b.Helper()
	b.Logf("%4d connections: bare %s", r.connections, figures(&r.bare))
	for _, shape := range []struct {
		name string
		sent *sent
	}{{"1 connector, 1 topic", &r.one}, {"20 connectors, 5 topics each", &r.many}} {
		ratio := shape.sent.rate() / r.bare.rate()
		b.Logf("%4d connections: %s: %s, %.2f of the bare handler", r.connections, shape.name, figures(shape.sent), ratio)
		missedf(b, ratio < ingestGoals[r.connections], "%.2f of the bare handler's rate at %d connections, promised is %.2f",
			ratio, r.connections, ingestGoals[r.connections])
		if shape.sent.lost > 0 || len(shape.sent.refusals) > 0 {
			b.Errorf("%d were lost (%v) and %d refused", shape.sent.lost, shape.sent.why, len(shape.sent.refusals))
		}
	}
	b.Logf("%4d at a time: JetStream alone, each by itself %s; in atomic batches %s", r.connections, figures(&r.alone), figures(&r.batch))
	ours := (r.one.rate() + r.many.rate()) / 2
	b.ReportMetric(ours, fmt.Sprintf("acks/s-%d", r.connections))
	b.ReportMetric(ours/r.bare.rate(), fmt.Sprintf("of-bare-%d", r.connections))
	b.ReportMetric(ours/r.alone.rate(), fmt.Sprintf("of-raw-%d", r.connections))
	b.ReportMetric(ours/r.batch.rate(), fmt.Sprintf("of-batches-%d", r.connections))
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

func reportHalf(b *testing.B, s *sent, rate float64) {
	b.Helper()
	b.Logf("half of the largest rate, %.0f/s: %s, %d refused, %d unsent", rate, figures(s), len(s.refusals), s.unsent)
	b.ReportMetric(float64(at(s.waits, 0.99))/float64(time.Millisecond), "half-p99-ms")
	missedf(b, at(s.waits, 0.99) > ingestHalf, "p99 is %v at half of the largest rate, promised is %v", at(s.waits, 0.99), ingestHalf)
	if s.lost > 0 {
		b.Errorf("%d were lost: %v", s.lost, s.why)
	}
}

func reportOver(b *testing.B, s *sent, rate float64) {
	b.Helper()
	offered := float64(len(s.waits)+len(s.refusals)+s.unsent) / overSpan.Seconds()
	b.Logf("four times the largest rate, %.0f/s, of which %.0f/s were due and %d found none of %d connections free: %s, %d refused at p99 %v, the longest waits %v and %v",
		rate, offered, s.unsent, overConnections, figures(s), len(s.refusals), at(s.refusals, 0.99), at(s.waits, 1), at(s.refusals, 1))
	longest := max(at(s.waits, 1), at(s.refusals, 1))
	b.ReportMetric(float64(longest)/float64(time.Millisecond), "overload-max-ms")
	missedf(b, longest > ingestWait, "a sender waited for %v at four times the largest rate, promised is %v", longest, ingestWait)
	if s.lost > 0 {
		b.Errorf("%d were lost: %v", s.lost, s.why)
	}
}

// missedf says so, and is no failure: on a machine that is busy with other things it
// tells nothing.
func missedf(b *testing.B, is bool, format string, args ...any) {
	b.Helper()
	if is {
		b.Logf("MISSED: "+format, args...)
	}
}
