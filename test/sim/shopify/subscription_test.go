package shopify_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

const createSubscription = `mutation($topic: WebhookSubscriptionTopic!, $in: WebhookSubscriptionInput!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: $in) { webhookSubscription { id topic uri name format } userErrors { field message } } }`

const updateSubscription = `mutation($id: ID!, $in: WebhookSubscriptionInput!) {
  webhookSubscriptionUpdate(id: $id, webhookSubscription: $in) { webhookSubscription { id uri } userErrors { field message } } }`

const listSubscriptions = `query($first: Int!, $after: String, $topics: [WebhookSubscriptionTopic!], $uri: String, $reverse: Boolean) {
  webhookSubscriptions(first: $first, after: $after, topics: $topics, uri: $uri, reverse: $reverse) {
    nodes { id legacyResourceId topic uri format includeFields createdAt updatedAt apiVersion { handle } } pageInfo { hasNextPage endCursor } } }`

func subscribe(t *testing.T, s *shopify.Shop, topic, uri string) string {
	t.Helper()
	a := graph(t, s, createSubscription, map[string]any{"topic": topic, "in": map[string]any{"uri": uri, "format": "JSON"}})
	made := a.Data["webhookSubscriptionCreate"].(map[string]any)
	if len(made["userErrors"].([]any)) > 0 {
		t.Fatalf("%s %s: %v", topic, uri, made)
	}
	return made["webhookSubscription"].(map[string]any)["id"].(string)
}

func problem(a answer, mutation string) string {
	errors := a.Data[mutation].(map[string]any)["userErrors"].([]any)
	if len(errors) == 0 {
		return ""
	}
	return errors[0].(map[string]any)["message"].(string)
}

func TestSubscriptionsAreManaged(t *testing.T) {
	s := newShop(t, shopify.Config{Target: "http://127.0.0.1:1/not-shown"})
	first := subscribe(t, s, "ORDERS_CREATE", "https://engine.example/hooks")
	second := subscribe(t, s, "ORDERS_UPDATED", "https://engine.example/hooks")
	for _, bad := range []struct {
		topic, message string
		in             map[string]any
	}{
		{"ORDERS_CREATE", "Address for this topic has already been taken", map[string]any{"uri": "https://engine.example/hooks"}},
		{"ORDERS_CREATE", "Address can't be blank", map[string]any{}},
		{"ORDERS_CREATE", "Address is invalid", map[string]any{"uri": "nowhere"}},
		{"ORDERS_CREATE", "Name is invalid", map[string]any{"uri": "https://x.example/", "name": "no blanks"}},
	} {
		a := graph(t, s, createSubscription, map[string]any{"topic": bad.topic, "in": bad.in})
		if got := problem(a, "webhookSubscriptionCreate"); got != bad.message {
			t.Errorf("%v = %q, want %q", bad.in, got, bad.message)
		}
	}
	if a := graph(t, s, createSubscription, map[string]any{"topic": "ORDERS_EATEN", "in": map[string]any{"uri": "https://x.example/"}}); len(a.Errors) == 0 {
		t.Error("a topic that is not there is taken")
	}
	a := graph(t, s, listSubscriptions, map[string]any{"first": 1})
	list := a.Data["webhookSubscriptions"].(map[string]any)
	node := list["nodes"].([]any)[0].(map[string]any)
	if list["pageInfo"].(map[string]any)["hasNextPage"] != true || node["id"] != first || node["topic"] != "ORDERS_CREATE" || node["format"] != "JSON" ||
		!cmp.Equal(node["includeFields"], []any{}) || node["apiVersion"].(map[string]any)["handle"] != shopify.DefaultAPIVersion {
		t.Errorf("list %v", list)
	}
	ids := func(variables map[string]any) []string {
		t.Helper()
		variables["first"] = 10
		a := graph(t, s, listSubscriptions, variables)
		all := []string{}
		for _, n := range a.Data["webhookSubscriptions"].(map[string]any)["nodes"].([]any) {
			all = append(all, n.(map[string]any)["id"].(string))
		}
		return all
	}
	cursor := list["pageInfo"].(map[string]any)["endCursor"]
	for _, step := range []struct {
		variables map[string]any
		want      []string
	}{
		{map[string]any{"after": cursor}, []string{second}},
		{map[string]any{"topics": []string{"ORDERS_CREATE"}}, []string{first}},
		{map[string]any{"uri": "https://else.example/"}, []string{}},
		{map[string]any{"reverse": true}, []string{second, first}},
		{map[string]any{"reverse": true, "after": cursor}, []string{}},
	} {
		if got := ids(step.variables); !slices.Equal(got, step.want) {
			t.Errorf("%v = %v, want %v", step.variables, got, step.want)
		}
	}
	a = graph(t, s, updateSubscription, map[string]any{"id": first, "in": map[string]any{"uri": "https://new.example/hooks"}})
	if got := a.Data["webhookSubscriptionUpdate"].(map[string]any)["webhookSubscription"].(map[string]any)["uri"]; got != "https://new.example/hooks" {
		t.Errorf("updated to %v", got)
	}
	if got := problem(graph(t, s, updateSubscription, map[string]any{"id": "gid://shopify/WebhookSubscription/1", "in": map[string]any{}}),
		"webhookSubscriptionUpdate"); got != "Webhook subscription does not exist" {
		t.Errorf("updating what is not there: %q", got)
	}
	const remove = `mutation($id: ID!) { webhookSubscriptionDelete(id: $id) { deletedWebhookSubscriptionId userErrors { message } } }`
	if a := graph(t, s, remove, map[string]any{"id": first}); a.Data["webhookSubscriptionDelete"].(map[string]any)["deletedWebhookSubscriptionId"] != first {
		t.Errorf("deleted %+v", a)
	}
	if got := problem(graph(t, s, remove, map[string]any{"id": first}), "webhookSubscriptionDelete"); got == "" {
		t.Error("deleted twice")
	}
	if got := ids(map[string]any{"after": cursor}); !slices.Equal(got, []string{second}) {
		t.Errorf("after one that is gone: %v", got)
	}
	const read = `query($id: ID!) { webhookSubscription(id: $id) { id topic } }`
	if a := graph(t, s, read, map[string]any{"id": second}); a.Data["webhookSubscription"].(map[string]any)["topic"] != "ORDERS_UPDATED" {
		t.Errorf("read %+v", a)
	}
	if a := graph(t, s, read, map[string]any{"id": first}); a.Data["webhookSubscription"] != nil {
		t.Errorf("read %+v", a)
	}
}

func TestEachSubscriptionGetsItsTopics(t *testing.T) {
	r := newReceiver(t, nil)
	s := newShop(t, shopify.Config{})
	subscribe(t, s, "ORDERS_CREATE", r.URL+"/create")
	subscribe(t, s, "ORDERS_UPDATED", r.URL+"/updated")
	subscribe(t, s, "ORDERS_CANCELLED", r.URL+"/cancelled")
	if _, err := s.SellOne(one("VIRAL")); err != nil {
		t.Fatal(err)
	}
	delivered(t, s)
	if _, err := s.Cancel("#1001"); err != nil {
		t.Fatal(err)
	}
	delivered(t, s)
	topics, events, ids := []string{}, make(map[string]int), make(map[string]int)
	for _, h := range r.All() {
		topics = append(topics, h.header.Get("X-Shopify-Topic"))
		events[h.header.Get("X-Shopify-Event-Id")]++
		ids[h.header.Get("X-Shopify-Webhook-Id")]++
	}
	slices.Sort(topics)
	if !slices.Equal(topics, []string{"orders/cancelled", "orders/create", "orders/updated"}) || len(events) != 2 || len(ids) != 3 {
		t.Errorf("topics %v, %d events, %d webhooks; the cancelling is one event for two subscriptions", topics, len(events), len(ids))
	}
	if rep := s.Report(); rep.Captured != 1 || rep.Missed != 0 || len(rep.Subscriptions) != 3 || rep.Subscriptions[0].Acknowledged != 1 {
		t.Errorf("report %+v", rep)
	}
}

func TestSubscriptionOfTheAPIIsDeletedAfterTheLastFailure(t *testing.T) {
	r := newReceiver(t, func(_ int, h hook, w http.ResponseWriter) {
		if h.header.Get("X-Shopify-Topic") == "orders/create" {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	retries := slices.Repeat([]jsontime.Duration{jsontime.Duration(time.Millisecond)}, 8)
	s := newShop(t, shopify.Config{Retries: retries})
	subscribe(t, s, "ORDERS_CREATE", r.URL)
	subscribe(t, s, "ORDERS_UPDATED", r.URL)
	if _, err := s.SellOne(one("VIRAL")); err != nil {
		t.Fatal(err)
	}
	delivered(t, s)
	rep := s.Report()
	if rep.Webhooks.Attempts != 9 || rep.Webhooks.SubscriptionsDeleted != 1 || len(rep.Subscriptions) != 1 || rep.Subscriptions[0].Topic != "orders/updated" {
		t.Errorf("report %+v %+v", rep.Webhooks, rep.Subscriptions)
	}
	if _, err := s.SellOne(one("VIRAL")); err != nil {
		t.Fatal(err)
	}
	delivered(t, s)
	if missed := s.Missed(); !slices.Equal(missed, []string{"#1001", "#1002"}) || s.Report().Webhooks.Undelivered != 1 {
		t.Errorf("missed %v", missed)
	}
	subscribe(t, s, "ORDERS_CREATE", r.URL) // made again, it works again
	if _, err := s.Update("#1001", shopify.Edit{Note: "changed"}); err != nil {
		t.Fatal(err)
	}
	delivered(t, s)
	if missed := s.Missed(); !slices.Equal(missed, []string{"#1002"}) {
		t.Errorf("missed %v", missed)
	}
}

func TestMishapsAreNoFailures(t *testing.T) {
	r := newReceiver(t, nil)
	s := newShop(t, shopify.Config{Target: r.URL, Mishaps: faults.Mishaps{Drop: 1, Topics: []string{"orders/create"}}})
	sale, err := s.Sell(shopify.Burst{Count: 3, SKU: "VIRAL"})
	if err != nil {
		t.Fatal(err)
	}
	finished(t, sale)
	delivered(t, s)
	if rep := s.Report(); len(r.All()) != 0 || rep.Webhooks.Dropped != 3 || rep.Webhooks.Created != 0 || rep.Missed != 3 || rep.Webhooks.Undelivered != 0 {
		t.Errorf("report %+v", rep)
	}
	if err := s.SetMishaps(faults.Mishaps{Twice: 1, Late: 1, LateBy: jsontime.Duration(30 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := s.SellOne(one("VIRAL")); err != nil {
		t.Fatal(err)
	}
	if sale, err = s.Sell(shopify.Burst{Count: 1, SKU: "VIRAL"}); err != nil {
		t.Fatal(err)
	}
	finished(t, sale)
	delivered(t, s)
	if time.Since(begin) < 30*time.Millisecond {
		t.Errorf("late webhooks came after %v", time.Since(begin))
	}
	deadline, tick := time.After(20*time.Second), time.NewTicker(2*time.Millisecond)
	defer tick.Stop()
	for s.Report().Webhooks.Repeats < 2 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("nothing is sent twice: %+v", s.Report().Webhooks)
		}
	}
	if rep := s.Report(); rep.Webhooks.Repeats != 2 || rep.Webhooks.Late != 2 || rep.Webhooks.Twice != 2 || rep.Captured != 2 || len(r.All()) != 4 {
		t.Errorf("report %+v", rep.Webhooks)
	}
	if err := s.SetMishaps(faults.Mishaps{Twice: 2}); err == nil {
		t.Error("a share of 2 is taken")
	}
	if _, err := shopify.New(shopify.Config{Mishaps: faults.Mishaps{Drop: -1}}); err == nil || !strings.Contains(err.Error(), "share between") {
		t.Errorf("a share of -1: %v", err)
	}
}
