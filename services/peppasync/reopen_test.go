package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
)

func TestReopenAsksWhoeverFeedsIt(t *testing.T) {
	var asked *dispatcherv1.ReopenConnectorRequest
	other := &replica{reopen: func(*dispatcherv1.ReopenConnectorRequest) (*dispatcherv1.ReopenConnectorResponse, error) {
		return nil, status.Error(codes.Unavailable, "this replica does not feed it")
	}}
	owner := &replica{reopen: func(r *dispatcherv1.ReopenConnectorRequest) (*dispatcherv1.ReopenConnectorResponse, error) {
		asked = r
		return &dispatcherv1.ReopenConnectorResponse{ClosedUntil: in(time.Hour), ClosedBecause: "it asked for an hour"}, nil
	}}
	open := &replica{reopen: func(*dispatcherv1.ReopenConnectorRequest) (*dispatcherv1.ReopenConnectorResponse, error) {
		return nil, status.Error(codes.FailedPrecondition, "no reply keeps it closed")
	}}
	servers := "127.0.0.1:1," + other.serve(t) + "," + owner.serve(t)
	out, err := execute(t.Context(), "connectors", "reopen", "wms", "--server", servers, "--reason", "ticket 4711", "--by", "kim")
	if err != nil || !strings.Contains(out, "wms is open; it was closed until ") || !strings.Contains(out, ": it asked for an hour") {
		t.Errorf("%v, it says %q", err, out)
	}
	if asked.GetConnector() != "wms" || asked.GetReason() != "ticket 4711" || asked.GetBy() != "kim" {
		t.Errorf("asked for %v", asked)
	}
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"it is open":       {[]string{"wms", "--reason", "x", "--server", open.serve(t)}, "no reply keeps it closed"},
		"nobody feeds it":  {[]string{"wms", "--reason", "x", "--server", other.serve(t)}, "this replica does not feed it"},
		"without a reason": {[]string{"wms", "--reason", " "}, "--reason is empty"},
		"without a flag":   {[]string{"wms"}, `required flag(s) "reason" not set`},
		"by nobody":        {[]string{"wms", "--reason", "x", "--by", ""}, "--by is empty"},
		"without a name":   {[]string{"--reason", "x"}, "accepts 1 arg"},
	} {
		if out, err := execute(t.Context(), append([]string{"connectors", "reopen"}, c.arguments...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q\n%s", name, err, c.want, out)
		}
	}
}
