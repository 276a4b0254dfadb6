package runner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// StartIngest starts an ingest that is dead, where it listened before. It does not wait
// until it works.
func (p *Product) StartIngest(ctx context.Context, i int) error {
	if p.ingests[i] != nil {
		return fmt.Errorf("ingest %d runs", i)
	}
	for len(p.doors) <= i {
		address := p.listen
		if len(p.doors) > 0 {
			var err error
			if address, err = p.freeAddress(ctx); err != nil {
				return err
			}
		}
		p.doors = append(p.doors, address)
	}
	arguments := append([]string{"ingest", "--listen", p.doors[i]}, p.flags("ingest")...)
	if p.Without {
		arguments = append(arguments, "--nats-monitor", p.monitors())
	}
	if p.Watched && i == 0 {
		measured, err := p.measure(ctx)
		if err != nil {
			return err
		}
		arguments = append(arguments, "--metrics-listen", measured)
	}
	started, err := start(ctx, p.Binary, p.Log, arguments...)
	if err != nil {
		return err
	}
	p.ingests[i] = started
	return nil
}

// KillIngest ends an ingest at once, as kill -9 does.
func (p *Product) KillIngest(i int) error {
	killed := p.ingests[i]
	if killed == nil {
		return fmt.Errorf("ingest %d is dead", i)
	}
	p.ingests[i] = nil
	return killed.kill()
}

// Ingest returns what an ingest that runs apart has used.
func (p *Product) Ingest(i int) (Usage, error) {
	if p.ingests[i] == nil {
		return Usage{}, fmt.Errorf("ingest %d is dead", i)
	}
	return p.ingests[i].usage()
}

// measure returns where metrics are served, always the same.
func (p *Product) measure(ctx context.Context) (string, error) {
	if p.measured == "" {
		address, err := p.freeAddress(ctx)
		if err != nil {
			return "", err
		}
		p.measured = address
	}
	return p.measured, nil
}

// IngestReady says whether an ingest that runs apart stores webhooks, by its own word.
func (p *Product) IngestReady(ctx context.Context, i int) bool {
	return answers(ctx, "http://"+p.doors[i]+"/readyz")
}

// IngestURL returns where a connector's webhooks go at one of the ingests.
func (p *Product) IngestURL(i int, connector string) string {
	return "http://" + p.doors[i] + "/v1/webhooks/" + connector
}

// Metric returns what a product that is Watched tells of one of its figures, such as
// go_goroutines, the sum where it has labels: the all-in-one, or apart the first ingest.
func (p *Product) Metric(ctx context.Context, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.measured+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var sum float64
	found := false
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		labels, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || labels == "" || !strings.ContainsAny(labels[:1], " {") {
			continue // or a longer name
		}
		value, err := strconv.ParseFloat(labels[strings.LastIndexByte(labels, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %q: %w", lines.Text(), err)
		}
		sum += value
		found = true
	}
	if err := lines.Err(); err != nil || !found {
		return 0, errors.Join(fmt.Errorf("no %s among the metrics of %s", name, p.measured), err)
	}
	return sum, nil
}
