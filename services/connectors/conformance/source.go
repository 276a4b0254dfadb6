package conformance

import (
	"bytes"
	"cmp"
	"errors"
	"net/http"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
)

// Source is a source of webhooks under test.
type Source struct {
	Source connectors.Source
	// Spec is that of a connector; one with an empty webhook where it is nil.
	Spec *v1alpha1.ConnectorSpec
	// Keys are three secrets where they have a form of their own: today's,
	// yesterday's, and one that is not valid.
	Keys *[3]string
	// SecretKeys are the keys of the secret that hold them; "secret" and "previousSecret"
	// where they are empty.
	SecretKeys [2]string
	// Sign returns the headers of a delivery at the moment At, signed with the key.
	Sign func(topic, eventID string, body []byte, key string) http.Header
	// Shown says that the sender shows the secret and does not sign the body with it.
	Shown bool
	// Orders are bodies that hold a whole order, with the topic they come by.
	Orders []OrderCase
	// Thin are bodies that only name an order; ID is the one that they name.
	Thin []OrderCase
	// Signals are bodies that are kept and hold no order, with their topics.
	Signals []OrderCase
	// Others are topics that carry no order.
	Others []string
}

// OrderCase is a body and its topic.
type OrderCase struct {
	Topic string
	// Body is the delivery's.
	Body []byte
	// Event is the part of it that Order reads; the whole where it is nil.
	Event []byte
	// ID is the order's.
	ID string
}

func (o OrderCase) event() []byte {
	if o.Event == nil {
		return o.Body
	}
	return o.Event
}

const eventName = "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"

// keys returns today's, yesterday's and a wrong one.
func (s Source) keys() (key, previous, guess string) {
	if s.Keys != nil {
		return s.Keys[0], s.Keys[1], s.Keys[2]
	}
	return "the-key-of-today", "the-key-of-yesterday", "guess"
}

func (s Source) rotating() connectors.Secret {
	key, previous, _ := s.keys()
	today, before := s.secretKeys()
	return connectors.Secret{today: key, before: previous}
}

func (s Source) secretKeys() (today, before string) {
	return cmp.Or(s.SecretKeys[0], "secret"), cmp.Or(s.SecretKeys[1], "previousSecret")
}

func (s Source) spec() *v1alpha1.ConnectorSpec {
	if s.Spec == nil {
		return &v1alpha1.ConnectorSpec{Webhook: &v1alpha1.Webhook{}}
	}
	return s.Spec
}

func (s Source) verify(header http.Header, body []byte, secret connectors.Secret) ([]connectors.Event, error) {
	return s.Source.Verify(connectors.Delivery{Spec: s.spec(), Header: header, Body: body, Secret: secret, ReceivedAt: At})
}

// Test runs the suite.
func (s Source) Test(t *testing.T) {
	t.Helper()
	for _, o := range s.Orders {
		t.Run(o.Topic, func(t *testing.T) {
			t.Run("signatures", func(t *testing.T) { s.testVerify(t, o) })
			t.Run("its order", func(t *testing.T) { s.testOrder(t, o) })
		})
	}
	for _, o := range s.Thin {
		t.Run(o.Topic, func(t *testing.T) {
			t.Run("signatures", func(t *testing.T) { s.testVerify(t, o) })
			t.Run("the order that it names", func(t *testing.T) { s.testThin(t, o) })
		})
	}
	for _, o := range s.Signals {
		t.Run(o.Topic, func(t *testing.T) {
			s.testVerify(t, o)
			if order, err := s.Source.Order(s.spec(), o.Topic, o.event()); !errors.Is(err, connectors.ErrNotAnOrder) {
				t.Errorf("%v, error %v, want ErrNotAnOrder", order, err)
			}
		})
	}
	if enumerated, ok := s.Source.(connectors.Enumerated); ok {
		t.Run("topics of orders", func(t *testing.T) { s.testOrderTopics(t, enumerated.OrderTopics()) })
	}
	t.Run("topics without an order", func(t *testing.T) {
		for _, topic := range s.Others {
			if _, err := s.Source.Order(s.spec(), topic, []byte(`{}`)); !errors.Is(err, connectors.ErrNotAnOrder) {
				t.Errorf("topic %q: error %v, want ErrNotAnOrder", topic, err)
			}
		}
	})
}

// testOrderTopics: what programs are told to hand orders in under, flows can take, and the
// suite's own cases are among it.
func (s Source) testOrderTopics(t *testing.T, topics []string) {
	if len(topics) == 0 || !slices.IsSorted(topics) {
		t.Errorf("%q, want some, sorted", topics)
	}
	for _, topic := range topics {
		if _, err := s.Source.Order(s.spec(), topic, nil); topic == "" || errors.Is(err, connectors.ErrNotAnOrder) {
			t.Errorf("topic %q: error %v, of a topic that is said to carry an order", topic, err)
		}
	}
	for _, topic := range s.Others {
		if slices.Contains(topics, topic) {
			t.Errorf("topic %q is said to carry an order, and not to", topic)
		}
	}
}

func (s Source) testVerify(t *testing.T, o OrderCase) {
	key, previous, guess := s.keys()
	for name, signer := range map[string]string{"today's key": key, "yesterday's key": previous} {
		events, err := s.verify(s.Sign(o.Topic, eventName, o.Body, signer), o.Body, s.rotating())
		if err != nil || len(events) != 1 || events[0].Topic != o.Topic || events[0].ID == "" || !bytes.Equal(events[0].Body, o.event()) {
			t.Errorf("%s: %+v, error %v", name, events, err)
		}
	}
	header := s.Sign(o.Topic, eventName, o.Body, key)
	first, _ := s.verify(header, o.Body, s.rotating())
	again, _ := s.verify(header, o.Body, s.rotating())
	if diff := gocmp.Diff(first, again); diff != "" {
		t.Errorf("a retry is another event (-first +again):\n%s", diff)
	}
	today, before := s.secretKeys()
	emptied := connectors.Secret{today: key, before: ""}
	type attempt struct {
		header http.Header
		body   []byte
		secret connectors.Secret
		want   error
	}
	refused := map[string]attempt{
		"another key":                    {s.Sign(o.Topic, eventName, o.Body, guess), o.Body, s.rotating(), connectors.ErrSignature},
		"a key that is no longer valid":  {s.Sign(o.Topic, eventName, o.Body, previous), o.Body, connectors.Secret{today: key}, connectors.ErrSignature},
		"no headers":                     {http.Header{}, o.Body, s.rotating(), connectors.ErrSignature},
		"no secret":                      {header, o.Body, nil, connectors.ErrSecret},
		"an empty secret, and its guess": {s.Sign(o.Topic, eventName, o.Body, ""), o.Body, connectors.Secret{today: ""}, connectors.ErrSecret},
		"an empty previous secret":       {s.Sign(o.Topic, eventName, o.Body, ""), o.Body, emptied, connectors.ErrSignature},
		"a missing previous secret":      {s.Sign(o.Topic, eventName, o.Body, ""), o.Body, connectors.Secret{today: key}, connectors.ErrSignature},
	}
	if !s.Shown {
		refused["a body with a byte more"] = attempt{header, append(bytes.Clone(o.Body), ' '), s.rotating(), connectors.ErrSignature}
		refused["a body that is empty"] = attempt{header, nil, s.rotating(), connectors.ErrSignature}
	}
	for name, test := range refused {
		if events, err := s.verify(test.header, test.body, test.secret); !errors.Is(err, test.want) || events != nil {
			t.Errorf("%s: %+v, error %v, want none, and %v", name, events, err, test.want)
		}
	}
}

func (s Source) testOrder(t *testing.T, o OrderCase) {
	body := o.event()
	order, err := s.Source.Order(s.spec(), o.Topic, body)
	if err != nil {
		t.Fatal(err)
	}
	if order.GetId() != o.ID || order.GetUpdatedAt().CheckValid() != nil || order.GetSource() != "" {
		t.Errorf("id %q, updated %v, source %q; want id %q, a time, and no source", order.GetId(), order.GetUpdatedAt(), order.GetSource(), o.ID)
	}
	again, err := s.Source.Order(s.spec(), o.Topic, body)
	if err != nil || !proto.Equal(order, again) {
		t.Errorf("read twice, it is another order (error %v)", err)
	}
	// The end may be space, which is none of the order.
	for cut := range len(bytes.TrimSpace(body)) {
		s.check(t, o.Topic, body[:cut])
		if _, err := s.Source.Order(s.spec(), o.Topic, body[:cut]); !errors.Is(err, connectors.ErrMalformed) {
			t.Fatalf("cut after %d bytes: error %v, want ErrMalformed", cut, err)
		}
	}
	s.checkBodies(t, o.Topic)
}

// testThin checks that an event which only names its order says so, and which.
func (s Source) testThin(t *testing.T, o OrderCase) {
	thin, ok := s.Source.(connectors.Thin)
	if !ok {
		t.Fatal("the source is no connectors.Thin, so nobody can be asked for the order")
	}
	body := o.event()
	if order, err := s.Source.Order(s.spec(), o.Topic, body); order != nil || !errors.Is(err, connectors.ErrThin) {
		t.Errorf("order %v, error %v, want ErrThin", order, err)
	}
	if id, err := thin.OrderID(s.spec(), o.Topic, body); id != o.ID || err != nil {
		t.Errorf("id %q, error %v, want %q", id, err, o.ID)
	}
	for cut := range len(bytes.TrimSpace(body)) {
		if id, err := thin.OrderID(s.spec(), o.Topic, body[:cut]); id != "" || !errors.Is(err, connectors.ErrMalformed) {
			t.Fatalf("cut after %d bytes: id %q, error %v, want ErrMalformed", cut, id, err)
		}
	}
	s.checkBodies(t, o.Topic)
}

func (s Source) checkBodies(t *testing.T, topic string) {
	t.Helper()
	for _, body := range []string{"", "null", "[]", "5", `"x"`, "{", "{}", "\x00", "<html>", `{"id":1e3}`, `{"id":{"id":{}}}`} {
		s.check(t, topic, []byte(body))
	}
}

// check checks what holds for every body.
func (s Source) check(t *testing.T, topic string, body []byte) {
	t.Helper()
	order, err := s.Source.Order(s.spec(), topic, body)
	understood := errors.Is(err, connectors.ErrMalformed) || errors.Is(err, connectors.ErrNotAnOrder) || errors.Is(err, connectors.ErrThin)
	switch {
	case err != nil && (order != nil || !understood):
		t.Errorf("order %v with the error %v: want no order, and ErrMalformed, ErrNotAnOrder or ErrThin", order, err)
	case err == nil && (order.GetId() == "" || order.GetUpdatedAt().CheckValid() != nil):
		t.Errorf("an order without id or time: %v", order)
	case err == nil:
		if _, err := proto.Marshal(order); err != nil {
			t.Errorf("the order cannot be stored: %v", err)
		}
	}
}

func (s Source) cases() []OrderCase { return slices.Concat(s.Orders, s.Thin, s.Signals) }

// FuzzOrder feeds arbitrary bodies.
func (s Source) FuzzOrder(f *testing.F) {
	for _, o := range s.cases() {
		f.Add(o.Topic, o.event())
	}
	f.Fuzz(func(t *testing.T, topic string, body []byte) { s.check(t, topic, body) })
}

// FuzzVerify feeds arbitrary signatures, which nobody can guess.
func (s Source) FuzzVerify(f *testing.F) {
	_, _, guess := s.keys()
	for _, o := range s.cases() {
		header := s.Sign(o.Topic, eventName, o.Body, guess)
		for name := range header {
			f.Add(name, header.Get(name), o.Body)
		}
	}
	f.Fuzz(func(t *testing.T, name, value string, body []byte) {
		header := s.Sign(s.cases()[0].Topic, eventName, body, guess)
		header.Set(name, value)
		// A delivery that tells nothing may be unsigned.
		if events, err := s.verify(header, body, s.rotating()); !errors.Is(err, connectors.ErrSignature) && (err != nil || len(events) > 0) {
			t.Errorf("%+v, error %v, want ErrSignature", events, err)
		}
	})
}
