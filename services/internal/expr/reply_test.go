package expr_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/services/internal/expr"
)

func parsed(t testing.TB, body string) any {
	t.Helper()
	value, err := expr.ParseJSON([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestConditionOverAReply(t *testing.T) {
	const graph = `{"data":{"create":{"order":{"id":"9"},"userErrors":[]}}}`
	const refused = `{"errors":[{"message":"slow down","extensions":{"code":"THROTTLED"}}],"data":null}`
	tests := map[string]struct {
		source, body string
		want         bool
		wantError    string
	}{
		"a status":                          {`status == 201`, graph, true, ""},
		"no errors":                         {`!has(body.errors)`, graph, true, ""},
		"errors":                            {`!has(body.errors)`, refused, false, ""},
		"a code in a list":                  {`body.errors.exists(e, e.extensions.code == "THROTTLED")`, refused, true, ""},
		"a list that is not there":          {`body.errors.exists(e, e.extensions.code == "THROTTLED")`, graph, false, "no such key: errors"},
		"a list that need not be there":     {`body.?errors.orValue([]).size() > 0`, graph, false, ""},
		"it may be either, and one holds":   {`body.errors.size() > 0 || body.data.create.userErrors.size() == 0`, graph, true, ""},
		"a field that is true":              {`body.ok`, `{"ok":true}`, true, ""},
		"a field that is a text":            {`body.ok`, `{"ok":"true"}`, false, "found a string, expected true or false"},
		"a whole number":                    {`body.code == 0`, `{"code":0}`, true, ""},
		"a number with a fraction":          {`body.code == 0`, `{"code":0.0}`, true, ""},
		"a whole number of 19 digits":       {`body.id == 9007199254740993`, `{"id":9007199254740993}`, true, ""},
		"a number beyond every number":      {`body.id == 1`, `{"id":1e999}`, false, ""},
		"it is the call's":                  {`body.order == externalId`, `{"order":"shopify-5001"}`, true, ""},
		"a body that is no object":          {`!has(body.errors)`, `"OK"`, false, "the reply's body is no JSON object or list"},
		"a body that is null":               {`!has(body.errors)`, `null`, false, "the reply's body is no JSON object or list"},
		"a body that is a list":             {`!has(body.errors)`, `[]`, false, "unsupported index type"},
		"an item of a list":                 {`body[0].ok`, `[{"ok":true}]`, true, ""},
		"a body that is a text":             {`text == "\"OK\""`, `"OK"`, true, ""},
		"a condition that costs too much":   {`body.all(a, body.all(b, body.all(c, body.all(d, a <= 100))))`, `[` + strings.Repeat("1,", 99) + `1]`, false, "needs more than the"},
		"a null in the place of an object":  {`body.data.id == 5`, `{"data":null}`, false, "no such"},
		"an object that holds the same key": {`body.id == 2`, `{"id":1,"id":2}`, true, ""},
	}
	c := compiler(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			condition, err := c.ReplyCondition(test.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := condition.Eval(expr.Reply{Status: 201, Body: parsed(t, test.body), Text: test.body, ExternalID: "shopify-5001"})
			if got != test.want || (err == nil) != (test.wantError == "") || err != nil && !strings.Contains(err.Error(), test.wantError) {
				t.Errorf("%v, error %v; want %v, %q", got, err, test.want, test.wantError)
			}
		})
	}
	condition, err := c.ReplyCondition(`status == 204 || !has(body.errors)`)
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[int]bool{204: true, 200: false} {
		if held, err := condition.Eval(expr.Reply{Status: status}); held != want || (err == nil) != want {
			t.Errorf("status %d without a body: %v, error %v; want %v", status, held, err, want)
		}
	}
}

func TestTextOfAReply(t *testing.T) {
	tests := map[string]struct {
		source, body, want, wantError string
	}{
		"a text":                   {`body.errors[0].message`, `{"errors":[{"message":"no such SKU"}]}`, "no such SKU", ""},
		"joined":                   {`body.errors.map(e, e.message).join("; ")`, `{"errors":[{"message":"a"},{"message":"b"}]}`, "a; b", ""},
		"a whole number":           {`body.id`, `{"id":9007199254740993}`, "9007199254740993", ""},
		"beyond whole numbers":     {`string(body.id)`, `{"id":12345678901234567890123}`, "12345678901234567890123", ""},
		"beyond signed numbers":    {`body.id`, `{"id":18446744073709551615}`, "18446744073709551615", ""},
		"a number with a fraction": {`body.id`, `{"id":1.5}`, "1.5", ""},
		"null":                     {`body.id`, `{"id":null}`, "", ""},
		"absent":                   {`body.?data.?id`, `{}`, "", ""},
		"there after all":          {`body.?data.?id`, `{"data":{"id":7}}`, "7", ""},
		"not there":                {`body.data.id`, `{}`, "", "no such key: data"},
		"an object":                {`body`, `{}`, "", "found a map, expected a text or a number"},
	}
	c := compiler(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text, err := c.ReplyText(test.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := text.Eval(expr.Reply{Status: 200, Body: parsed(t, test.body)})
			if got != test.want || (err == nil) != (test.wantError == "") || err != nil && !strings.Contains(err.Error(), test.wantError) {
				t.Errorf("%q, error %v; want %q, %q", got, err, test.want, test.wantError)
			}
		})
	}
}

func TestMistakesAboutAReplySayWhatIsExpected(t *testing.T) {
	c := compiler(t)
	condition := func(source string) error { _, err := c.ReplyCondition(source); return err }
	text := func(source string) error { _, err := c.ReplyText(source); return err }
	for name, test := range map[string]struct {
		compile      func(string) error
		source, want string
	}{
		"a name that is not there": {condition, `order.id == "1"`,
			`line 1, column 1: "order" is not known here; an expression about a reply sees status, body, text and externalId`},
		"no condition":      {condition, `status`, `found a whole number (int), expected true or false, such as status == 200`},
		"no text":           {text, `status == 200`, `found a bool, expected a text or a number, such as body.message`},
		"a text of nothing": {text, ``, `mismatched input`},
	} {
		err := test.compile(test.source)
		if _, ok := errors.AsType[*expr.CompileError](err); !ok || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}

func TestParseJSONTakesOneWholeValue(t *testing.T) {
	for _, body := range []string{``, ` `, `{`, `{"a":1`, `{} {}`, `{}x`, `NaN`, `<html>`, `{"a":01}`} {
		if value, err := expr.ParseJSON([]byte(body)); err == nil {
			t.Errorf("%q is read as %v", body, value)
		}
	}
}

// Whatever the text and the body, an expression about a reply has a value or an error.
func FuzzReply(f *testing.F) {
	f.Add(`body.errors.exists(e, e.extensions.code == "THROTTLED")`, []byte(`{"errors":[{"extensions":{"code":"THROTTLED"}}]}`))
	f.Add(`body.?data.?id`, []byte(`{"data":{"id":18446744073709551615,"n":1e999}}`))
	f.Add(`!has(body.errors) && status < 300 && body.ref == externalId`, []byte(`[1,2.5,null,"\ud800"]`))
	c := compiler(f)
	f.Fuzz(func(t *testing.T, source string, body []byte) {
		reply := expr.Reply{Status: 200, Text: string(body), ExternalID: "shopify-5001"}
		reply.Body, _ = expr.ParseJSON(body)
		if condition, err := c.ReplyCondition(source); err == nil {
			held, err := condition.Eval(reply)
			if held && err != nil {
				t.Errorf("it holds, with the error %v", err)
			}
		}
		text, err := c.ReplyText(source)
		if err != nil {
			if _, ok := errors.AsType[*expr.CompileError](err); !ok {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		if got, err := text.Eval(reply); got != "" && err != nil {
			t.Errorf("the text %q, with the error %v", got, err)
		}
	})
}
