package jsontime_test

import (
	"encoding/json"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/test/sim/jsontime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDurationReadsWhatItWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := jsontime.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "d"))
		encoded, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got jsontime.Duration
		if err := json.Unmarshal(encoded, &got); err != nil || got != want {
			t.Fatalf("%s came back as %v, %v", encoded, got.Std(), err)
		}
	})
}

func TestDurationRefusesWhatIsNoLengthOfTime(t *testing.T) {
	for _, wrong := range []string{`5`, `"5"`, `"-1s"`, `""`, `null5`, `{}`} {
		var d jsontime.Duration
		if err := json.Unmarshal([]byte(wrong), &d); err == nil {
			t.Errorf("%s is accepted as %v", wrong, d.Std())
		}
	}
}
