package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// startTimeout is how long the product may take to be ready or to stop, on a
// slow machine and with a data folder that was left by a kill.
const startTimeout = 60 * time.Second

// Product is the product as a user runs it: the all-in-one, or each role as a
// process of its own. It is not safe for concurrent use.
type Product struct {
	// Binary, Files, Secrets and Data are paths.
	Binary, Files, Secrets, Data string
	// Arguments are further flags of "up", or of each role.
	Arguments []string
	// Apart runs NATS and each role as processes of their own.
	Apart bool
	// Secured has NATS speak TLS and each role sign in, apart, with a key of its own that
	// may do on the bus what the role does.
	Secured bool
	// Without leaves the roles behind ingest out, apart: what is taken in stays as it
	// is.
	Without bool
	// Nodes is how many NATS servers make a cluster, apart; 0 for one by itself.
	Nodes int
	// Known is how many of them each throttle-dispatcher is told of, the first ones; 0
	// for all. It learns of the others from those.
	Known int
	// Replicas is how many throttle-dispatchers run apart, Ingests how many ingests; 0
	// for one.
	Replicas, Ingests int
	// Watched has the all-in-one serve its NATS and its metrics on loopback, for URL
	// and Metric; apart, the first ingest its metrics.
	Watched bool
	// Log receives what the processes write.
	Log io.Writer

	listen string
	// served and measured are where NATS and metrics are served by one that is Watched.
	served, measured string
	// given are the addresses that it has been given.
	given     []string
	nodes     []*node
	processes []*process
	// ingests are those that run apart, nil where one is dead; doors is where each
	// listens, listen the first.
	ingests []*process
	doors   []string
	// replicas are the throttle-dispatchers that run apart, nil where one is dead.
	replicas []*process
	// told is where each of them tells about its connectors, owners its name.
	told, owners []string
	renamed      int
}

// roles are the processes of their own beside ingest and the
// throttle-dispatchers.
var roles = []string{"logic-gate", "inventory-reconciler", "notifier"}

// Start runs the product and waits until it takes webhooks. After a Kill or
// Stop it listens where it listened before, so that senders find it again.
// After an error nothing runs.
func (p *Product) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("the product was not ready within %v", startTimeout))
	defer cancel()
	if p.listen == "" {
		address, err := p.freeAddress(ctx)
		if err != nil {
			return err
		}
		p.listen = address
	}
	begin := p.together
	if p.Apart {
		begin = p.apart
	}
	if err := begin(ctx); err != nil {
		return errors.Join(err, p.Kill())
	}
	return nil
}

func (p *Product) together(ctx context.Context) error {
	arguments := append([]string{
		"up", "-f", p.Files, "--secrets-dir", p.Secrets, "--data", p.Data, "--listen", p.listen,
	}, p.Arguments...)
	if p.Watched {
		measured, err := p.measure(ctx)
		if err != nil {
			return err
		}
		arguments = append(arguments, "--nats-listen", "127.0.0.1:0", "--metrics-listen", measured)
	}
	var addresses struct {
		Webhooks string `json:"webhooks"`
		NATS     string `json:"nats"`
	}
	if err := p.ready(ctx, &addresses, arguments...); err != nil {
		return err
	}
	p.listen, p.served = strings.TrimPrefix(addresses.Webhooks, "http://"), addresses.NATS
	return nil
}

func (p *Product) apart(ctx context.Context) error {
	if err := p.startNATS(ctx); err != nil {
		return err
	}
	if err := p.Apply(ctx); err != nil {
		return err
	}
	p.ingests = make([]*process, max(p.Ingests, 1))
	for i := range p.ingests {
		if err := p.StartIngest(ctx, i); err != nil {
			return err
		}
	}
	if !p.Without {
		if err := p.behind(ctx); err != nil {
			return err
		}
	}
	for i := range p.ingests {
		if err := p.await(ctx, "ingest is ready", func() bool { return p.IngestReady(ctx, i) }); err != nil {
			return err
		}
	}
	return nil
}

// behind starts the roles behind ingest.
func (p *Product) behind(ctx context.Context) error {
	for _, role := range roles {
		started, err := start(ctx, p.Binary, p.Log, append([]string{role}, p.flags(role)...)...)
		if err != nil {
			return err
		}
		p.processes = append(p.processes, started)
	}
	p.replicas = make([]*process, max(p.Replicas, 1))
	for i := range p.replicas {
		if err := p.StartReplica(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// flags are those of a role that runs apart.
func (p *Product) flags(role string) []string {
	return p.flagsWith(role, p.URL())
}

func (p *Product) flagsWith(role, nats string) []string {
	flags := append([]string{"--nats", nats, "--secrets-dir", p.Secrets}, p.identity(role)...)
	return append(flags, p.Arguments...)
}

// ready starts a process and reads the file that it writes when it is ready.
func (p *Product) ready(ctx context.Context, addresses any, arguments ...string) error {
	file := filepath.Join(filepath.Dir(p.Data), "ready.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	started, err := start(ctx, p.Binary, p.Log, append(arguments, "--ready-file", file)...)
	if err != nil {
		return err
	}
	p.processes = append(p.processes, started)
	var data []byte
	err = p.await(ctx, arguments[0]+" is ready", func() bool {
		data, err = os.ReadFile(file)
		return err == nil
	})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, addresses); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// await waits for the condition, and no longer than the product runs.
func (p *Product) await(ctx context.Context, what string, condition func() bool) error {
	exited := false
	err := Until(ctx, 10*time.Millisecond, what, func() bool {
		exited, _ = p.Exited()
		return exited || condition()
	})
	if exited {
		_, err = p.Exited()
		return fmt.Errorf("the product ended before %s: %w", what, err)
	}
	return err
}

func answers(ctx context.Context, address string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// freeAddress returns an address of loopback that nobody listens on.
func (p *Product) freeAddress(ctx context.Context) (string, error) {
	addresses, err := p.freeAddresses(ctx, 1)
	if err != nil {
		return "", err
	}
	return addresses[0], nil
}

// freeAddresses returns several, none of which this product has been given before: it
// may not listen there yet. Their ports lie below those
// that the system gives to outgoing connections: one of them could take it while the
// product is down, and a sender that calls a port of that range when nobody listens
// may be connected to itself.
func (p *Product) freeAddresses(ctx context.Context, count int) ([]string, error) {
	var config net.ListenConfig
	var found []net.Listener // open until all are found, so that none is found twice
	var last error
	for try := 0; try < 100 && len(found) < count; try++ {
		listener, err := config.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err != nil {
			last = err
			continue
		}
		if address := listener.Addr().String(); slices.Contains(p.given, address) {
			last = fmt.Errorf("%s is given already", address)
			_ = listener.Close()
			continue
		}
		found = append(found, listener)
	}
	var addresses []string
	for _, listener := range found {
		addresses = append(addresses, listener.Addr().String())
		if err := listener.Close(); err != nil {
			return nil, err
		}
	}
	if len(found) < count {
		return nil, fmt.Errorf("no %d free ports: %w", count, last)
	}
	p.given = append(p.given, addresses...)
	return addresses, nil
}

// WebhookURL returns where a connector's webhooks go.
func (p *Product) WebhookURL(connector string) string {
	return "http://" + p.listen + "/v1/webhooks/" + connector
}

// Doom sends to all processes what ends them at once, and does not wait for it: one that
// waits for a disk ends only when the disk answers. Kill waits.
func (p *Product) Doom() error {
	var failed error
	for _, running := range p.running() {
		failed = errors.Join(failed, running.signal(os.Kill))
	}
	return failed
}

// Kill ends all processes at once, as kill -9 does.
func (p *Product) Kill() error {
	failed := p.Doom()
	for _, running := range p.running() {
		failed = errors.Join(failed, running.kill())
	}
	p.forget()
	return failed
}

// forget takes all processes for dead.
func (p *Product) forget() {
	p.processes, p.ingests, p.replicas = nil, nil, nil
	for _, n := range p.nodes {
		n.process = nil
	}
}

// Stop asks the processes to end, NATS as the last, and returns how they ended
// where that was not well.
func (p *Product) Stop() error {
	var failed error
	for _, running := range slices.Backward(p.running()) {
		failed = errors.Join(failed, running.stop())
	}
	p.forget()
	return failed
}

// Exited reports whether a process has ended by itself, and how, as an error in
// any case. After a Kill or Stop none has.
func (p *Product) Exited() (bool, error) {
	for _, running := range p.running() {
		select {
		case <-running.ended:
			return true, running.exit()
		default:
		}
	}
	return false, nil
}

// PeakMemory returns the largest resident size of the running processes so far,
// each by itself, in sum, in bytes.
func (p *Product) PeakMemory() (int64, error) {
	if len(p.processes) == 0 {
		return 0, errors.New("the product is not running")
	}
	var sum int64
	for _, running := range p.running() {
		peak, err := running.peakMemory()
		if err != nil {
			return 0, err
		}
		sum += peak
	}
	return sum, nil
}
