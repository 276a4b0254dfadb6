package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
)

const (
	// askTimeout is how long a replica may take to answer.
	askTimeout = 5 * time.Second
	watchEvery = time.Second
	// clearScreen moves to the top and empties the rest of a terminal.
	clearScreen = "\x1b[H\x1b[2J"
)

func newConnectors() *cobra.Command {
	var (
		servers []string
		output  string
		watch   bool
	)
	c := &cobra.Command{
		Use:   "connectors [NAME] --server ADDR",
		Short: "Show how close to its limits each system was fed, what waits, and when it will arrive",
		Long: `Asks the throttle-dispatcher, or every replica of it: --server may be repeated,
and a host name stands for all of its addresses.

LARGEST is the most calls that can have arrived in any closed window, of those
that the limit allows; PACE is calls a minute while others waited.`,
		Example: `  peppasync up -f deploy/demo --grpc-listen 127.0.0.1:9090
  peppasync connectors --server 127.0.0.1:9090 --watch
  peppasync connectors erp --server 127.0.0.1:9090 -o yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, arguments []string) error {
			write, ok := writers()[output]
			if !ok {
				return fmt.Errorf("--output is %q, it must be table, json or yaml", output)
			}
			f := &fleet{servers: servers, conns: map[string]*grpc.ClientConn{}}
			defer f.close()
			if len(arguments) > 0 {
				f.connector = arguments[0]
			}
			if !watch {
				connectors, err := f.ask(c.Context(), c.ErrOrStderr())
				if err != nil {
					return err
				}
				return write(c.OutOrStdout(), connectors, time.Now())
			}
			return f.watch(c.Context(), c.OutOrStdout(), c.ErrOrStderr(), write)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&servers, "server", []string{"127.0.0.1:9090"}, "where the throttle-dispatcher serves gRPC")
	f.StringVarP(&output, "output", "o", "table", "table, json or yaml")
	f.BoolVarP(&watch, "watch", "w", false, "show it anew every second, until interrupted")
	c.AddCommand(newReopen())
	return c
}

type writer func(w io.Writer, connectors []*dispatcherv1.Connector, now time.Time) error

func writers() map[string]writer {
	return map[string]writer{"table": writeTable, "json": writeJSON, "yaml": writeYAML}
}

func writeJSON(w io.Writer, connectors []*dispatcherv1.Connector, _ time.Time) error {
	data, err := protojson.MarshalOptions{Multiline: true, EmitDefaultValues: true}.Marshal(
		&dispatcherv1.ListConnectorsResponse{Connectors: connectors})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", data)
	return err
}

func writeYAML(w io.Writer, connectors []*dispatcherv1.Connector, _ time.Time) error {
	data, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(&dispatcherv1.ListConnectorsResponse{Connectors: connectors})
	if err != nil {
		return err
	}
	var document yaml.Node // JSON is YAML; a node keeps the order
	if err := yaml.Unmarshal(data, &document); err != nil {
		return err
	}
	plain(&document)
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	return errors.Join(encoder.Encode(&document), encoder.Close())
}

// plain takes the style of JSON away.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		plain(child)
	}
}

// fleet is the replicas of the dispatcher.
type fleet struct {
	servers   []string
	connector string // empty for all
	conns     map[string]*grpc.ClientConn
}

func (f *fleet) close() {
	for _, conn := range f.conns {
		_ = conn.Close()
	}
}

// watch writes what the replicas say again and again until ctx ends.
func (f *fleet) watch(ctx context.Context, out, problems io.Writer, write writer) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		connectors, err := f.ask(ctx, problems)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			// A replica that starts again is no reason to end.
			fmt.Fprintln(problems, err)
		default:
			if isTerminal(out) {
				fmt.Fprint(out, clearScreen)
			}
			if err := write(out, connectors, time.Now()); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// ask asks all replicas and returns the connectors, each as told by the one that
// feeds it. Replicas that do not answer are named in problems; where none does,
// it is an error.
func (f *fleet) ask(ctx context.Context, problems io.Writer) ([]*dispatcherv1.Connector, error) {
	addresses, err := f.addresses(ctx)
	if err != nil {
		return nil, err
	}
	told := map[string]*dispatcherv1.Connector{}
	var failed []error
	for _, address := range addresses {
		connectors, err := f.askOne(ctx, address)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for _, c := range connectors {
			if before := told[c.GetName()]; before == nil || better(c, before) {
				told[c.GetName()] = c
			}
		}
	}
	if len(failed) == len(addresses) {
		return nil, errors.Join(failed...)
	}
	for _, err := range failed {
		fmt.Fprintln(problems, err)
	}
	connectors := make([]*dispatcherv1.Connector, 0, len(told))
	for _, name := range slices.Sorted(maps.Keys(told)) {
		connectors = append(connectors, told[name])
	}
	return connectors, nil
}

func (f *fleet) askOne(ctx context.Context, address string) ([]*dispatcherv1.Connector, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout) // each its own: one that is silent must not use up that of others
	defer cancel()
	client, err := f.client(address)
	if err != nil {
		return nil, err
	}
	r, err := client.ListConnectors(ctx, &dispatcherv1.ListConnectorsRequest{Connector: f.connector})
	if err != nil {
		return nil, fmt.Errorf("the dispatcher at %s: %s", address, status.Convert(err).Message())
	}
	return r.GetConnectors(), nil
}

func (f *fleet) client(address string) (dispatcherv1.DispatcherServiceClient, error) {
	conn := f.conns[address]
	if conn == nil {
		var err error
		if conn, err = grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
			return nil, fmt.Errorf("--server %s: %w", address, err)
		}
		f.conns[address] = conn
	}
	return dispatcherv1.NewDispatcherServiceClient(conn), nil
}

// addresses returns every address of every server.
func (f *fleet) addresses(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var addresses []string
	for _, server := range f.servers {
		host, port, err := net.SplitHostPort(server)
		if err != nil {
			return nil, fmt.Errorf("--server is %q, it must be a host and a port such as 127.0.0.1:9090", server)
		}
		found, err := net.DefaultResolver.LookupHost(ctx, cmp.Or(host, "127.0.0.1"))
		if err != nil {
			return nil, fmt.Errorf("--server %s: %w", server, err)
		}
		for _, ip := range found {
			addresses = append(addresses, net.JoinHostPort(ip, port))
		}
	}
	return addresses, nil
}

// better says whether a replica that tells c knows more than the one before.
func better(c, before *dispatcherv1.Connector) bool {
	rank := func(c *dispatcherv1.Connector) int {
		switch c.GetState() {
		case dispatcherv1.State_STATE_ELSEWHERE, dispatcherv1.State_STATE_UNSPECIFIED:
			return 0
		case dispatcherv1.State_STATE_STARTING:
			return 1
		default:
			return 2
		}
	}
	if rank(c) != rank(before) {
		return rank(c) > rank(before)
	}
	return c.GetAsOf().AsTime().After(before.GetAsOf().AsTime())
}
