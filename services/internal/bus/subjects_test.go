package bus

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var singleToken = regexp.MustCompile(`^[A-Za-z0-9_=-]+$`)

// awkward draws texts that are rich in what subjects and escapes give meaning to.
func awkward() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.StringOf(rapid.SampledFrom([]rune("a0=_-.*> 2EF/\x00é"))),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
	)
}

func TestTokenIsOneTokenAndHasAReverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := awkward().Draw(t, "text")
		token := Token(text)
		if !singleToken.MatchString(token) {
			t.Fatalf("Token(%q) = %q is not one token", text, token)
		}
		// That there is a reverse makes Token injective.
		if back, err := Text(token); err != nil || back != text {
			t.Fatalf("Text(Token(%q)) = %q, %v", text, back, err)
		}
	})
}

// What Text reads, Token must write: no two tokens stand for one text.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "=", "=2E", "=2e", "=41", "a=", "a=2", "==", "shop_5001", "a.b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		text, err := Text(token)
		if err == nil && Token(text) != token {
			t.Fatalf("Text(%q) = %q, which Token writes as %q", token, text, Token(text))
		}
	})
}

func TestSubjectsHaveTheirTokensWhateverTheParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c, d := awkward().Draw(t, "a"), awkward().Draw(t, "b"), awkward().Draw(t, "c"), awkward().Draw(t, "d")
		for subject, tokens := range map[string]int{
			OrderStateSubject(a): 5, OrderTimerSubject(a): 5, OrderWakeSubject(a): 5,
			DispatchSubject(a, b, c, d): 6, LedgerSubject(a): 3, ResultSubject(a, b): 4,
			HoldSubject(a, b, c): 5, JournalSubject(a): 3,
		} {
			if got := strings.Count(subject, ".") + 1; got != tokens {
				t.Fatalf("%q has %d tokens, want %d", subject, got, tokens)
			}
			if err := validSubject(subject); err != nil {
				t.Fatal(err)
			}
		}
		if filter := DispatchLaneFilter(a, b); !strings.HasPrefix(DispatchSubject(a, b, c, d), strings.TrimSuffix(filter, ">")) {
			t.Fatalf("%q does not select %q", filter, DispatchSubject(a, b, c, d))
		}
		if !singleToken.MatchString(Consumer(a, b)) {
			t.Fatalf("Consumer(%q, %q) = %q is no consumer name", a, b, Consumer(a, b))
		}
		if got, err := ConsumerParts(Consumer(a, b)); err != nil || !slices.Equal(got, []string{a, b}) {
			t.Fatalf("Consumer(%q, %q) is %q, its parts are %q, %v", a, b, Consumer(a, b), got, err)
		}
	})
}

func TestConsumerNamesDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringOf(rapid.SampledFrom([]rune("a_=5F-"))), 2, 2)
		x, y := parts.Draw(t, "x"), parts.Draw(t, "y")
		if same := x[0] == y[0] && x[1] == y[1]; !same && Consumer(x...) == Consumer(y...) {
			t.Fatalf("%q and %q share the name %q", x, y, Consumer(x...))
		}
	})
}

func TestKeysThatAreTokensStayAsTheyAre(t *testing.T) {
	for _, key := range []string{"shop_5001", "shop_=23A", "netsuite-eu_1=2E5"} {
		if !strings.HasSuffix(OrderStateSubject(key), "."+key) {
			t.Errorf("OrderStateSubject(%q) = %q", key, OrderStateSubject(key))
		}
	}
}

func TestOrderShardIsFixed(t *testing.T) {
	// These figures may never change: they say where stored orders are.
	for key, want := range map[string]int{"shopify_5001": 12, "shopify_5002": 37, "a_b": 17} {
		if got := OrderShard(key, orderPartitions); got != want {
			t.Errorf("OrderShard(%q, %d) = %d, want %d", key, orderPartitions, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		key, shards := rapid.String().Draw(t, "key"), rapid.IntRange(1, orderPartitions).Draw(t, "shards")
		if got := OrderShard(key, shards); got < 0 || got >= shards {
			t.Fatalf("OrderShard(%q, %d) = %d", key, shards, got)
		}
	})
}

// Every subject of an order must be taken by the stream of its shard, and by no
// other.
func TestShardsTakeEverySubjectOnce(t *testing.T) {
	for _, shards := range []int{1, 2, 3, 7, orderPartitions} {
		seen := map[string]string{}
		for _, config := range (Topology{OrderShards: shards}).withDefaults().streams() {
			if !strings.HasPrefix(config.Name, PrefixOrder) {
				continue
			}
			for _, subject := range config.Subjects {
				if other, twice := seen[subject]; twice {
					t.Fatalf("%s is in %s and %s", subject, other, config.Name)
				}
				seen[subject] = config.Name
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			key := rapid.StringMatching(`[a-z]{1,8}_[0-9]{1,8}`).Draw(t, "key")
			for _, subject := range []string{OrderStateSubject(key), OrderTimerSubject(key), OrderWakeSubject(key)} {
				filter := strings.TrimSuffix(subject, key) + ">"
				if want := OrderStream(OrderShard(key, shards)); seen[filter] != want {
					t.Fatalf("%s of %d shards is taken by %q, want %s", subject, shards, seen[filter], want)
				}
			}
		})
	}
}
