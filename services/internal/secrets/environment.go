package secrets

import (
	"context"
	"fmt"
	"maps"
	"strings"
)

const environmentPrefix = "PEPPASYNC_SECRET_"

// Environment returns a resolver over variables as os.Environ returns them,
// taken once: PEPPASYNC_SECRET_<NAME>_<KEY>, the name in upper case with "_" for
// "-" and ".". A key in upper case stands for its camel case: ACCESS_TOKEN is
// "accessToken"; one with a lower-case letter is taken as it is. Where one
// secret's name begins another's ("shop" and "shop-eu"), the shorter one has
// the other's keys too, with the rest of the name before them. Empty values
// count as not set.
func Environment(environ []string) Resolver {
	e := environment{}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if rest, ours := strings.CutPrefix(name, environmentPrefix); ours && value != "" {
			e[rest] = value
		}
	}
	return e
}

// environment is variables without the prefix.
type environment map[string]string

func (e environment) Secret(_ context.Context, name string) (map[string]string, error) {
	if err := validName(name); err != nil {
		return nil, err
	}
	prefix := strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(name)) + "_"
	secret, from := map[string]string{}, map[string]string{}
	for variable := range maps.Keys(e) {
		rest, ours := strings.CutPrefix(variable, prefix)
		if !ours || rest == "" {
			continue
		}
		key := camelCase(rest)
		if other, twice := from[key]; twice {
			return nil, fmt.Errorf("secret %q: %s%s and %s%s both set key %q; leave one",
				name, environmentPrefix, min(variable, other), environmentPrefix, max(variable, other), key)
		}
		secret[key], from[key] = e[variable], variable
	}
	if len(secret) == 0 {
		return nil, notFound(name)
	}
	return secret, nil
}

// camelCase returns ACCESS_TOKEN as accessToken, and what has a lower-case
// letter as it is.
func camelCase(key string) string {
	if strings.ToUpper(key) != key {
		return key
	}
	var b strings.Builder
	for word := range strings.SplitSeq(strings.ToLower(key), "_") {
		if b.Len() == 0 || word == "" {
			b.WriteString(word)
			continue
		}
		b.WriteString(strings.ToUpper(word[:1]))
		b.WriteString(word[1:])
	}
	return b.String()
}
