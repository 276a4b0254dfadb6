package main

import (
	"errors"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/up"
)

func newNATS() *cobra.Command {
	var (
		data, listen, monitor, ready string
		security                     string
		member                       up.Cluster
		maxStore                     int64
	)
	c := &cobra.Command{
		Use:   "nats",
		Short: "Serve the embedded NATS alone, for roles that run as processes of their own",
		Long: `Serves the NATS that "peppasync up" has inside: one server that writes through
to disk. Without --security it has no users and no TLS, so let it listen on
loopback, or in a network that nobody else is in.

With --cluster it is a member of a cluster. Three on three machines go on where
one is lost: calls pause for at most 10 s, and nothing that was stored is
missing. Give each the same --cluster and --routes, a --name and a --data of its
own that stay together, and name all of them in each role's --nats. "apply --replicas 3" keeps each record on all three;
"--ingest-shards 3" lets webhooks in while one is lost. Stop or update one at a
time: at --monitor-listen, /healthz answers with 200 once a member has what it
missed. The data of a server alone does not move into a cluster by itself: its
members start on empty --data.`,
		Example: `  peppasync nats --data ./data --listen 127.0.0.1:4222
  peppasync apply -f deploy/demo --nats nats://127.0.0.1:4222
  peppasync ingest --nats nats://127.0.0.1:4222

  # on a, and likewise on b and c
  peppasync nats --data ./data --listen a:4222 --cluster orders --name a \
    --cluster-listen a:6222 --routes a:6222,b:6222,c:6222 --monitor-listen 127.0.0.1:8222
  # once
  peppasync apply -f deploy/demo --replicas 3 --ingest-shards 3 --nats nats://a:4222,nats://b:4222,nats://c:4222`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkStore(maxStore); err != nil {
				return err
			}
			cluster, err := membership(c, member)
			if err != nil {
				return err
			}
			log := telemetry.NewLogger(c.ErrOrStderr(), "text", slog.LevelInfo)
			if cluster != nil {
				log = log.With("node", cluster.Member)
			}
			return up.RunNATS(c.Context(), up.NATSConfig{
				Data: data, Listen: listen, Monitor: monitor, Cluster: cluster, Security: security, MaxStore: maxStore, Logger: log,
				Ready: func(at up.Served) {
					log.Info("serving", "nats", at.URL, "data", data)
					if err := writeReady(ready, addresses{NATS: at.URL, Monitor: at.Monitor}); err != nil {
						log.Error("--ready-file could not be written", "error", err)
					}
				},
			})
		},
	}
	f := c.Flags()
	f.StringVar(&data, "data", "./data", "folder of the server: orders are kept here")
	f.StringVar(&listen, "listen", "127.0.0.1:4222", "where it serves")
	f.StringVar(&monitor, "monitor-listen", "",
		"where it tells how it does over HTTP, to everybody, such as 127.0.0.1:8222: /healthz, /jsz and what else NATS has (default: nowhere)")
	f.StringVar(&member.Name, "cluster", "", "name of the cluster that it belongs to, the same for every member (default: none, a server alone)")
	f.StringVar(&member.Member, "name", "", "its own name in the cluster, which no other member has; it must stay the same on its --data")
	f.StringVar(&member.Listen, "cluster-listen", "", "where the other members connect, such as 10.0.0.1:6222")
	f.StringSliceVar(&member.Routes, "routes", nil, "where the members of the cluster connect to each other, separated by commas; its own may be among them")
	f.StringVar(&security, "security", "",
		"folder that \"peppasync bootstrap --dir\" made: it serves by TLS, and its users alone (default: everybody)")
	f.Int64Var(&maxStore, "max-store", 0, "most bytes on disk (default: 80% of what is free)")
	f.StringVar(&ready, "ready-file", "", "file to write the addresses to, as JSON, once it serves; a cluster may still wait for most of its members then")
	return c
}

// membership returns nil for a server alone.
func membership(c *cobra.Command, member up.Cluster) (*up.Cluster, error) {
	if member.Name == "" {
		for _, flag := range []string{"name", "cluster-listen", "routes"} {
			if c.Flags().Changed(flag) {
				return nil, errors.New("--" + flag + " is for a member of a cluster: add --cluster NAME, the same for every member")
			}
		}
		return nil, nil //nolint:nilnil // alone is a choice
	}
	if member.Listen == "" || len(member.Routes) == 0 {
		return nil, errors.New("--cluster needs --cluster-listen, where the other members connect, and --routes, where they do")
	}
	if member.Member == "" {
		// Not the host's, which changes with each container: the cluster would delete
		// what is stored by the old one.
		return nil, errors.New("--cluster needs --name, a name of this member's own that stays as long as its --data " +
			"(where an earlier version ran without --name: the name of its host)")
	}
	for i, route := range member.Routes {
		member.Routes[i] = strings.TrimSpace(route)
	}
	return &member, nil
}
