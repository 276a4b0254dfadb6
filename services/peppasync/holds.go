package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
	logicgate "github.com/peppasync/peppasync/services/logic-gate"
)

const (
	// statesAtOnce is how many orders are looked up side by side.
	statesAtOnce = 16
	// maxCause is what the table shows of a cause; the other formats show all of it.
	maxCause = 80
)

// held is one entry of the Error Hold that waits for a person.
type held struct {
	// Order is what people call it, or its key, or the event's name.
	Order     string    `json:"order"            yaml:"order"`
	Key       string    `json:"key"              yaml:"key"`
	Connector string    `json:"connector"        yaml:"connector"`
	Operation string    `json:"operation"        yaml:"operation"`
	Cause     string    `json:"cause"            yaml:"cause"`
	Detail    string    `json:"detail,omitempty" yaml:"detail,omitempty"`
	Since     time.Time `json:"since"            yaml:"since"`
	InDoubt   bool      `json:"inDoubt"          yaml:"inDoubt"`
	Delivery  string    `json:"delivery"         yaml:"delivery"`
	// Message is what is held where that is no delivery.
	Message *heldMessage `json:"message,omitempty" yaml:"message,omitempty"`
	// Advice is what a person can do about it, where that is known.
	Advice string `json:"advice,omitempty" yaml:"advice,omitempty"`

	// goes says that it can be let go: the order's state holds the delivery, or the
	// event was kept with its hold.
	goes bool
	hold *dispatchv1.Hold
}

// heldMessage is a message of DISPATCH that the throttle-dispatcher refused, as far as it
// was kept.
type heldMessage struct {
	Subject  string `json:"subject"  yaml:"subject"`
	Sequence uint64 `json:"sequence" yaml:"sequence"`
	Bytes    int64  `json:"bytes"    yaml:"bytes"`
	SHA256   string `json:"sha256"   yaml:"sha256"`
	// Begins is the first of its bytes, in base64.
	Begins string `json:"begins" yaml:"begins"`
}

func newHolds() *cobra.Command {
	var (
		format string
		nats   server
		all    bool
	)
	c := &cobra.Command{
		Use:   "holds --nats URL",
		Short: "List what is in the Error Hold and waits for a person",
		Long: `Lists the orders that are in the Error Hold. What was released, or has arrived
since, is not shown. Let one go with "peppasync release".

A "message" there was in the queue of a connector and asked for what its sender may
not ask for (message-refused), or could not be read (message-unreadable). Nothing is
sent of it. See with -o yaml what it was, find out who sent it, and end its hold with
"peppasync release --discard".

What a source refuses for good when it is asked what its webhooks missed is there
once, without an order ("-"), and leaves by itself when the source answers:
"peppasync sources" says more.

"peppasync up" serves its NATS to other processes only with --nats-listen.`,
		Example: `  peppasync holds --nats nats://127.0.0.1:4222
  peppasync holds --nats nats://127.0.0.1:4222 -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			write, err := writerOf(format)
			if err != nil {
				return err
			}
			b, err := connect(c, "holds", nats)
			if err != nil {
				return err
			}
			defer b.Close()
			found, err := holds(c.Context(), b)
			if err != nil {
				return err
			}
			if !all {
				found = slices.DeleteFunc(found, func(h held) bool { return !h.waits() && !h.isRefusal() })
			}
			return write(c.OutOrStdout(), found)
		},
	}
	nats.register(c)
	c.Flags().StringVarP(&format, "output", "o", "table", "table, json or yaml")
	c.Flags().BoolVar(&all, "all", false, "also calls that no order asked for: stock, texts; their roles ask for them anew by themselves")
	return c
}

// holds returns what is in the Error Hold and was not settled since, oldest first.
func holds(ctx context.Context, b *bus.Bus) ([]held, error) {
	entries := map[string]held{}
	for record, err := range b.Read(ctx, bus.StreamErrorHold, bus.HoldFilter, 0) {
		if err != nil {
			return nil, fmt.Errorf("reading the Error Hold: %w", err)
		}
		hold := &dispatchv1.Hold{}
		if err := proto.Unmarshal(record.Data, hold); err != nil {
			return nil, fmt.Errorf("an entry of the Error Hold cannot be read (%s, sequence %d): %w", record.Subject, record.Sequence, err)
		}
		entries[record.Subject] = heldOf(hold, record.Time)
	}
	states, err := statesOf(ctx, b, entries)
	if err != nil {
		return nil, err
	}
	var found []held
	for _, h := range entries {
		if h.settled(states[h.Key]) {
			continue
		}
		found = append(found, h.with(states[h.Key]))
	}
	slices.SortFunc(found, func(x, y held) int { return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Delivery, y.Delivery)) })
	return found, nil
}

func heldOf(hold *dispatchv1.Hold, stored time.Time) held {
	d := hold.GetDelivery()
	h := held{
		Order: cmp.Or(hold.GetOrderName(), d.GetKey()), Key: d.GetKey(), Connector: d.GetConnector(), Operation: d.GetOperation(),
		Cause: hold.GetCause().GetCode(), Detail: hold.GetCause().GetDetail(), Since: stored.UTC().Truncate(time.Second),
		InDoubt: hold.GetInDoubt(), Delivery: d.GetId(), Advice: hold.GetAdvice(), hold: hold,
	}
	if h.isRefusal() {
		h.Order = "-"
	}
	if m := hold.GetRefused(); m != nil {
		h.Order, h.Operation = fmt.Sprint("message ", m.GetSequence()), "-"
		h.Message = &heldMessage{
			Subject: m.GetSubject(), Sequence: m.GetSequence(), Bytes: m.GetSize(), SHA256: hex.EncodeToString(hold.GetPayloadHash()),
			Begins: base64.StdEncoding.EncodeToString(m.GetData()),
		}
	}
	if at := hold.GetHeldAt(); at != nil {
		h.Since = at.AsTime().Truncate(time.Second)
	}
	return h
}

// statesOf reads the states of the orders that entries are about.
func statesOf(ctx context.Context, b *bus.Bus, entries map[string]held) (map[string]*orderv1.State, error) {
	states := map[string]*orderv1.State{}
	for _, h := range entries {
		if !h.isEvent() {
			states[h.Key] = &orderv1.State{}
		}
	}
	shards, err := b.Shards(ctx, bus.PrefixOrder)
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(statesAtOnce)
	for key, state := range states {
		group.Go(func() error {
			err := readState(ctx, b, shards, key, state)
			if errors.Is(err, errUnreadable) {
				proto.Reset(state) // one that hides the others helps nobody
				return nil
			}
			return err
		})
	}
	return states, group.Wait()
}

var errUnreadable = errors.New("what is stored there is no state")

// readState reads an order's state into state; one that is not there stays empty.
func readState(ctx context.Context, b *bus.Bus, shards int, key string, state *orderv1.State) error {
	record, err := b.Last(ctx, bus.OrderStream(bus.OrderShard(key, shards)), bus.OrderStateSubject(key))
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading order %s: %w", key, err)
	}
	if err := proto.Unmarshal(record.Data, state); err != nil {
		return fmt.Errorf("reading order %s: %w: %w", key, errUnreadable, err)
	}
	return nil
}

// settled reports whether the order has moved on from the hold.
func (h held) settled(state *orderv1.State) bool { return order.HoldSettled(h.hold, state) }

func (h held) with(state *orderv1.State) held {
	h.goes = order.HeldIn(h.hold, state).GetStatus() == orderv1.DeliveryStatus_DELIVERY_STATUS_HELD
	if h.isEvent() {
		h.goes = h.hold.GetEvent() != nil || h.isMessage()
	}
	if name := state.GetOrder().GetName(); name != "" {
		h.Order = name
	}
	return h
}

// isEvent says that no call is held but an event that could not be applied, or
// another role's call, which no order asked for.
func (h held) isEvent() bool { return order.HoldsEvent(h.hold) }

// isMessage says that a message is held that is no delivery.
func (h held) isMessage() bool { return h.hold.GetRefused() != nil }

// waits says that it waits for a person: other roles ask anew for what is held of theirs.
func (h held) waits() bool {
	return h.hold.GetDelivery().GetRequester() == logicgate.Role || h.isMessage()
}

// isRefusal says that a source refuses what it is asked: it leaves by itself.
func (h held) isRefusal() bool { return connectors.IsRefusal(h.hold) }

// writerOf returns what writes a list in a format.
func writerOf(format string) (func(io.Writer, []held) error, error) {
	switch format {
	case "table":
		return writeHolds, nil
	case "json":
		return func(w io.Writer, found []held) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(append([]held{}, found...))
		}, nil
	case "yaml":
		return func(w io.Writer, found []held) error { return yaml.NewEncoder(w).Encode(append([]held{}, found...)) }, nil
	}
	return nil, fmt.Errorf("--output is %q, it must be table, json or yaml", format)
}

func writeHolds(out io.Writer, found []held) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(out, "the Error Hold is empty")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ORDER\tCONNECTOR\tOPERATION\tCAUSE\tSINCE") // Flush tells of errors
	for _, h := range found {
		cause := h.Cause
		if h.InDoubt {
			cause += " (in doubt)"
		}
		if detail := strings.Join(strings.Fields(h.Detail), " "); detail != "" {
			cause += ": " + detail
		}
		if text := []rune(cause); len(text) > maxCause {
			cause = string(text[:maxCause-1]) + "…"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Order, h.Connector, h.Operation, cause, h.Since.Format(time.RFC3339))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, h := range found {
		if h.Advice == "" {
			continue
		}
		if _, err := fmt.Fprintf(out, "%s, %s: %s\n", h.Connector, h.Operation, h.Advice); err != nil {
			return err
		}
	}
	return nil
}
