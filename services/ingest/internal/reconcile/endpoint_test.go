package reconcile_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
)

// TestAnEndpointSpelledOtherwiseIsTheSameSource: what is known of it stays.
func TestAnEndpointSpelledOtherwiseIsTheSameSource(t *testing.T) {
	for name, test := range map[string]struct {
		before, after string
		same          bool
	}{
		"as before":             {"https://s.example", "https://s.example", true},
		"with a slash":          {"https://s.example", "https://s.example/", true},
		"without the slash":     {"https://s.example/", "https://s.example", true},
		"another case":          {"https://s.example", "HTTPS://S.Example", true},
		"the port of https":     {"https://s.example", "https://s.example:443", true},
		"without that port":     {"https://s.example:443/", "https://s.example", true},
		"the port of http":      {"http://s.example:80/shop/", "http://s.example/shop", true},
		"a path with a slash":   {"https://s.example/stores/Ab", "https://S.example/stores/Ab/", true},
		"no endpoint at all":    {"s.example", "s.example", true},
		"another path":          {"https://s.example/stores/Ab", "https://s.example/stores/ab", false},
		"another port":          {"https://s.example", "https://s.example:8443", false},
		"https's port for http": {"http://s.example", "http://s.example:443", false},
		"another scheme":        {"https://s.example", "http://s.example", false},
		"another host":          {"https://s.example", "https://t.example", false},
	} {
		record, _ := reconcile.Meet(nil, "shop", test.before, now)
		record.Cursor = timestamppb.New(now)
		sum := sha256.Sum256([]byte(test.before))
		earlier := &sourcev1.Source{Connector: "shop", FirstAt: record.GetFirstAt(), Cursor: record.GetCursor(), EndpointHash: hex.EncodeToString(sum[:12])}
		for build, known := range map[string]*sourcev1.Source{"this": record, "an earlier": earlier} {
			next, met := reconcile.Meet(known, "shop", test.after, now)
			if met == test.same || (next.GetCursor() != nil) != test.same || reconcile.Another(known, test.after) == test.same {
				t.Errorf("%s, met by %s build: met %v, record %v", name, build, met, next)
			}
		}
	}
}
