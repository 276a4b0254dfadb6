package bus

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func TestNobodyWaitsForJetStreamThatIsOff(t *testing.T) {
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not listen")
	}
	b, err := Connect(t.Context(), Options{URL: ns.ClientURL(), Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	_, off := b.Shards(t.Context(), PrefixOrder)
	if !isStoreless(off) {
		t.Fatalf("a server without JetStream gave %v, want what tells that it has none", off)
	}
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := awaited(ctx, slog.New(slog.DiscardHandler), func(context.Context) (int, error) { return 0, off })
		if err == nil || !errors.Is(err, off) || !strings.Contains(err.Error(), "without JetStream") {
			t.Errorf("got %v, want an error that says what is off", err)
		}
		if took := time.Since(begun); took < storelessPatience || took > storelessPatience+time.Second {
			t.Errorf("it took %v, want %v", took, storelessPatience)
		}
	})
}

// A server that stops says the same for a while, over and over in a rolling update.
func TestJetStreamThatComesBackIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		n, err := awaited(t.Context(), slog.New(slog.DiscardHandler), func(context.Context) (int, error) {
			switch gone := time.Since(begun); {
			case gone >= time.Minute:
				return 2, nil
			case gone%(10*time.Second) < time.Second:
				return 0, nats.ErrTimeout
			}
			return 0, nats.ErrNoResponders
		})
		if n != 2 || err != nil {
			t.Errorf("there are %d shards, %v; want 2", n, err)
		}
	})
}

func TestNobodyWaitsOnAClosedConnection(t *testing.T) {
	b, err := Connect(t.Context(), Options{URL: "nats://127.0.0.1:1", Name: "test"}) // nobody listens
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := b.AwaitShards(ctx, PrefixOrder); !errors.Is(err, nats.ErrConnectionClosed) || ctx.Err() != nil {
		t.Errorf("got %v, want at once that the connection is closed", err)
	}
}

func TestWhoWaitsForShardsSaysSoOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute-awaitEvery/2) // not at the moment of a question
		defer cancel()
		_, err := awaited(ctx, slog.New(slog.NewTextHandler(&log, nil)), func(context.Context) (int, error) { return 0, nats.ErrTimeout })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want to be told to stop", err)
		}
		if n := strings.Count(log.String(), "it is asked until it does"); n != 3 {
			t.Errorf("%d warnings in just below 3 minutes, want 3:\n%s", n, &log)
		}
	})
}
