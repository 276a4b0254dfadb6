// Package fleet asks every replica of the throttle-dispatcher about its connectors.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
)

// Fleet is the replicas behind some names. One goroutine asks at a time.
type Fleet struct {
	servers []string
	conns   map[string]*grpc.ClientConn
}

// New returns a fleet of these servers, a host and a port each; a host name stands for all
// of its addresses.
func New(servers []string) *Fleet {
	return &Fleet{servers: servers, conns: map[string]*grpc.ClientConn{}}
}

// Close ends the connections.
func (f *Fleet) Close() {
	for _, conn := range f.conns {
		_ = conn.Close()
	}
	clear(f.conns)
}

// Ask returns each connector as told by the replica that feeds it; those that no replica
// feeds are absent. Replicas that do not answer until ctx is done are in the error, beside
// what the others tell.
func (f *Fleet) Ask(ctx context.Context) (map[string]*dispatcherv1.Connector, error) {
	addresses, failed := f.addresses(ctx)
	var mu sync.Mutex
	var asking sync.WaitGroup
	told := map[string]*dispatcherv1.Connector{}
	for _, address := range addresses {
		client, err := f.client(address)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		asking.Go(func() {
			reply, err := client.ListConnectors(ctx, &dispatcherv1.ListConnectorsRequest{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("the throttle-dispatcher at %s: %s", address, status.Convert(err).Message()))
				return
			}
			for _, c := range reply.GetConnectors() {
				if before := told[c.GetName()]; rank(c) > 0 && (before == nil || better(c, before)) {
					told[c.GetName()] = c
				}
			}
		})
	}
	asking.Wait()
	f.forget(addresses)
	return told, failed
}

// forget closes the connections to replicas that are gone.
func (f *Fleet) forget(addresses []string) {
	there := make(map[string]bool, len(addresses))
	for _, address := range addresses {
		there[address] = true
	}
	for address, conn := range f.conns {
		if !there[address] {
			_ = conn.Close()
			delete(f.conns, address)
		}
	}
}

func (f *Fleet) client(address string) (dispatcherv1.DispatcherServiceClient, error) {
	conn := f.conns[address]
	if conn == nil {
		var err error
		if conn, err = grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
			return nil, fmt.Errorf("the throttle-dispatcher at %s: %w", address, err)
		}
		f.conns[address] = conn
	}
	return dispatcherv1.NewDispatcherServiceClient(conn), nil
}

func (f *Fleet) addresses(ctx context.Context) ([]string, error) {
	var addresses []string
	var failed error
	for _, server := range f.servers {
		host, port, err := net.SplitHostPort(server)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("--dispatcher is %q, it must be a host and a port such as peppasync-throttle-dispatcher:9090", server))
			continue
		}
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("find the throttle-dispatcher: %w", err))
			continue
		}
		for _, ip := range found {
			addresses = append(addresses, net.JoinHostPort(ip, port))
		}
	}
	return addresses, failed
}

// better says whether a replica that tells c knows more than the one before.
func better(c, before *dispatcherv1.Connector) bool {
	if rank(c) != rank(before) {
		return rank(c) > rank(before)
	}
	return c.GetAsOf().AsTime().After(before.GetAsOf().AsTime())
}

func rank(c *dispatcherv1.Connector) int {
	switch c.GetState() { //nolint:exhaustive // in all other states it is fed
	case dispatcherv1.State_STATE_ELSEWHERE, dispatcherv1.State_STATE_UNSPECIFIED:
		return 0
	case dispatcherv1.State_STATE_STARTING:
		return 1
	}
	return 2
}
