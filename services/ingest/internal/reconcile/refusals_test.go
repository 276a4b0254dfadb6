package reconcile_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
)

// Whatever a source answers, in whatever order: a hold is open from the first refusal on,
// which is its moment, until the answer that ends the last of what was refused; and nothing
// is written but what says something new.
func TestWhichHoldFollowsFromTheAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		operation := rapid.SampledFrom([]string{connectors.OperationListOrders, connectors.OperationReadOrder}).Draw(t, "operation")
		at := now
		var (
			hold   *dispatchv1.Hold
			since  time.Time // zero where the model has no open hold
			code   string
			orders = map[string]time.Time{}
		)
		ids := rapid.SampledFrom([]string{"1", "2", "3"})
		for range rapid.IntRange(1, 30).Draw(t, "answers") {
			at = at.Add(time.Duration(rapid.IntRange(1, 4000).Draw(t, "seconds")) * time.Second)
			before, was := proto.CloneOf(hold), since
			newCode, newOrders := code, maps.Clone(orders)
			var changed bool
			if rapid.Bool().Draw(t, "refused") {
				r := reconcile.Refusal{Connector: "shop", Operation: operation, Cause: &dispatchv1.Cause{Code: rapid.SampledFrom([]string{"no-right", "http-410"}).Draw(t, "code")}}
				if newCode = r.Cause.GetCode(); operation == connectors.OperationReadOrder {
					r.Order = &listing.Partial{ID: ids.Draw(t, "order"), UpdatedAt: now.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "version")) * time.Second)}
					newOrders[r.Order.ID] = r.Order.UpdatedAt
				}
				if since.IsZero() {
					since = at
				}
				hold, changed = reconcile.Refused(hold, r, "ingest", at)
			} else {
				var answered []string
				if operation == connectors.OperationReadOrder && !rapid.Bool().Draw(t, "all") {
					answered = []string{ids.Draw(t, "answered")}
				}
				for _, id := range answered {
					delete(newOrders, id)
				}
				if len(answered) == 0 || len(newOrders) == 0 {
					since, newCode = time.Time{}, ""
					clear(newOrders)
				}
				hold, changed = reconcile.Answered(hold, "ingest", "it answers", at, answered...)
			}
			news := since != was || newCode != code || !maps.EqualFunc(orders, newOrders, time.Time.Equal)
			code, orders = newCode, newOrders
			if changed != news {
				t.Fatalf("written %v, want %v: from %v to %v", changed, news, before, hold)
			}
			if !changed && !proto.Equal(before, hold) {
				t.Fatalf("it is another without being written: %v, %v", before, hold)
			}
			check(t, hold, since, code, orders)
		}
	})
}

func check(t *rapid.T, hold *dispatchv1.Hold, since time.Time, code string, orders map[string]time.Time) {
	unread := map[string]time.Time{}
	for _, o := range reconcile.Unread(hold) {
		unread[o.ID] = o.UpdatedAt
	}
	switch {
	case reconcile.Open(hold) != !since.IsZero():
		t.Fatalf("open %v, want it so since %v: %v", reconcile.Open(hold), since, hold)
	case !maps.EqualFunc(unread, orders, time.Time.Equal):
		t.Fatalf("unread %v, want %v", unread, orders)
	case hold == nil:
	case !connectors.IsRefusal(hold):
		t.Fatalf("%v is not known for what it is", hold)
	case !since.IsZero() && (!hold.GetHeldAt().AsTime().Equal(since) || hold.GetCause().GetCode() != code):
		t.Fatalf("%v, want it held since %v for %s", hold, since, code)
	case since.IsZero() && (hold.GetRelease().GetReason() == "" || hold.GetRelease().GetDeliveryId() != hold.GetDelivery().GetId()):
		t.Fatalf("closed without a word: %v", hold)
	}
}

func TestAdviceNamesWhatIsToBeDone(t *testing.T) {
	cause := func(code string, status int32) *dispatchv1.Cause {
		return &dispatchv1.Cause{Code: code, Status: status}
	}
	for name, test := range map[string]struct {
		operation, right, secret string
		cause                    *dispatchv1.Cause
		want                     []string
	}{
		"a scope that the source names": {connectors.OperationListOrders, "the scope read_orders", "shopify", cause(connectors.CodeNoRight, 200), []string{"the scope read_orders", "secret shopify", "every: 0s"}},
		"one that it does not":          {connectors.OperationPutWebhook, "", "", cause("http-403", 403), []string{"the right to manage webhooks", "the credentials"}},
		"credentials that are refused":  {connectors.OperationListOrders, "", "shop", cause(connectors.CodeCredentialsRefused, 401), []string{"renew the credentials in the secret shop"}},
		"credentials for this alone":    {connectors.OperationListOrders, "", "shop", cause("http-401", 401), []string{"renew the credentials"}},
		"no credentials":                {connectors.OperationListOrders, "", "shop", cause(connectors.CodeCredentialsMissing, 0), []string{"put in the credentials in the secret shop"}},
		"what is gone":                  {connectors.OperationListOrders, "", "", cause("http-410", 410), []string{"spec.endpoint"}},
		"an order too large":            {connectors.OperationReadOrder, "", "", cause(connectors.CodeOrderTooLarge, 0), []string{"smaller", "by hand"}},
		"anything else":                 {connectors.OperationListOrders, "", "", cause("odd", 422), []string{"what the source says"}},
	} {
		got := reconcile.Advice(test.operation, test.cause, test.right, test.secret)
		if slices.ContainsFunc(test.want, func(part string) bool { return !strings.Contains(got, part) }) {
			t.Errorf("%s: %q, want %q in it", name, got, test.want)
		}
	}
}

// A hold of another build, or that somebody has written, names no order that is asked for.
func TestUnreadOfAnyHold(t *testing.T) {
	for name, hold := range map[string]*dispatchv1.Hold{
		"none": nil, "nothing in it": {}, "a step": {Delivery: &dispatchv1.Delivery{Content: &dispatchv1.Delivery_OrderStep{}}},
	} {
		if got := reconcile.Unread(hold); len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}
