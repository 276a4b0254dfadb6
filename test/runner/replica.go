package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// running returns all processes that are not meant to be dead.
func (p *Product) running() []*process {
	var all []*process
	for _, n := range p.nodes {
		if n.process != nil {
			all = append(all, n.process)
		}
	}
	living := func(some []*process) {
		for _, one := range some {
			if one != nil {
				all = append(all, one)
			}
		}
	}
	living(p.ingests)
	living(p.processes)
	living(p.replicas)
	return all
}

// Apply gives the files to a product whose roles run apart, and which does not watch
// them.
func (p *Product) Apply(ctx context.Context) error {
	arguments := append([]string{"apply", "-f", p.Files, "--nats", p.URL()}, p.topology()...)
	return p.command(ctx, append(arguments, p.identity("admin")...)...)
}

// command runs one of the product's commands to its end.
func (p *Product) command(ctx context.Context, arguments ...string) error {
	command, err := start(ctx, p.Binary, p.Log, arguments...)
	if err != nil {
		return err
	}
	<-command.ended
	if command.err != nil {
		return command.exit()
	}
	return nil
}

// topology is what apply is told of the streams. Each node of a cluster leads one of
// the ingest shards, so that the loss of one closes no door.
func (p *Product) topology() []string {
	if p.Nodes == 0 {
		return nil
	}
	copies := strconv.Itoa(p.Nodes)
	return []string{"--replicas", copies, "--ingest-shards", copies}
}

// Waiting asks the replicas, all of which must run, how much waits for a connector.
func (p *Product) Waiting(ctx context.Context, connector string) (int, error) {
	told, err := p.connectors(ctx, connector)
	most := 0
	for _, c := range told {
		most = max(most, c.Waiting)
	}
	return most, err
}

// Fed asks the replicas, all of which must run, how many connectors they feed.
func (p *Product) Fed(ctx context.Context) (int, error) {
	told, err := p.connectors(ctx)
	fed := 0
	for _, c := range told {
		if c.State == "STATE_RUNNING" {
			fed++
		}
	}
	return fed, err
}

// Owners asks the replicas, all of which must run, which of them feeds each connector.
func (p *Product) Owners(ctx context.Context) (map[string]string, error) {
	told, err := p.connectors(ctx)
	owners := make(map[string]string)
	for _, c := range told {
		owners[c.Name] = c.Owner
	}
	return owners, err
}

// Feeder asks the replicas which of them feeds a connector. It is -1 where none of
// those that run says that it does.
func (p *Product) Feeder(ctx context.Context, connector string) int {
	told, err := p.connectors(ctx, connector)
	if err != nil || len(told) != 1 {
		return -1
	}
	i := slices.Index(p.owners, told[0].Owner)
	if i >= 0 && p.replicas[i] == nil {
		return -1 // it died, and nobody has noticed yet
	}
	return i
}

type connector struct {
	Name    string `json:"name"`
	Owner   string `json:"owner"`
	State   string `json:"state"`
	Waiting int    `json:"waiting,string"`
}

// connectors asks about those that are named, or all.
func (p *Product) connectors(ctx context.Context, named ...string) ([]connector, error) {
	arguments := append([]string{"connectors", "-o", "json"}, named...)
	for _, address := range p.told {
		arguments = append(arguments, "--server", address)
	}
	data, err := exec.CommandContext(ctx, p.Binary, arguments...).Output()
	if err != nil {
		return nil, fmt.Errorf("peppasync connectors: %w", err)
	}
	var told struct {
		Connectors []connector `json:"connectors"`
	}
	if err := json.Unmarshal(data, &told); err != nil {
		return nil, fmt.Errorf("peppasync connectors: %w", err)
	}
	return told.Connectors, nil
}

// Usage is what a process has taken of the machine so far.
type Usage struct {
	CPU time.Duration
	// Memory is its resident size, Peak the largest so far, in bytes.
	Memory, Peak int64
}

// Dispatcher returns what a throttle-dispatcher that runs apart has used.
func (p *Product) Dispatcher(i int) (Usage, error) {
	replica, err := p.replica(i)
	if err != nil {
		return Usage{}, err
	}
	return replica.usage()
}

// StartReplica starts a throttle-dispatcher that is dead, under the name that it had
// before. It does not wait until it works.
func (p *Product) StartReplica(ctx context.Context, i int) error {
	if p.replicas[i] != nil {
		return fmt.Errorf("replica %d of the throttle-dispatcher runs", i)
	}
	for len(p.told) <= i {
		address, err := p.freeAddress(ctx)
		if err != nil {
			return err
		}
		p.owners = append(p.owners, fmt.Sprint("dispatcher-", len(p.told)))
		p.told = append(p.told, address)
	}
	known := p.nodes
	if p.Known > 0 {
		known = known[:p.Known]
	}
	arguments := append([]string{"throttle-dispatcher", "--owner", p.owners[i], "--grpc-listen", p.told[i]},
		p.flagsWith("throttle-dispatcher", urls(known))...)
	started, err := start(ctx, p.Binary, p.Log, arguments...)
	if err != nil {
		return err
	}
	p.replicas[i] = started
	return nil
}

// Owner returns the name of a throttle-dispatcher.
func (p *Product) Owner(i int) string { return p.owners[i] }

// RenameReplica lets a throttle-dispatcher that is dead start under a name that
// none had before, as in a place where each new process has a name of its own.
func (p *Product) RenameReplica(i int) {
	p.renamed++
	p.owners[i] = fmt.Sprintf("dispatcher-%d-%d", i, p.renamed)
}

// KillReplica ends a throttle-dispatcher at once, as kill -9 does.
func (p *Product) KillReplica(i int) error {
	replica, err := p.replica(i)
	if err != nil {
		return err
	}
	p.replicas[i] = nil
	return replica.kill()
}

// SuspendReplica stops a throttle-dispatcher in the middle of what it does, until
// ResumeReplica.
func (p *Product) SuspendReplica(i int) error { return p.signalReplica(i, syscall.SIGSTOP) }

// ResumeReplica lets it go on, as if no time had passed for it.
func (p *Product) ResumeReplica(i int) error { return p.signalReplica(i, syscall.SIGCONT) }

func (p *Product) signalReplica(i int, signal syscall.Signal) error {
	replica, err := p.replica(i)
	if err != nil {
		return err
	}
	return replica.signal(signal)
}

func (p *Product) replica(i int) (*process, error) {
	if p.replicas[i] == nil {
		return nil, fmt.Errorf("replica %d of the throttle-dispatcher is dead", i)
	}
	return p.replicas[i], nil
}
