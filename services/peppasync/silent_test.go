package main

import (
	"net"
	"strings"
	"testing"
	"time"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
)

// silent returns where a replica takes connections and says nothing, as one whose
// machine hangs.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// A replica that is silent takes nothing from the time of the others.
func TestASilentReplicaHidesNoOther(t *testing.T) {
	t.Parallel()
	owner := &replica{
		connectors: []*dispatcherv1.Connector{{Name: "wms", State: dispatcherv1.State_STATE_RUNNING}},
		reopen: func(*dispatcherv1.ReopenConnectorRequest) (*dispatcherv1.ReopenConnectorResponse, error) {
			return &dispatcherv1.ReopenConnectorResponse{ClosedUntil: in(time.Hour), ClosedBecause: "it asked for an hour"}, nil
		},
	}
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"shown":    {[]string{"connectors"}, "wms"},
		"reopened": {[]string{"connectors", "reopen", "wms", "--reason", "ticket 4711", "--by", "kim"}, "wms is open"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := silent(t) + "," + owner.serve(t)
			out, err := execute(t.Context(), append(test.arguments, "--server", servers)...)
			if err != nil || !strings.Contains(out, test.want) {
				t.Errorf("%v, it says %q, want %q in it", err, out, test.want)
			}
		})
	}
}
