package quota

import (
	"net/http"
	"strings"
	"time"
)

// item is a member of a structured field (RFC 9651): a name with parameters, or
// a key with a value where the field is a dictionary.
type item struct {
	name       string
	parameters map[string]string
}

// rateLimit reads RateLimit and RateLimit-Policy, as the draft writes them now,
//
//	RateLimit-Policy: "burst";q=100;w=60
//	RateLimit: "burst";r=50;t=30
//
// with the bare names of versions before, and as draft 7 wrote them,
//
//	RateLimit: limit=100, remaining=50, reset=30
func rateLimit(h http.Header, now time.Time) []Figure {
	policies := map[string]map[string]string{}
	for _, p := range items(h.Values("RateLimit-Policy")) {
		policies[p.name] = p.parameters
	}
	members := items(h.Values("RateLimit"))
	if old := dictionary(members); old["remaining"] != "" {
		members = []item{{parameters: map[string]string{"r": old["remaining"], "t": old["reset"], "q": old["limit"]}}}
	}
	var figures []Figure
	for _, m := range members {
		policy := policies[m.name]
		if unit := policy["qu"]; unit != "" && unit != "requests" {
			continue // bytes, or calls at a time
		}
		remaining, ok := whole(m.parameters["r"])
		if !ok || len(figures) == mostFigures {
			continue
		}
		figure := Figure{Name: "ratelimit " + m.name, Remaining: remaining, Per: seconds(policy["w"])}
		if figure.Limit, ok = whole(policy["q"]); !ok {
			figure.Limit, _ = whole(m.parameters["q"])
		}
		if t, ok := whole(m.parameters["t"]); ok {
			figure.ResetsAt = now.Add(time.Duration(min(t, int64(longestPer/time.Second))) * time.Second)
		}
		if figure.valid() {
			figures = append(figures, figure)
		}
	}
	return figures
}

// dictionary is a field that is a dictionary: a=1, b=2.
func dictionary(members []item) map[string]string {
	d := map[string]string{}
	for _, m := range members {
		if key, value, found := strings.Cut(m.name, "="); found {
			d[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return d
}

// items splits a field into its members and their parameters. The first that
// cannot be read ends it: what follows has lost its place.
func items(lines []string) []item {
	rest := strings.Join(lines, ",")
	var found []item
	for rest != "" && len(found) < mostFigures {
		var m item
		var text string
		var end byte
		var ok bool
		if text, end, rest, ok = part(rest); !ok {
			break
		}
		m.name, m.parameters = text, map[string]string{}
		for end == ';' {
			if text, end, rest, ok = part(rest); !ok {
				return found
			}
			key, value, _ := strings.Cut(text, "=")
			m.parameters[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
		if m.name != "" {
			found = append(found, m)
		}
	}
	return found
}

// part returns what stands before the next comma or semicolon that is in no
// quotes, without quotes, and which of them it was; 0 at the end. False where a
// quote is left open.
func part(s string) (text string, end byte, rest string, ok bool) {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == ';'):
			return strings.TrimSpace(b.String()), c, s[i+1:], true
		default:
			b.WriteByte(c)
		}
	}
	return strings.TrimSpace(b.String()), 0, "", !quoted
}
