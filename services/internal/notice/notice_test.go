package notice

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOneLineForEachKindAndInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := New(slog.New(slog.NewTextHandler(&out, nil)), 10*time.Second)
		for range 500 {
			b.Post(slog.LevelWarn, "signature", "refused", slog.String("connector", "shop"))
			b.Post(slog.LevelWarn, "full", "no room")
		}
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Fatalf("%d lines, want one for each kind:\n%s", n, out.String())
		}
		time.Sleep(10 * time.Second)
		out.Reset()
		b.Post(slog.LevelWarn, "signature", "refused")
		if !strings.Contains(out.String(), "more_since_last_line=499") {
			t.Errorf("the others are not counted: %s", out.String())
		}
	})
}
