package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// person is whose permissions the commands of a client have, all of them alike.
const person = "admin"

// server is the NATS that a command connects to, as its flags name it.
type server struct{ url, credentials, ca, nkey string }

func (s *server) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.url, "nats", "", "URL of NATS, such as nats://nats:4222; of a cluster all, separated by commas (required)")
	f.StringVar(&s.ca, "nats-ca", "", "file with the certificate, in PEM, that signs those of the servers: connects by TLS 1.3 (default: by what the URL says)")
	f.StringVar(&s.nkey, "nats-nkey", "", "file with the nkey seed to sign in with, as \"peppasync bootstrap\" makes one for each role")
	f.StringVar(&s.credentials, "nats-credentials", "", "file with NATS credentials, where users have them in place of nkeys")
	required(c, "nats")
}

func (s *server) options() bus.Options {
	return bus.Options{URL: s.url, Credentials: s.credentials, CA: s.ca, NKey: s.nkey}
}

// connect returns a bus whose server answers.
func connect(c *cobra.Command, name string, s server) (*bus.Bus, error) {
	o := s.options()
	o.Name, o.Inbox, o.Logger = name, person, telemetry.NewLogger(c.ErrOrStderr(), "text", slog.LevelWarn)
	b, err := bus.Connect(c.Context(), o)
	if err != nil {
		return nil, err
	}
	if err := awaitNATS(c.Context(), b); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}
