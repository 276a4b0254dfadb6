package order_test

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
)

var (
	subjectToken = regexp.MustCompile(`^[A-Za-z0-9_=-]+$`)
	externalText = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

// connectorNames are DNS labels, as admission demands of connectors.
func connectorNames() *rapid.Generator[string] {
	return rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?`)
}

// shopIDs leans to what could confuse a name: digits, separators, escapes.
func shopIDs() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[0-9]{1,14}`),
		rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{12}`),
		rapid.StringMatching(`[a-b0-1_=.-]{1,6}`),
		rapid.String(),
	)
}

func TestNamesAreReadable(t *testing.T) {
	for name, test := range map[string]struct{ connector, id, key, external string }{
		"a number": {"shopify", "5001", "shopify_5001", "shopify-5001"},
		"a UUID":   {"shop-2", "3f25-04e0", "shop-2_3f25-04e0", "shop-2-3f25_-04e0"},
		"a path":   {"shopify", "gid://Order/1", "shopify_gid=3A=2F=2FOrder=2F1", "shopify-gid_3A_2F_2FOrder_2F1"},
		"a dot":    {"shopify", "a.b_c", "shopify_a=2Eb=5Fc", "shopify-a_2Eb__c"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := order.Key(test.connector, test.id); got != test.key {
				t.Errorf("Key = %q, want %q", got, test.key)
			}
			if got := order.ExternalID(test.connector, test.id); got != test.external {
				t.Errorf("ExternalID = %q, want %q", got, test.external)
			}
		})
	}
}

func TestKeyIsOneTokenAndSplitsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		connector, id := connectorNames().Draw(t, "connector"), shopIDs().Draw(t, "id")
		key := order.Key(connector, id)
		if !subjectToken.MatchString(key) {
			t.Fatalf("key %q is not a subject token", key)
		}
		gotConnector, gotID, err := order.SplitKey(key)
		if err != nil || gotConnector != connector || gotID != id {
			t.Fatalf("SplitKey(%q) = %q, %q, %v; want %q, %q", key, gotConnector, gotID, err, connector, id)
		}
	})
}

func TestNoTwoOrdersShareAName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := [2]string{connectorNames().Draw(t, "connector a"), shopIDs().Draw(t, "id a")}
		b := [2]string{connectorNames().Draw(t, "connector b"), shopIDs().Draw(t, "id b")}
		// The nastiest pairs move a separator from one part into the other.
		if rapid.Bool().Draw(t, "shift") {
			if left, right, found := strings.Cut(a[0], "-"); found && left != "" {
				b = [2]string{left, right + "-" + a[1]}
			}
		}
		if !externalText.MatchString(order.ExternalID(a[0], a[1])) {
			t.Fatalf("external id %q has other characters than letters, digits, - and _", order.ExternalID(a[0], a[1]))
		}
		if (order.Key(a[0], a[1]) == order.Key(b[0], b[1])) != (a == b) {
			t.Fatalf("keys of %q and %q", a, b)
		}
		if (order.ExternalID(a[0], a[1]) == order.ExternalID(b[0], b[1])) != (a == b) {
			t.Fatalf("external ids of %q and %q are both %q", a, b, order.ExternalID(a[0], a[1]))
		}
	})
}

func TestDispatchIDSplitsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := order.Key(connectorNames().Draw(t, "connector"), shopIDs().Draw(t, "id"))
		id := order.DeliveryID(rapid.String().Draw(t, "flow"), rapid.String().Draw(t, "step"), rapid.Int64Range(1, 1<<40).Draw(t, "revision"))
		dispatch := order.DispatchID(key, id)
		if !subjectToken.MatchString(dispatch) {
			t.Fatalf("dispatch id %q is not a subject token", dispatch)
		}
		gotKey, gotID, err := order.SplitDispatchID(dispatch)
		if err != nil || gotKey != key || gotID != id {
			t.Fatalf("SplitDispatchID(%q) = %q, %q, %v; want %q, %q", dispatch, gotKey, gotID, err, key, id)
		}
		released := order.DispatchIDOf(key, &orderv1.Delivery{Id: id, Released: rapid.Int32Range(1, 1000).Draw(t, "release")})
		gotKey, gotID, err = order.SplitDispatchID(released)
		if err != nil || gotKey != key || gotID != id || released == dispatch {
			t.Fatalf("SplitDispatchID(%q) = %q, %q, %v; want %q, %q", released, gotKey, gotID, err, key, id)
		}
	})
}

func FuzzSplitKey(f *testing.F) {
	for _, seed := range []string{"shopify_5001", "shopify_a=2Eb", "a_=4", "a_=zz", "a_=61", "nothing", "_", "a_b_c", "a_=2e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		connector, id, err := order.SplitKey(key)
		if err != nil {
			if !errors.Is(err, order.ErrKey) {
				t.Fatalf("error %v is not ErrKey", err)
			}
			return
		}
		if again := order.Key(connector, id); again != key {
			t.Fatalf("SplitKey(%q) = %q, %q, whose key is %q", key, connector, id, again)
		}
	})
}

func FuzzSplitDispatchID(f *testing.F) {
	f.Add("shopify_5001_orders-to-erp_erp_1")
	f.Add("a_b_c")
	f.Add("shopify_5001_orders-to-erp_erp_1-r2")
	f.Fuzz(func(t *testing.T, id string) {
		key, delivery, err := order.SplitDispatchID(id)
		if err != nil {
			if !errors.Is(err, order.ErrKey) {
				t.Fatalf("error %v is not ErrKey", err)
			}
			return
		}
		again := order.DispatchID(key, delivery)
		if rest, is := strings.CutPrefix(id, again+"-r"); is {
			n, err := strconv.ParseInt(rest, 10, 32)
			if err != nil {
				t.Fatalf("SplitDispatchID(%q) took release %q", id, rest)
			}
			again = order.DispatchIDOf(key, &orderv1.Delivery{Id: delivery, Released: int32(n)})
		}
		if again != id {
			t.Fatalf("SplitDispatchID(%q) = %q, %q, whose id is %q", id, key, delivery, again)
		}
	})
}
