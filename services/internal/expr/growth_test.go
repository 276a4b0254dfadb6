package expr_test

import (
	"strings"
	"testing"

	"github.com/peppasync/peppasync/services/internal/expr"
)

// What a body makes large by multiplication is refused before it is there.
func TestTextsDoNotMultiply(t *testing.T) {
	compiler, err := expr.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	items := make([]any, 20_000)
	for i := range items {
		items[i] = "x"
	}
	body := map[string]any{"name": strings.Repeat("x", 10_000), "pad": strings.Repeat("y", 10_000), "items": items}
	for name, test := range map[string]struct{ source, want string }{
		"a letter that becomes a text":         {`body.name.replace("x", body.pad)`, "replace would make a text of more than"},
		"a text between letters":               {`body.name.replace("", body.pad)`, "replace would make a text of more than"},
		"so many of them":                      {`body.name.replace("x", body.pad, 1000)`, "replace would make a text of more than"},
		"a text as often as there are items":   {`body.items.map(i, body.pad).join("")`, "join would make a text of more than"},
		"a text between items":                 {`body.items.join(body.pad)`, "join would make a text of more than"},
		"what is no text":                      {`[dyn(1), dyn("a")].join()`, "join: invalid input: 1"},
		"a number to look for":                 {`body.name.replace(dyn(1), "")`, "no such overload"},
		"what grows little":                    {`body.name.replace("x", "yy")`, strings.Repeat("yy", 10_000)},
		"the first ones":                       {`"aaa".replace("a", "bb", 2)`, "bbbba"},
		"none of them":                         {`"aaa".replace("a", "bb", 0)`, "aaa"},
		"a text that becomes shorter":          {`body.pad.replace("y", "")`, `"v":""`},
		"items with a comma":                   {`["a", "b"].join(", ")`, "a, b"},
		"items, one after the other":           {`["a", "b"].join()`, "ab"},
		"no items":                             {`[].join(", ")`, `"v":""`},
		"the first of them, as large as it is": {`body.name.replace("x", body.pad, 3)`, "yyyx"},
	} {
		t.Run(name, func(t *testing.T) {
			reading, err := compiler.Reading(`{"v": ` + test.source + `}`)
			if err != nil {
				t.Fatal(err)
			}
			value, err := reading.Eval("topic", body)
			got := string(value)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("got %.200s, want %.100s", got, test.want)
			}
		})
	}
}
