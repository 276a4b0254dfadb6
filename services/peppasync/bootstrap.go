package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/services/internal/secrets"
	"github.com/peppasync/peppasync/services/peppasync/internal/bootstrap"
)

func newBootstrap() *cobra.Command {
	var (
		dir, prefix   string
		hosts, labels []string
	)
	c := &cobra.Command{
		Use:   "bootstrap --host NAME",
		Short: "Make what NATS and the roles trust each other by: certificates, nkeys, permissions",
		Long: `Makes a CA, the certificate of the NATS servers, an nkey for each role and for people
("admin"), and the servers' authorization, by which each role can do on the bus what it
does and nothing else. It never makes anew what is there, so it may be run again, and is
with each upgrade: only the authorization is written again, which holds no secret.

In a pod of Kubernetes they become Secrets of its namespace, PREFIX plus ca, server,
users and the names of the roles; the chart runs it before it installs anything.
With --dir they become folders. Each server then gets

  include ./users/authorization.conf
  tls { cert_file: ./server/tls.crt, key_file: ./server/tls.key, min_version: "1.3" }

and each role --nats tls://HOST:4222 --nats-ca DIR/ca/ca.crt --nats-nkey DIR/ROLE/nkey.
Keep ca/ca.key where no server is. To replace an nkey or the certificate, delete it, run
this again, and have the servers read their configuration again.`,
		Example: `  peppasync bootstrap --dir ./nats --host nats-1.internal --host nats-2.internal --host nats-3.internal`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			store, err := bootstrapStore(dir, prefix, labels)
			if err != nil {
				return err
			}
			report, err := bootstrap.Run(c.Context(), store, bootstrap.Options{Hosts: hosts, Now: time.Now()})
			if told := tell(c.OutOrStdout(), report); err == nil {
				err = told
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "folder to write to (default: Secrets of the namespace of this pod)")
	f.StringSliceVar(&hosts, "host", nil, "name or address of a server, as clients and the other servers call it; several are possible (required)")
	f.StringVar(&prefix, "secret-prefix", "peppasync-nats-", "what the names of the Secrets begin with")
	f.StringSliceVar(&labels, "label", nil, "label of the Secrets, NAME=VALUE")
	required(c, "host")
	return c
}

func bootstrapStore(dir, prefix string, labels []string) (bootstrap.Store, error) {
	if dir != "" {
		return bootstrap.Directory(dir), nil
	}
	cluster, err := secrets.InCluster()
	if err != nil {
		return nil, errors.Join(errors.New("without --dir it has to run in a pod of Kubernetes"), err)
	}
	named := make(map[string]string, len(labels))
	for _, label := range labels {
		name, value, is := strings.Cut(label, "=")
		if !is {
			return nil, fmt.Errorf("--label is %q, it must be NAME=VALUE", label)
		}
		named[name] = value
	}
	return bootstrap.Cluster{API: cluster, Prefix: prefix, Labels: named}, nil
}

// tell says what was made and what was there: never what is in it.
func tell(w io.Writer, report bootstrap.Report) error {
	for _, part := range []struct {
		what  string
		names []string
	}{{"made", report.Made}, {"left as it was", report.Kept}, {"written anew", report.Renewed}} {
		if len(part.names) > 0 {
			if _, err := fmt.Fprintf(w, "%s: %s\n", part.what, strings.Join(part.names, ", ")); err != nil {
				return err
			}
		}
	}
	return nil
}
