package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
)

func newReopen() *cobra.Command {
	var (
		servers []string
		asked   dispatcherv1.ReopenConnectorRequest
	)
	c := &cobra.Command{
		Use:   "reopen NAME --server ADDR --reason TEXT",
		Short: "End the pause that a system's replies asked for",
		Long: `A reply such as "Retry-After: 86400" closes a connector for as long as it asks, over
restarts and edits. Where that is a mistake, or the other side has lifted it, this opens
the connector now. Who and why is kept in its ledger and in the log.

The declared limits hold as before. Where the system still refuses, it is asked once and
closes again for as long as it asks then.`,
		Example: `  peppasync connectors reopen erp --server 127.0.0.1:9090 --reason "their support has lifted it, ticket 4711"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, arguments []string) error {
			asked.Connector = arguments[0]
			switch {
			case strings.TrimSpace(asked.GetReason()) == "":
				return errors.New("--reason is empty; say why it may be opened now, it is kept in the ledger")
			case strings.TrimSpace(asked.GetBy()) == "":
				return errors.New("--by is empty; say who opens it, it is kept in the ledger")
			}
			f := &fleet{servers: servers, conns: map[string]*grpc.ClientConn{}}
			defer f.close()
			return f.reopen(c.Context(), c.OutOrStdout(), &asked)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&servers, "server", []string{"127.0.0.1:9090"}, "where the throttle-dispatcher serves gRPC")
	f.StringVar(&asked.Reason, "reason", "", "why it may be opened now (required)")
	f.StringVar(&asked.By, "by", userName(), "who opens it")
	required(c, "reason")
	return c
}

// reopen asks one replica after the other, until one feeds the connector.
func (f *fleet) reopen(ctx context.Context, out io.Writer, asked *dispatcherv1.ReopenConnectorRequest) error {
	addresses, err := f.addresses(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, address := range addresses {
		r, err := f.reopenAt(ctx, address, asked)
		if err == nil {
			_, err = fmt.Fprintf(out, "%s is open; it was closed until %s: %s\n", asked.GetConnector(),
				r.GetClosedUntil().AsTime().In(time.Now().Location()).Format(time.DateTime), r.GetClosedBecause())
			return err
		}
		failed = append(failed, fmt.Errorf("the dispatcher at %s: %s", address, status.Convert(err).Message()))
		if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded {
			return failed[len(failed)-1]
		}
	}
	return errors.Join(failed...)
}

// reopenAt asks one replica. Each has its own time: one that is silent must not use up
// that of the one who feeds the connector.
func (f *fleet) reopenAt(ctx context.Context, address string, asked *dispatcherv1.ReopenConnectorRequest) (*dispatcherv1.ReopenConnectorResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client, err := f.client(address)
	if err != nil {
		return nil, err
	}
	return client.ReopenConnector(ctx, asked)
}
