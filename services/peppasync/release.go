package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
)

const (
	// releasePatience is how long the logic-gate may take until the command ends
	// without its word.
	releasePatience = 10 * time.Second
	releaseEvery    = 50 * time.Millisecond
	// releasesPerPack keeps a pack far below the largest message.
	releasesPerPack = 256
	maxReason       = 500
)

// wanted is what is to be released, and with what words.
type wanted struct {
	what              string // an order or a delivery; empty for all of a cause
	cause, reason, by string
	resolution        eventv1.Resolution
	// discard: messages that were refused, and nothing else.
	discard bool
}

func newRelease() *cobra.Command {
	var (
		nats     server
		resolved string
		all      bool
		asked    wanted
	)
	c := &cobra.Command{
		Use:   "release ORDER|DELIVERY --nats URL --reason TEXT",
		Short: "Let what is in the Error Hold go again",
		Long: `Sends an order on that is in the Error Hold, mapped anew from what is newest, and
after it what waits behind it. ORDER is the name or key that "peppasync holds"
shows, DELIVERY the id in its -o json. Who and why is kept with the order.

An event that could not be read or applied is taken from its hold and handled again,
by what is configured now; one that still cannot is held again, under another id.
Who and why is kept with its hold.

A hold in doubt may have arrived: look at the other side first, and say with
--in-doubt-resolved what is there: of one call, so where an order has several holds
name the DELIVERY. With "sent" any hold is closed as delivered, without a call: for
what a person has entered by hand.

A message that was refused cannot be sent: --discard ends its hold, and keeps who and
why with it. "release refused --discard" ends those of all such messages.

"peppasync up" serves its NATS to other processes only with --nats-listen.`,
		Example: `  peppasync release '#1001' --nats nats://127.0.0.1:4222 --reason "address corrected"
  peppasync release --all --cause unknown-configuration --nats nats://127.0.0.1:4222 --reason "the warehouse knows it now"
  peppasync release '#1002' --nats nats://127.0.0.1:4222 --reason "it is there: SO-77" --in-doubt-resolved sent
  peppasync release 'message 17' --nats nats://127.0.0.1:4222 --reason "a test of ours" --discard`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, arguments []string) error {
			if len(arguments) > 0 {
				asked.what = arguments[0]
			}
			if err := asked.check(all, resolved); err != nil {
				return err
			}
			b, err := connect(c, "release", nats)
			if err != nil {
				return err
			}
			defer b.Close()
			return release(c, b, asked)
		},
	}
	nats.register(c)
	f := c.Flags()
	f.StringVar(&asked.reason, "reason", "", "why it may go now (required)")
	f.StringVar(&asked.by, "by", userName(), "who lets it go")
	f.BoolVar(&all, "all", false, "all holds of --cause; those in doubt stay")
	f.StringVar(&asked.cause, "cause", "", "with --all: the cause code of the holds")
	f.BoolVar(&asked.discard, "discard", false, "end the hold of a message that was refused")
	f.StringVar(&resolved, "in-doubt-resolved", "", "sent or not-sent: what the other side shows")
	required(c, "reason")
	return c
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// check completes what is asked for, or says what is wrong with it.
func (a *wanted) check(all bool, resolved string) error {
	switch {
	case strings.TrimSpace(a.reason) == "":
		return errors.New("--reason is empty; say why it may go now, it is kept with the order")
	case len(a.reason) > maxReason:
		return fmt.Errorf("--reason has %d bytes, at most %d", len(a.reason), maxReason)
	case all && a.cause == "":
		return errors.New(`--all needs --cause CODE, as "peppasync holds" shows it`)
	case all && a.what != "":
		return fmt.Errorf("name %q or give --all, not both", a.what)
	case !all && a.cause != "":
		return errors.New("--cause goes with --all")
	case !all && a.what == "":
		return errors.New(`name an order or a delivery, as "peppasync holds" shows it, or give --all --cause CODE`)
	case all && resolved != "":
		return errors.New("--in-doubt-resolved goes with one order: each has to be looked at")
	}
	return a.resolve(resolved)
}

// resolve takes in what was found out about a call in doubt.
func (a *wanted) resolve(resolved string) error {
	if a.discard && resolved != "" {
		return errors.New("--discard is about messages that were refused, and --in-doubt-resolved about calls: give one of them")
	}
	switch resolved {
	case "":
	case "sent":
		a.resolution = eventv1.Resolution_RESOLUTION_SENT
	case "not-sent":
		a.resolution = eventv1.Resolution_RESOLUTION_NOT_SENT
	default:
		return fmt.Errorf("--in-doubt-resolved is %q, it must be sent or not-sent", resolved)
	}
	return nil
}

// sorted are the holds that are meant, by what can be done with them.
type sorted struct {
	chosen []held
	keys   map[string]bool // of those
	// How many are left out: those in doubt, events, because what the other side shows is
	// about calls, messages, which are discarded, and whatever cannot be.
	doubtful, events, messages, others int
}

func (a *wanted) sort(found []held) sorted {
	s := sorted{keys: map[string]bool{}}
	for _, h := range found {
		switch {
		case !h.waits() || !a.means(h):
		case h.isMessage() && !a.discard:
			s.messages++
		case !h.isMessage() && a.discard:
			s.others++
		case h.InDoubt && a.resolution == eventv1.Resolution_RESOLUTION_UNSPECIFIED:
			s.doubtful++
		case h.isEvent() && a.resolution != eventv1.Resolution_RESOLUTION_UNSPECIFIED:
			s.events++
		default:
			s.keys[h.Key] = true
			s.chosen = append(s.chosen, h)
		}
	}
	return s
}

// choose returns the holds that are meant, and how many in doubt are left out.
func (a *wanted) choose(found []held) (chosen []held, doubtful int, err error) {
	s := a.sort(found)
	if len(s.chosen) == 0 {
		if err := a.nothing(s, found); err != nil {
			return nil, 0, err
		}
	}
	if a.what != "" && len(s.keys) > 1 {
		return nil, 0, fmt.Errorf("%q names %d orders; name one by its key: %s", a.what, len(s.keys), strings.Join(sortedKeys(s.keys), ", "))
	}
	if a.resolution != eventv1.Resolution_RESOLUTION_UNSPECIFIED && len(s.chosen) > 1 {
		// One word for several calls would close some that never arrived, or send
		// some that did.
		return nil, 0, fmt.Errorf("%q has %d calls in the Error Hold, and --in-doubt-resolved is about one: look at each, and name it by its delivery: %s",
			a.what, len(s.chosen), strings.Join(deliveriesOf(s.chosen), ", "))
	}
	return whatGoes(s.chosen, s.doubtful)
}

// nothing says why none of what is meant can be released; nil where a cause has none.
func (a *wanted) nothing(s sorted, found []held) error {
	meant := cmp.Or(a.what, "what is held as "+a.cause)
	switch {
	case s.messages > 0:
		return fmt.Errorf("%s was refused by the throttle-dispatcher and cannot be sent: it is no delivery that may be made. "+
			`See with "peppasync holds -o yaml" what it was, find out who sent it, and end its hold with --discard`, meant)
	case s.others > 0:
		return fmt.Errorf("%s is no message that was refused, and --discard would lose it: release it without", meant)
	case a.what == "":
		return nil
	case s.doubtful > 0:
		return fmt.Errorf("%s is in doubt: %s may have it. Look there, then say --in-doubt-resolved sent or not-sent", a.what, a.connectors(found))
	case s.events > 0:
		return fmt.Errorf("%q is an event that could not be applied, and no call: release it without --in-doubt-resolved", a.what)
	}
	return fmt.Errorf(`%q is not in the Error Hold; "peppasync holds" lists what is`, a.what)
}

// byItself says of what a source refuses that nobody lets it go.
func (a *wanted) byItself(found []held) error {
	for _, h := range found {
		if h.isRefusal() && a.what == h.Delivery {
			return fmt.Errorf("nobody lets %s of %s go: it leaves the Error Hold by itself when the source answers; %s",
				h.Operation, h.Connector, h.Advice)
		}
	}
	return nil
}

// whatGoes leaves out what cannot be let go beside what can, and says of the rest why
// not.
func whatGoes(chosen []held, doubtful int) ([]held, int, error) {
	some := slices.ContainsFunc(chosen, func(h held) bool { return h.goes })
	var going []held
	for _, h := range chosen {
		switch {
		case h.goes:
			going = append(going, h)
		case !h.isEvent():
			return nil, 0, fmt.Errorf("%s is just being put into the Error Hold, or its order cannot be read from the store; try again in a moment", h.Delivery)
		case !some:
			return nil, 0, fmt.Errorf("%s cannot be let go (%s): its event was not kept with its hold; %s", h.Delivery, h.Cause,
				`put it in again with "peppasync replay", as long as a week has not passed, or let the shop send the order anew, by an edit there`)
		}
	}
	return going, doubtful, nil
}

func (a *wanted) means(h held) bool {
	if a.what == "" {
		return h.Cause == a.cause && h.goes
	}
	return slices.Contains([]string{h.Order, strings.TrimPrefix(h.Order, "#"), h.Key, h.Delivery}, a.what)
}

func (a *wanted) connectors(found []held) string {
	names := map[string]bool{}
	for _, h := range found {
		if a.means(h) && h.InDoubt {
			names[h.Connector] = true
		}
	}
	return strings.Join(sortedKeys(names), ", ")
}

// deliveriesOf names holds so that one can be chosen.
func deliveriesOf(found []held) []string {
	var names []string
	for _, h := range found {
		name := h.Delivery + " at " + h.Connector
		if h.InDoubt {
			name += " (in doubt)"
		}
		names = append(names, name)
	}
	return names
}

func sortedKeys(set map[string]bool) []string {
	var keys []string
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// release asks the logic-gate to let the holds go, and waits for what it does.
func release(c *cobra.Command, b *bus.Bus, asked wanted) error {
	ctx := c.Context()
	found, err := holds(ctx, b)
	if err != nil {
		return err
	}
	if err := asked.byItself(found); err != nil {
		return err
	}
	chosen, doubtful, err := asked.choose(found)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(chosen, releasesPerPack) {
		if err := asked.publish(ctx, b, part); err != nil {
			return err
		}
	}
	waiting, err := awaitReleased(ctx, b, chosen)
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	done := "released"
	if asked.discard {
		done = "discarded"
	}
	_, err = fmt.Fprintf(out, "%d %s\n", len(chosen)-len(waiting), done)
	if doubtful > 0 && err == nil {
		_, err = fmt.Fprintf(out, "%d in doubt stay: look at each, and release it with --in-doubt-resolved sent or not-sent\n", doubtful)
	}
	if len(waiting) > 0 {
		return fmt.Errorf("%d are asked for and the logic-gate has not taken them within %v; they go when it runs", len(waiting), releasePatience)
	}
	return err
}

// publish stores releases like events: the logic-gate reads both from the same
// stream, each order's in order.
func (a *wanted) publish(ctx context.Context, b *bus.Bus, part []held) error {
	pack := &eventv1.Pack{}
	for _, h := range part {
		r := &eventv1.Release{
			Key: h.Key, DeliveryId: h.Delivery, By: a.by, Reason: a.reason, AskedAt: timestamppb.Now(), Resolution: a.resolution,
			Discard: a.discard,
		}
		if h.isEvent() {
			r.Connector = h.Connector
		}
		pack.Releases = append(pack.Releases, r)
	}
	data, err := proto.Marshal(pack)
	if err == nil {
		_, err = b.Publish(ctx, bus.Message{Subject: bus.IngestSubject(0), ExpectStream: bus.IngestStream(0), Data: data})
	}
	if err != nil {
		return fmt.Errorf("asking for the release: %w", err)
	}
	return nil
}

// awaitReleased returns those that were not released in time.
func awaitReleased(ctx context.Context, b *bus.Bus, waiting []held) ([]held, error) {
	shards, err := b.Shards(ctx, bus.PrefixOrder)
	if err != nil {
		return nil, err
	}
	late := time.After(releasePatience)
	tick := time.NewTicker(releaseEvery)
	defer tick.Stop()
	for len(waiting) > 0 {
		gone, err := waiting[0].gone(ctx, b, shards)
		if err != nil {
			return nil, err
		}
		if gone {
			waiting = waiting[1:]
			continue
		}
		select {
		case <-tick.C:
		case <-late:
			return waiting, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return nil, nil
}

// gone says whether it was let go.
func (h held) gone(ctx context.Context, b *bus.Bus, shards int) (bool, error) {
	if !h.isEvent() {
		state := &orderv1.State{}
		err := readState(ctx, b, shards, h.Key, state)
		return err == nil && order.HeldIn(h.hold, state) == nil, err
	}
	hold := &dispatchv1.Hold{}
	record, err := b.Last(ctx, bus.StreamErrorHold, bus.HoldSubject(h.Connector, h.Key, h.Delivery))
	if err == nil {
		err = proto.Unmarshal(record.Data, hold)
	}
	if err != nil {
		return false, fmt.Errorf("reading the hold of event %s: %w", h.Delivery, err)
	}
	return hold.GetRelease() != nil, nil
}
