package expr

import (
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// bounded puts functions in the place of those whose result may be as large as two of their
// arguments multiplied. The cost limit looks at a result when it is there: from a body of
// 200 kB, replace makes 10 GB of text in half a minute before that.
func bounded(call interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	c, ok := call.(interpreter.InterpretableCall)
	if !ok {
		return call, nil
	}
	switch c.Function() {
	case "replace":
		return interpreter.NewCall(c.ID(), c.Function(), c.OverloadID(), c.Args(), replaced), nil
	case "join":
		return interpreter.NewCall(c.ID(), c.Function(), c.OverloadID(), c.Args(), joined), nil
	}
	return call, nil
}

func tooLarge(function string) ref.Val {
	return types.NewErr("%s would make a text of more than %d bytes", function, maxOutput)
}

// replaced is <string>.replace(<string>, <string>[, <int>]).
func replaced(arguments ...ref.Val) ref.Val {
	var texts [3]string
	for i := range texts {
		text, ok := types.String(""), false
		if i < len(arguments) {
			text, ok = arguments[i].(types.String)
		}
		if !ok {
			return types.MaybeNoSuchOverloadErr(arguments[0])
		}
		texts[i] = string(text)
	}
	text, before, after, most := texts[0], texts[1], texts[2], -1
	if len(arguments) == len(texts)+1 {
		limit, ok := arguments[len(texts)].(types.Int)
		if !ok {
			return types.MaybeNoSuchOverloadErr(arguments[len(texts)])
		}
		most = int(limit)
	}
	count := strings.Count(text, before)
	if most >= 0 {
		count = min(count, most)
	}
	if len(text)+count*(len(after)-len(before)) > maxOutput {
		return tooLarge("replace")
	}
	return types.String(strings.Replace(text, before, after, most))
}

// joined is <list<string>>.join([<string>]).
func joined(arguments ...ref.Val) ref.Val {
	list, ok := arguments[0].(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(arguments[0])
	}
	between := types.String("")
	if len(arguments) > 1 {
		if between, ok = arguments[1].(types.String); !ok {
			return types.MaybeNoSuchOverloadErr(arguments[1])
		}
	}
	var text strings.Builder
	for i := types.Int(0); i < list.Size().(types.Int); i++ { //nolint:forcetypeassert // a Lister's size is an Int
		item, ok := list.Get(i).(types.String)
		if !ok {
			return types.NewErr("join: invalid input: %v", list.Get(i))
		}
		if i > 0 {
			text.WriteString(string(between))
		}
		if text.WriteString(string(item)); text.Len() > maxOutput {
			return tooLarge("join")
		}
	}
	return types.String(text.String())
}
