package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"

	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
)

// Another reports whether a record is of another source than the one at an endpoint,
// however that is spelled.
func Another(s *sourcev1.Source, endpoint string) bool {
	known := s.GetEndpointHash()
	return known != "" && !slices.ContainsFunc(spellings(endpoint), func(spelled string) bool { return hash(spelled) == known })
}

// spellings are those of which a record may have the hash. Earlier builds took the endpoint
// as it was written, and one beside this or after it does again: a record that has such a
// hash keeps it, or each of them would take the source for another.
func spellings(endpoint string) []string {
	same := normal(endpoint)
	all := []string{same, endpoint, same + "/"}
	if u, err := url.Parse(same); err == nil && u.Host != "" && u.Port() == "" && ports()[u.Scheme] != "" {
		u.Host += ":" + ports()[u.Scheme]
		all = append(all, u.String(), u.String()+"/")
	}
	return all
}

// normal is how an endpoint is spelled here: what it leads to is the same with a slash at its
// end, with the scheme's own port, and with another case of its host.
func normal(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return endpoint
	}
	u.Host = strings.ToLower(u.Host)
	if port := u.Port(); port != "" && port == ports()[u.Scheme] {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	return strings.TrimRight(u.String(), "/")
}

func ports() map[string]string { return map[string]string{"https": "443", "http": "80"} }

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:12])
}
