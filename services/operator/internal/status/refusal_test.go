package status

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// A person reads which operation is refused, since when, why and what to do; of orders that
// could not be read, the first.
func TestWhatIsSaidOfARefusal(t *testing.T) {
	t.Parallel()
	orders := Refusal{
		Operation: "listOrders", Since: start, Cause: "no-right", Detail: "This action requires\nthe scope read_orders.",
		Advice: "give the credentials in the secret shopify the scope read_orders",
	}
	const ordersText = "listOrders is refused since 2027-01-01 00:00 UTC: no-right: This action requires the scope read_orders.; " +
		"give the credentials in the secret shopify the scope read_orders"
	for name, test := range map[string]struct {
		in     Input
		status metav1.ConditionStatus
		reason string
		want   string
	}{
		"nothing is refused": {Input{Counts: &Counts{}}, metav1.ConditionFalse, "NothingRefused", "it refuses nothing that it is asked as a source of orders"},
		"NATS does not tell": {Input{}, metav1.ConditionUnknown, "Unknown", "NATS, which has what sources refuse, does not tell"},
		"one operation":      {Input{Counts: &Counts{}, Refusals: []Refusal{orders}}, metav1.ConditionTrue, "Refused", ordersText},
		"two, always in the same order": {
			Input{Counts: &Counts{}, Refusals: []Refusal{{Operation: "listWebhooks", Since: start, Cause: "http-404"}, orders}}, metav1.ConditionTrue, "Refused",
			ordersText + ". listWebhooks is refused since 2027-01-01 00:00 UTC: http-404",
		},
		"orders that cannot be read": {
			Input{Counts: &Counts{}, Refusals: []Refusal{{Operation: "readOrder", Since: start, Cause: "order-too-large", Orders: []string{"1", "2", "3", "4", "5"}}}},
			metav1.ConditionTrue, "Refused", "readOrder is refused since 2027-01-01 00:00 UTC: order-too-large (of the orders 1, 2, 3 and 2 more)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.in.Connector, test.in.Now = erp(), start
			got, _ := Next(&v1alpha1.ConnectorStatus{}, test.in, Memory{})
			c := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionSourceRefused)
			if c.Status != test.status || c.Reason != test.reason || c.Message != test.want {
				t.Errorf("it is %s, %s: %q, want %s, %s: %q", c.Status, c.Reason, c.Message, test.status, test.reason, test.want)
			}
		})
	}
}

// Whatever is in the hold, the API server takes the condition: else the whole status would
// stay as it was.
func TestARefusalIsNeverTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 100_000) + "\xff"
	in := Input{Connector: erp(), Counts: &Counts{}, Now: start}
	for _, operation := range []string{"listOrders", "readOrder", "listWebhooks", "putWebhook"} {
		in.Refusals = append(in.Refusals, Refusal{Operation: operation, Since: start, Cause: long, Detail: long, Advice: long, Orders: []string{long, long, long, long}})
	}
	got, _ := Next(&v1alpha1.ConnectorStatus{}, in, Memory{})
	c := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionSourceRefused)
	if len(c.Message) > 32<<10 || !utf8.ValidString(c.Message) || !strings.Contains(c.Message, "putWebhook is refused") {
		t.Errorf("%d bytes: %.200s", len(c.Message), c.Message)
	}
}

// The end of a refusal is a record in the Error Hold, so that it counts at once; that NATS
// does not tell once is no news.
func TestARefusalEnds(t *testing.T) {
	t.Parallel()
	in := Input{Connector: erp(), Counts: &Counts{}, Refusals: []Refusal{{Operation: "listOrders", Since: start, Cause: "no-right"}}, Now: start}
	status, memory := Next(&v1alpha1.ConnectorStatus{}, in, Memory{})
	is := func(what string, want metav1.ConditionStatus) {
		t.Helper()
		in.Now = in.Now.Add(time.Second)
		status, memory = Next(&status, in, memory)
		if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionSourceRefused); c.Status != want {
			t.Errorf("%s: it is %s (%s), want %s", what, c.Status, c.Message, want)
		}
	}
	is("refused", metav1.ConditionTrue)
	counts := in.Counts
	in.Counts = nil
	is("NATS has not told once", metav1.ConditionTrue)
	in.Now = in.Now.Add(Settle)
	is("NATS does not tell any more", metav1.ConditionUnknown)
	in.Counts = counts
	is("NATS tells again", metav1.ConditionTrue)
	in.Refusals = nil
	is("the source has answered", metav1.ConditionFalse)
}
