package loose_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/connectors/loose"
)

type fields struct {
	Text  loose.Text
	ID    loose.Integer
	Flag  loose.Flag
	At    loose.Moment
	Tags  loose.Tags
	Pairs loose.Pairs
}

func TestFieldsAreReadAsTheyCome(t *testing.T) {
	noon := loose.Moment{Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	tests := map[string]struct {
		body string
		want fields
	}{
		"a text that is a number":     {`{"Text":1.50}`, fields{Text: "1.50"}},
		"a text that is an object":    {`{"Text":{"a": [1, 2]}}`, fields{Text: `{"a":[1,2]}`}},
		"nulls":                       {`{"Text":null,"ID":null,"Flag":null,"At":null,"Tags":null,"Pairs":null}`, fields{}},
		"an id beyond a float":        {`{"ID":9007199254740993}`, fields{ID: "9007199254740993"}},
		"an id that is a text":        {`{"ID":"7"}`, fields{ID: "7"}},
		"a flag that is a text":       {`{"Flag":"true"}`, fields{Flag: true}},
		"a flag that is a number":     {`{"Flag":1}`, fields{}},
		"a time with an offset":       {`{"At":"2026-11-23T07:00:00-05:00"}`, fields{At: noon}},
		"an offset without a colon":   {`{"At":"2026-11-23T07:00:00-0500"}`, fields{At: noon}},
		"tags in one text":            {`{"Tags":"a, b,"}`, fields{Tags: loose.Tags{"a", "b"}}},
		"tags in a list":              {`{"Tags":["a",2]}`, fields{Tags: loose.Tags{"a", "2"}}},
		"pairs by name, by key":       {`{"Pairs":[{"name":"a","value":1},{"key":"b","value":"x"},{"name":"a","value":2}]}`, fields{Pairs: loose.Pairs{"a": "2", "b": "x"}}},
		"an object of pairs":          {`{"Pairs":{"a":true}}`, fields{Pairs: loose.Pairs{"a": "true"}}},
		"pairs that are a bare value": {`{"Pairs":"x"}`, fields{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got fields
			if err := json.Unmarshal([]byte(test.body), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, body := range []string{`{"ID":1.5}`, `{"ID":1e3}`, `{"ID":"x"}`, `{"At":"noon"}`, `{"At":"0001-01-01T00:00:00+01:00"}`, `{"At":"2026-11-23T07:00:00"}`} {
		if err := json.Unmarshal([]byte(body), new(fields)); err == nil {
			t.Errorf("%s is taken", body)
		}
	}
}

func TestATimeWithoutAnOffsetIsUTCWhereTheLayoutSaysSo(t *testing.T) {
	var m loose.Moment
	if err := m.Read([]byte(`"2026-11-23T12:00:00"`), time.RFC3339, "2006-01-02T15:04:05"); err != nil || m.Format(time.RFC3339) != "2026-11-23T12:00:00Z" {
		t.Errorf("%v, error %v", m, err)
	}
}

func TestUnitsAreAWholeNumberThatIsNoneOrMore(t *testing.T) {
	for digits, want := range map[loose.Integer]int64{"": 0, "0": 0, "7": 7, "1000000000": loose.MaxUnits} {
		if units, err := digits.Units(); err != nil || units != want {
			t.Errorf("%q: %d, error %v", digits, units, err)
		}
	}
	for _, digits := range []loose.Integer{"-1", "1000000001", "99999999999999999999"} {
		if units, err := digits.Units(); err == nil {
			t.Errorf("%q: %d units", digits, units)
		}
	}
}

func TestABodyIsAnObject(t *testing.T) {
	for body, whole := range map[string]bool{"{}": true, "\n {}": true, "null": false, "": false, "[]": false, "{": false} {
		if err := loose.Object([]byte(body), &fields{}); (err == nil) != whole {
			t.Errorf("%q: error %v", body, err)
		}
	}
}
