package conformance

import (
	"bytes"
	"errors"
	"net/http"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/connectors"
)

// Source is a source of webhooks under test.
type Source struct {
	Source connectors.Source
	// Sign returns the headers of a delivery, signed with the key.
	Sign func(topic, eventID string, body []byte, key string) http.Header
	// Orders are bodies that hold a whole order, with the topic they come by.
	Orders []OrderCase
	// Others are topics that carry no order.
	Others []string
}

// OrderCase is a body and its topic.
type OrderCase struct {
	Topic string
	Body  []byte
	// ID is the order's.
	ID string
}

const (
	key         = "the-key-of-today"
	previousKey = "the-key-of-yesterday"
	eventName   = "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"
)

var rotating = connectors.Secret{"secret": key, "previousSecret": previousKey}

// Test runs the suite.
func (s Source) Test(t *testing.T) {
	t.Helper()
	for _, o := range s.Orders {
		t.Run(o.Topic, func(t *testing.T) {
			t.Run("signatures", func(t *testing.T) { s.testVerify(t, o) })
			t.Run("its order", func(t *testing.T) { s.testOrder(t, o) })
		})
	}
	t.Run("topics without an order", func(t *testing.T) {
		for _, topic := range s.Others {
			if _, err := s.Source.Order(topic, []byte(`{}`)); !errors.Is(err, connectors.ErrNotAnOrder) {
				t.Errorf("topic %q: error %v, want ErrNotAnOrder", topic, err)
			}
		}
	})
}

func (s Source) testVerify(t *testing.T, o OrderCase) {
	for name, signer := range map[string]string{"today's key": key, "yesterday's key": previousKey} {
		webhook, err := s.Source.Verify(s.Sign(o.Topic, eventName, o.Body, signer), o.Body, rotating)
		if err != nil || webhook.Topic != o.Topic || webhook.EventID == "" {
			t.Errorf("%s: %+v, error %v", name, webhook, err)
		}
	}
	header := s.Sign(o.Topic, eventName, o.Body, key)
	first, _ := s.Source.Verify(header, o.Body, rotating)
	if again, _ := s.Source.Verify(header, o.Body, rotating); again != first {
		t.Errorf("a retry is another event: %+v and %+v", first, again)
	}
	emptied := connectors.Secret{"secret": key, "previousSecret": ""}
	refused := map[string]struct {
		header http.Header
		body   []byte
		secret connectors.Secret
		want   error
	}{
		"another key":                    {s.Sign(o.Topic, eventName, o.Body, "guess"), o.Body, rotating, connectors.ErrSignature},
		"a key that is no longer valid":  {s.Sign(o.Topic, eventName, o.Body, previousKey), o.Body, connectors.Secret{"secret": key}, connectors.ErrSignature},
		"no headers":                     {http.Header{}, o.Body, rotating, connectors.ErrSignature},
		"a body with a byte more":        {header, append(bytes.Clone(o.Body), ' '), rotating, connectors.ErrSignature},
		"a body that is empty":           {header, nil, rotating, connectors.ErrSignature},
		"no secret":                      {header, o.Body, nil, connectors.ErrSecret},
		"an empty secret, and its guess": {s.Sign(o.Topic, eventName, o.Body, ""), o.Body, connectors.Secret{"secret": ""}, connectors.ErrSecret},
		"an empty previous secret":       {s.Sign(o.Topic, eventName, o.Body, ""), o.Body, emptied, connectors.ErrSignature},
		"a missing previous secret":      {s.Sign(o.Topic, eventName, o.Body, ""), o.Body, connectors.Secret{"secret": key}, connectors.ErrSignature},
	}
	for name, test := range refused {
		if _, err := s.Source.Verify(test.header, test.body, test.secret); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", name, err, test.want)
		}
	}
}

func (s Source) testOrder(t *testing.T, o OrderCase) {
	order, err := s.Source.Order(o.Topic, o.Body)
	if err != nil {
		t.Fatal(err)
	}
	if order.GetId() != o.ID || order.GetUpdatedAt().CheckValid() != nil || order.GetSource() != "" {
		t.Errorf("id %q, updated %v, source %q; want id %q, a time, and no source", order.GetId(), order.GetUpdatedAt(), order.GetSource(), o.ID)
	}
	again, err := s.Source.Order(o.Topic, o.Body)
	if err != nil || !proto.Equal(order, again) {
		t.Errorf("read twice, it is another order (error %v)", err)
	}
	// The end may be space, which is none of the order.
	for cut := range len(bytes.TrimSpace(o.Body)) {
		s.check(t, o.Topic, o.Body[:cut])
		if _, err := s.Source.Order(o.Topic, o.Body[:cut]); !errors.Is(err, connectors.ErrMalformed) {
			t.Fatalf("cut after %d bytes: error %v, want ErrMalformed", cut, err)
		}
	}
	for _, body := range []string{"", "null", "[]", "5", `"x"`, "{", "{}", "\x00", "<html>", `{"id":1e3}`, `{"id":{"id":{}}}`} {
		s.check(t, o.Topic, []byte(body))
	}
}

// check checks what holds for every body.
func (s Source) check(t *testing.T, topic string, body []byte) {
	t.Helper()
	order, err := s.Source.Order(topic, body)
	switch {
	case err != nil && (order != nil || !errors.Is(err, connectors.ErrMalformed) && !errors.Is(err, connectors.ErrNotAnOrder)):
		t.Errorf("order %v with the error %v: want no order, and ErrMalformed or ErrNotAnOrder", order, err)
	case err == nil && (order.GetId() == "" || order.GetUpdatedAt().CheckValid() != nil):
		t.Errorf("an order without id or time: %v", order)
	case err == nil:
		if _, err := proto.Marshal(order); err != nil {
			t.Errorf("the order cannot be stored: %v", err)
		}
	}
}

// FuzzOrder feeds arbitrary bodies.
func (s Source) FuzzOrder(f *testing.F) {
	for _, o := range s.Orders {
		f.Add(o.Topic, o.Body)
	}
	f.Fuzz(func(t *testing.T, topic string, body []byte) { s.check(t, topic, body) })
}

// FuzzVerify feeds arbitrary signatures, which nobody can guess.
func (s Source) FuzzVerify(f *testing.F) {
	for _, o := range s.Orders {
		header := s.Sign(o.Topic, eventName, o.Body, "guess")
		for name := range header {
			f.Add(name, header.Get(name), o.Body)
		}
	}
	f.Fuzz(func(t *testing.T, name, value string, body []byte) {
		header := s.Sign("orders/create", eventName, body, "guess")
		header.Set(name, value)
		if webhook, err := s.Source.Verify(header, body, rotating); !errors.Is(err, connectors.ErrSignature) {
			t.Errorf("%+v, error %v, want ErrSignature", webhook, err)
		}
	})
}
