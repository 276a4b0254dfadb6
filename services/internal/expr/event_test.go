package expr_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

func TestConditionOverAnEvent(t *testing.T) {
	webhook := &eventv1.Event{
		Connector: "shopify", Topic: "orders/paid", Id: "w1", ReceivedAt: timestamppb.New(time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)),
		Body: []byte(`{"id": 820982911946154508, "total_price": "19.90", "tags": ["vip"], "line_items": [{"sku": "MUG", "quantity": 2}]}`),
	}
	whole := &eventv1.Event{Connector: "desk", Topic: "orders", Id: "o1", Order: &orderv1.Order{Id: "7", FinancialStatus: "paid"}}
	text := &eventv1.Event{Connector: "shopify", Topic: "orders/paid", Id: "w2", Body: []byte("no JSON")}
	for name, c := range map[string]struct {
		source string
		event  *eventv1.Event
		want   bool
		fails  string
	}{
		"a topic":                     {`topic == "orders/paid" && connector == "shopify"`, webhook, true, ""},
		"an id":                       {`id in ["w1", "w9"]`, webhook, true, ""},
		"a time":                      {`receivedAt < timestamp("2026-11-27T09:00:00Z")`, webhook, true, ""},
		"a number of 18 digits":       {`body.id == 820982911946154508`, webhook, true, ""},
		"a list in the body":          {`body.line_items.exists(l, l.sku == "MUG")`, webhook, true, ""},
		"a field that is not there":   {`has(body.note) && body.note == "x"`, webhook, false, ""},
		"the same without a guard":    {`body.note == "x"`, webhook, false, "no such key: note"},
		"an order":                    {`order.financial_status == "paid"`, whole, true, ""},
		"the body of an order":        {`body.id == 7`, whole, false, "it has no JSON body"},
		"the order of a webhook":      {`order.id == "7"`, webhook, false, "it did not come as an order"},
		"a body that is none":         {`body.id == 7`, text, false, "it has no JSON body"},
		"what is decided without it":  {`topic == "orders/create" && body.id == 7`, text, false, ""},
		"what is neither true nor no": {`body.total_price`, webhook, false, "expected true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			condition, err := compiler(t).EventCondition(c.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := condition.Eval(c.event)
			if got != c.want || (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%v, %v; want %v, %q", got, err, c.want, c.fails)
			}
		})
	}
	for source, want := range map[string]string{
		`topic`:               `found a text (string), expected true or false, such as topic == "orders/paid"`,
		`topic = "x"`:         "line 1",
		`status == 200`:       `"status" is not known here; an expression about an event sees connector`,
		`order.paid == "yes"`: `there is no field "paid" here`,
	} {
		if _, err := compiler(t).EventCondition(source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
}
