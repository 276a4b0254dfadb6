// Command peppasync-probe tries from within a pod what the pod may do, with the keys and the
// token that are mounted there, and prints what came of it as JSON. It is no part of the
// product: tests put it beside one of its roles.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peppasync-probe:", err)
		os.Exit(1)
	}
}

// patience bounds each try.
const patience = 15 * time.Second

// findings are what became of each try.
type findings struct {
	// Publish says "allowed" or "denied" of each subject.
	Publish map[string]string `json:"publish,omitempty"`
	// Secrets has the API server's status for each name.
	Secrets map[string]int `json:"secrets,omitempty"`
	// Reach says of each address whether a connection came about.
	Reach map[string]bool `json:"reach,omitempty"`
	// Copies is how many each stream has.
	Copies map[string]int `json:"copies,omitempty"`
}

func newCommand() *cobra.Command {
	var b bus
	var account string
	var subjects, secrets, addresses, streams []string
	var copies int
	c := &cobra.Command{
		Use:   "peppasync-probe",
		Short: "Try what the pod that it is in may do, and print what came of it",
		Args:  cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			f := findings{Publish: map[string]string{}, Secrets: map[string]int{}, Reach: map[string]bool{}, Copies: map[string]int{}}
			for _, subject := range subjects {
				verdict, err := b.publish(subject)
				if err != nil {
					return err
				}
				f.Publish[subject] = verdict
			}
			for _, name := range secrets {
				status, err := readSecret(c.Context(), account, name)
				if err != nil {
					return err
				}
				f.Secrets[name] = status
			}
			for _, address := range addresses {
				f.Reach[address] = reaches(c.Context(), address)
			}
			for _, stream := range streams {
				have, err := b.copies(c.Context(), stream, copies)
				if err != nil {
					return err
				}
				f.Copies[stream] = have
			}
			return json.NewEncoder(c.OutOrStdout()).Encode(f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&b.url, "nats", "", "URL of NATS")
	flags.StringVar(&b.ca, "nats-ca", "", "file with the certificate that signs those of the servers")
	flags.StringVar(&b.nkey, "nats-nkey", "", "file with the seed of the nkey to sign in by")
	flags.StringVar(&b.serverName, "nats-server-name", "", "name in the servers' certificate (default: that of the URL)")
	flags.StringVar(&b.user, "nats-user", "", "whose nkey that is, and so which inbox it hears")
	flags.StringVar(&account, "account", "/var/run/secrets/kubernetes.io/serviceaccount", "folder of the ServiceAccount's token")
	flags.StringArrayVar(&subjects, "publish", nil, "subject to publish nothing on; may be repeated")
	flags.StringArrayVar(&secrets, "secret", nil, "Secret of the pod's namespace to read; may be repeated")
	flags.StringArrayVar(&addresses, "reach", nil, "HOST:PORT to connect to; may be repeated")
	flags.StringArrayVar(&streams, "stream", nil, "stream whose copies to count; may be repeated")
	flags.IntVar(&copies, "copies", 0, "how many copies each --stream is to have first; 0 to leave them")
	return c
}
