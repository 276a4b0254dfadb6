package expr_test

import (
	"strings"
	"testing"
)

func TestReadings(t *testing.T) {
	const body = `{"id":9007199254740993,"sum":39.80,"at":1795435198,"items":[{"sku":"A","n":2}],"none":null}`
	tests := map[string]struct{ source, want, wantError string }{
		"a map":                          {`{"id": body.id, "total": body.sum}`, `{"id":9007199254740993,"total":39.8}`, ""},
		"its topic":                      {`{"name": topic}`, `{"name":"sale"}`, ""},
		"a time":                         {`{"updated_at": timestamp(body.at)}`, `{"updated_at":"2026-11-23T11:59:58Z"}`, ""},
		"a list":                         {`{"lines": body.items.map(i, {"sku": i.sku})}`, `{"lines":[{"sku":"A"}]}`, ""},
		"a sum without a double's noise": {`{"total": 0.1 + 0.2}`, `{"total":0.3}`, ""},
		"a part of the body":             {`body.items[0]`, `{"n":2,"sku":"A"}`, ""},
		"an optional map":                {`topic == "sale" ? optional.of({"id": 1}) : optional.none()`, `{"id":1}`, ""},
		"null":                           {`null`, "", ""},
		"a null of the body":             {`body.none`, "", ""},
		"absent":                         {`body.?other`, "", ""},
		"an empty map":                   {`topic == "sale" ? {} : {"id": 1}`, "", ""},
		"a list as a whole":              {`body.items`, "", "found a list, expected a map"},
		"what is not there":              {`{"id": body.nr}`, "", "no such key: nr"},
		"what may be absent, inside":     {`optional.of({"id": body.?id})`, "", "the value may be absent"},
	}
	c := compiler(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			reading, err := c.Reading(test.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := reading.Eval("sale", parsed(t, body))
			if string(got) != test.want || (err == nil) != (test.wantError == "") || err != nil && !strings.Contains(err.Error(), test.wantError) {
				t.Errorf("%s, error %v; want %s, %q", got, err, test.want, test.wantError)
			}
		})
	}
}

func TestWhatCanBeNoReading(t *testing.T) {
	c := compiler(t)
	for source, want := range map[string]string{
		`"text"`:                    "found a text (string), expected a map",
		`[body]`:                    "expected a map",
		`{1: body.id}`:              "the keys of a map must be text",
		`{"id": body.?id}`:          "the value may be absent",
		`{"id": order.id}`:          `"order" is not known here; an expression that makes an order sees body and topic`,
		`optional.of("text")`:       "expected a map",
		`{"id": body.id`:            "Syntax error",
		strings.Repeat("[", 70_000): "",
	} {
		if _, err := c.Reading(source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: error %v, want %q", source, err, want)
		}
	}
}
