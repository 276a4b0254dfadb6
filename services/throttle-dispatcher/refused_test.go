package throttledispatcher_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// mostRefused is how many messages that may be anybody's wait for a person.
const mostRefused = 20

// question is what ingest may ask a source.
func question(id string) *dispatchv1.Delivery {
	return &dispatchv1.Delivery{Id: id, Connector: "wms", Lane: "standard", Key: "reconcile", Operation: "listOrders", Requester: "ingest"}
}

// send puts a message onto a subject of DISPATCH, whatever it says.
func (w *world) send(subject string, d *dispatchv1.Delivery) {
	w.t.Helper()
	w.publish(subject, d)
}

// sendBytes puts what may be no message onto a subject of DISPATCH.
func (w *world) sendBytes(subject string, data []byte) {
	w.t.Helper()
	if _, err := w.bus.Publish(w.t.Context(), bus.Message{Subject: subject, Data: data}); err != nil {
		w.t.Fatal(err)
	}
}

// flood sends so many messages that nobody may send, as who took ingest over can.
func (w *world) flood(lane, name string, n int) {
	w.t.Helper()
	for i := range n {
		d := question(fmt.Sprint(name, i))
		d.Lane, d.Operation = lane, "putOrder"
		w.send(bus.DispatchSubject("wms", lane, "reconcile", d.GetId()), d)
	}
}

// emptied waits until nothing is in DISPATCH.
func (w *world) emptied() {
	w.t.Helper()
	w.eventually("all have left the queue", func() bool {
		_, err := w.bus.Last(w.t.Context(), bus.StreamDispatch, "dispatch.v1.>")
		return errors.Is(err, bus.ErrNotFound)
	})
}

// refused returns the holds of messages, by the subject that each message came on, and
// fails where anything else is in the Error Hold or one is there twice.
func (w *world) refused() map[string]*dispatchv1.Hold {
	w.t.Helper()
	found := map[string]*dispatchv1.Hold{}
	for record, err := range w.bus.Read(w.t.Context(), bus.StreamErrorHold, bus.HoldFilter, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		hold := &dispatchv1.Hold{}
		if err := proto.Unmarshal(record.Data, hold); err != nil {
			w.t.Fatal(err)
		}
		d := hold.GetDelivery()
		if !strings.HasPrefix(record.Subject, "hold.v1.wms.refused.message-") || record.Subject != bus.HoldSubject(d.GetConnector(), d.GetKey(), d.GetId()) {
			w.t.Errorf("a hold under %s, of %v", record.Subject, d)
		}
		if d.GetRequester() != throttledispatcher.Role || d.GetContent() != nil || d.GetOperation() != "" || d.GetEvent() != nil || hold.GetEvent() != nil {
			w.t.Errorf("the hold takes over what the message says: %v", hold)
		}
		subject := hold.GetRefused().GetSubject()
		if found[subject] != nil && hold.GetRelease() == nil {
			w.t.Errorf("the message on %s is held twice", subject)
		}
		found[subject] = hold
	}
	return found
}

// discard ends the holds of so many messages, as a person does.
func (w *world) discard(n int) {
	w.t.Helper()
	for _, hold := range w.refused() {
		if n--; n < 0 {
			return
		}
		hold.Release, hold.Refused.Data = &eventv1.Release{By: "ann", Discard: true}, nil
		w.publish(bus.HoldSubject("wms", hold.GetDelivery().GetKey(), hold.GetDelivery().GetId()), hold)
	}
}

// A message that is no delivery, or none that may be asked for on its subject, goes to the
// Error Hold with all that a person needs, under a key that no order has, and then out of
// the stream. No call is made of it, whatever it names goes on as if it were not there,
// and nothing that it says names the hold.
func TestWhatMayNotBeAskedGoesToTheErrorHold(t *testing.T) {
	t.Parallel()
	order := delivery(1)
	under := func(change func(d *dispatchv1.Delivery)) *dispatchv1.Delivery {
		d := question(rand.Text())
		change(d)
		return d
	}
	large := query("large")
	large.Operation = strings.Repeat("o", 100<<10)
	for name, test := range map[string]struct {
		subject string
		says    *dispatchv1.Delivery
		data    []byte // in place of it
		code    string
		detail  string
		kept    int // bytes; 0 for all
	}{
		"an order's call on another subject": {subject: "dispatch.v1.wms.standard.reconcile.x", says: order, code: "message-refused", detail: "dispatch.v1.wms.standard.shopify_1."},
		"another connector's call":           {subject: "dispatch.v1.wms.bulk.k.x", says: &dispatchv1.Delivery{Id: "x", Connector: "erp", Lane: "bulk", Key: "k"}, code: "message-refused", detail: "dispatch.v1.erp.bulk.k.x"},
		"a call under the key of sources":    {says: under(func(d *dispatchv1.Delivery) { d.Operation = "putOrder" }), code: "message-refused", detail: `nobody may ask for "putOrder"`},
		"a question in another role's name":  {says: under(func(d *dispatchv1.Delivery) { d.Requester = "logic-gate" }), code: "message-refused", detail: `"logic-gate" may not ask`},
		"a question by an order's name":      {says: under(func(d *dispatchv1.Delivery) { d.Id = order.GetId() }), code: "message-refused", detail: "is no name that a question has"},
		"a question that is an order's step": {says: under(func(d *dispatchv1.Delivery) { d.Content = order.GetContent() }), code: "message-refused", detail: "an order's delivery"},
		"a question with an event":           {says: under(func(d *dispatchv1.Delivery) { d.Event = &eventv1.Event{Id: "e"} }), code: "message-refused", detail: "an order's delivery"},
		"no message":                         {subject: "dispatch.v1.wms.express.k.x", data: []byte{0xff, 0xff}, code: "message-unreadable"},
		"no name":                            {subject: "dispatch.v1.wms.express.k.x", data: []byte{}, code: "message-unreadable", detail: "names no delivery"},
		"a subject that is no text":          {subject: "dispatch.v1.wms.express.\xff\xfe.x", data: []byte{0xff}, code: "message-unreadable"},
		"a subject that is too long":         {subject: "dispatch.v1.wms.standard.reconcile." + strings.Repeat("x", 2000), data: []byte{0xff}, code: "message-unreadable"},
		"a large one that may be anybody's":  {subject: "dispatch.v1.wms.standard.reconcile.x", says: large, code: "message-refused", kept: 4 << 10},
		"a large one of a role":              {subject: "dispatch.v1.wms.standard.k.x", says: large, code: "message-refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100, time.Second)
			w.want(1, "")
			subject := test.subject
			if test.says != nil {
				data, err := proto.Marshal(test.says)
				if err != nil {
					t.Fatal(err)
				}
				test.data = data
			}
			if subject == "" {
				subject = bus.DispatchSubject("wms", "standard", "reconcile", test.says.GetId())
			}
			w.sendBytes(subject, test.data)
			w.start()
			w.delivered(1)
			w.emptied()
			if calls := w.account.seen(); len(calls) != 1 {
				t.Errorf("%d calls, want the order's alone: %v", len(calls), calls)
			}
			holds := w.refused()
			if len(holds) != 1 {
				t.Fatalf("%d messages are in the Error Hold, want 1: %v", len(holds), holds)
			}
			for stored, hold := range holds {
				if want := strings.ToValidUTF8(subject[:min(len(subject), 1024)], "?"); !strings.HasPrefix(stored, want) || len(stored) > 1030 {
					t.Errorf("it says that it was on %q, want %q", stored, want)
				}
				message, kept := hold.GetRefused(), test.kept
				if kept == 0 {
					kept = len(test.data)
				}
				if message.GetSequence() != 2 || message.GetSize() != int64(len(test.data)) || !bytes.Equal(message.GetData(), test.data[:kept]) || !message.GetPublishedAt().IsValid() {
					t.Errorf("it keeps %d bytes of the message at %d, which had %d, of %v", len(message.GetData()), message.GetSequence(), message.GetSize(), message.GetPublishedAt())
				}
				if hold.GetCause().GetCode() != test.code || !strings.Contains(hold.GetCause().GetDetail(), test.detail) || hold.GetHeldAt() == nil {
					t.Errorf("the cause is %v, want %s with %q", hold.GetCause(), test.code, test.detail)
				}
				if len(hold.GetCause().GetDetail()) > 512 {
					t.Errorf("the cause has %d bytes", len(hold.GetCause().GetDetail()))
				}
			}
		})
	}
}

// What names a delivery that is here, under another key, is not taken for that delivery in
// another lane: it would take it out of the queue.
func TestAMessageDoesNotTakeAnothersPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Second)
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = true })
	w.want(1, "")
	var dispatcher *throttledispatcher.Dispatcher
	w.start(func(d *throttledispatcher.Dispatcher) { dispatcher = d })
	w.eventually("the order's is in line", func() bool { return dispatcher.Holds(t.Context(), "wms", delivery(1).GetId()) })
	other := delivery(1)
	other.Key, other.Lane = "another", "bulk"
	w.ask(other)
	w.eventually("it is held", func() bool { return len(w.refused()) == 1 })
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = false })
	w.delivered(1)
	w.emptied()
}

// More messages than a lane holds stand in no delivery's way, and who can send them, into
// any lane, fills neither the Error Hold nor the log. What is beyond the bound is removed
// and counted. A later process knows of the holds, and of those that were discarded.
func TestAFloodOfMessages(t *testing.T) {
	t.Parallel()
	const standard, others = 560, 30
	const sent = standard + 2*others
	w := newWorld(t, 100, time.Second)
	w.flood("express", "a", others)
	w.flood("standard", "a", standard) // of which a lane holds 512
	w.flood("bulk", "a", others)
	w.want(1, "")
	stop := w.start()
	w.delivered(1)
	w.emptied()
	if n := len(w.refused()); n != mostRefused {
		t.Errorf("%d messages are in the Error Hold, want %d", n, mostRefused)
	}
	counted := w.scraped()
	held, removed := counted[`peppasync_messages_refused_total{connector="wms",outcome="held"}`], counted[`peppasync_messages_refused_total{connector="wms",outcome="removed"}`]
	if held != mostRefused || math.Abs(removed-(sent-mostRefused)) > sent/10 { // some come again before they are gone
		t.Errorf("%v are counted as held and %v as removed, of %d", held, removed, sent)
	}
	if n := len(w.log.with("of DISPATCH")); n > 10 {
		t.Errorf("%d lines in the log", n)
	}
	stop()
	const discarded = 5
	w.discard(discarded)
	w.flood("bulk", "b", 2*mostRefused)
	w.start()
	w.emptied()
	if n := len(w.refused()); n != mostRefused+discarded {
		t.Errorf("%d messages are or were in the Error Hold after %d were discarded, want %d", n, discarded, mostRefused+discarded)
	}
}

// What no stranger can send is held, however much of it there is: each may be an order's.
func TestWhatOnlyRolesSendIsHeldToTheLast(t *testing.T) {
	t.Parallel()
	const messages = 3 * mostRefused
	w := newWorld(t, 100, time.Second)
	for i := range messages {
		w.sendBytes(fmt.Sprint("dispatch.v1.wms.standard.shopify_", i, ".x"), []byte{0xff})
	}
	w.start()
	w.emptied()
	if n := len(w.refused()); n != messages {
		t.Errorf("%d messages are in the Error Hold, want %d", n, messages)
	}
}

// Killed after the hold and before the message has left the queue, a dispatcher is
// followed by one that holds it no second time, even where a person has discarded it
// meanwhile.
func TestAMessageIsHeldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Second)
	w.flood("standard", "a", 1)
	death := deadlyAfter(1000)
	death.atAck = true
	stop := w.start(throttledispatcher.Abrupt, death.before())
	<-death.died
	stop()
	if _, err := w.bus.Last(t.Context(), bus.StreamDispatch, "dispatch.v1.>"); err != nil {
		t.Fatalf("the message whose acknowledgment was lost is not in the queue: %v", err)
	}
	w.discard(1)
	w.start()
	w.emptied()
	for subject, hold := range w.refused() {
		if hold.GetRelease() == nil {
			t.Errorf("the message on %s is held again, though it was discarded", subject)
		}
	}
}

// Whatever is in a message, it is a delivery that says what its subject says, or there is a
// cause that fits into a hold.
func FuzzReadDelivery(f *testing.F) {
	data, err := proto.Marshal(question(rand.Text()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("dispatch.v1.wms.standard.reconcile.x", data)
	f.Add("dispatch.v1.wms.standard.reconcile.x", []byte{0xff})
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		d, cause := throttledispatcher.ReadDelivery(subject, data)
		if cause == nil {
			if subject != bus.DispatchSubject(d.GetConnector(), d.GetLane(), d.GetKey(), d.GetId()) {
				t.Errorf("%q is taken on %q", d, subject)
			}
			if d.GetKey() == connectors.KeyOfSources && d.GetRequester() != "ingest" {
				t.Errorf("%q may ask sources", d.GetRequester())
			}
			return
		}
		if _, err := proto.Marshal(&dispatchv1.Cause{Code: cause.Code, Detail: cause.Detail}); err != nil || len(cause.Detail) > 1024 {
			t.Errorf("the cause %q of %d bytes cannot be held: %v", cause.Code, len(cause.Detail), err)
		}
	})
}
