package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// node is a NATS server that runs as a process of its own; process is nil while it
// is dead. Where it listens stays the same.
type node struct {
	data                   string
	client, route, monitor string
	process                *process
}

// startNATS starts the server, or all of them, and waits until they serve streams.
func (p *Product) startNATS(ctx context.Context) error {
	if len(p.nodes) == 0 {
		addresses, err := p.freeAddresses(ctx, 3*max(p.Nodes, 1))
		if err != nil {
			return err
		}
		for i := range max(p.Nodes, 1) {
			n := &node{data: p.Data, client: addresses[3*i], route: addresses[3*i+1], monitor: addresses[3*i+2]}
			if p.Nodes > 0 {
				n.data = filepath.Join(p.Data, strconv.Itoa(i))
			}
			p.nodes = append(p.nodes, n)
		}
	}
	if p.Secured {
		// As often as it starts: what is there stays.
		if err := p.command(ctx, "bootstrap", "--dir", p.security(), "--host", "127.0.0.1"); err != nil {
			return err
		}
	}
	for i := range p.nodes {
		if err := p.StartNode(ctx, i); err != nil {
			return err
		}
	}
	return p.InSync(ctx)
}

// StartNode starts a NATS server that is dead, on its data. It does not wait until it
// works.
func (p *Product) StartNode(ctx context.Context, i int) error {
	n := p.nodes[i]
	if n.process != nil {
		return fmt.Errorf("node %d of NATS runs", i)
	}
	arguments := []string{"nats", "--data", n.data, "--listen", n.client, "--monitor-listen", n.monitor}
	if p.Nodes > 0 {
		arguments = append(arguments, "--cluster", "orders", "--name", member(i), "--cluster-listen", n.route, "--routes", p.routes())
	}
	if p.Secured {
		arguments = append(arguments, "--security", p.security())
	}
	started, err := start(ctx, p.Binary, p.Log, arguments...)
	if err != nil {
		return err
	}
	n.process = started
	return nil
}

// security is the folder of certificates and keys of a product that is Secured.
func (p *Product) security() string { return p.Data + ".security" }

// identity is how one of the users signs in, no flags where everybody may.
func (p *Product) identity(user string) []string {
	if !p.Secured {
		return nil
	}
	return []string{"--nats-ca", filepath.Join(p.security(), "ca", "ca.crt"), "--nats-nkey", filepath.Join(p.security(), user, "nkey")}
}

func member(i int) string { return fmt.Sprint("node-", i) }

func (p *Product) routes() string {
	var routes []string
	for _, n := range p.nodes {
		routes = append(routes, n.route)
	}
	return strings.Join(routes, ",")
}

// KillNode ends a NATS server at once, as kill -9 does.
func (p *Product) KillNode(i int) error {
	n := p.nodes[i]
	if n.process == nil {
		return fmt.Errorf("node %d of NATS is dead", i)
	}
	killed := n.process
	n.process = nil
	return killed.kill()
}

// InSync waits until all NATS servers run and have all that they should have, and
// know who leads it.
func (p *Product) InSync(ctx context.Context) error {
	for i, n := range p.nodes {
		err := p.await(ctx, member(i)+" of NATS is in sync", func() bool {
			if !answers(ctx, "http://"+n.monitor+"/healthz") {
				return false
			}
			leaders, err := n.leaders(ctx)
			return err == nil && (p.Nodes == 0 || !slices.Contains(slices.Collect(maps.Values(leaders)), Nobody))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Nobody leads what has no leader at the moment.
const Nobody = -1

// Leaders returns which node leads each stream, by its name, and each of its
// consumers, by "stream/consumer", as a node that runs sees it; or Nobody.
func (p *Product) Leaders(ctx context.Context) (map[string]int, error) {
	for _, n := range p.nodes {
		if n.process != nil {
			return n.leaders(ctx)
		}
	}
	return nil, errors.New("no node of NATS runs")
}

func (n *node) leaders(ctx context.Context) (map[string]int, error) {
	var told struct {
		Accounts []struct {
			Streams []struct {
				Name      string  `json:"name"`
				Cluster   cluster `json:"cluster"`
				Consumers []struct {
					Name    string  `json:"name"`
					Cluster cluster `json:"cluster"`
				} `json:"consumer_detail"`
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := get(ctx, "http://"+n.monitor+"/jsz?streams=1&consumers=1", &told); err != nil {
		return nil, err
	}
	leaders := make(map[string]int)
	for _, account := range told.Accounts {
		for _, stream := range account.Streams {
			leaders[stream.Name] = stream.Cluster.leader()
			for _, consumer := range stream.Consumers {
				leaders[stream.Name+"/"+consumer.Name] = consumer.Cluster.leader()
			}
		}
	}
	return leaders, nil
}

// cluster is who has copies of something.
type cluster struct {
	Leader string `json:"leader"`
}

func (c cluster) leader() int {
	var i int
	if _, err := fmt.Sscanf(c.Leader, "node-%d", &i); err != nil {
		return Nobody
	}
	return i
}

func get(ctx context.Context, address string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// NATS returns what the server has used, where it is a process of its own; of a
// cluster the first.
func (p *Product) NATS() (Usage, error) {
	if len(p.nodes) == 0 || p.nodes[0].process == nil {
		return Usage{}, errors.New("NATS does not run as a process of its own")
	}
	return p.nodes[0].process.usage()
}

// URL returns where NATS listens, where it is a process of its own: all of its
// servers. Else where that of an all-in-one does that is Watched.
func (p *Product) URL() string {
	if !p.Apart {
		return p.served
	}
	return urls(p.nodes)
}

func urls(nodes []*node) string {
	var urls []string
	for _, n := range nodes {
		urls = append(urls, "nats://"+n.client)
	}
	return strings.Join(urls, ",")
}

// monitors returns where all servers tell how they do.
func (p *Product) monitors() string {
	var all []string
	for _, n := range p.nodes {
		all = append(all, "http://"+n.monitor)
	}
	return strings.Join(all, ",")
}
