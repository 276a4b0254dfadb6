package fleet_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	"github.com/peppasync/peppasync/services/operator/internal/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// replica is one that tells what it was given, or never answers where that is nil.
type replica struct {
	dispatcherv1.UnimplementedDispatcherServiceServer
	tells []*dispatcherv1.Connector
}

func (r *replica) ListConnectors(ctx context.Context, _ *dispatcherv1.ListConnectorsRequest) (*dispatcherv1.ListConnectorsResponse, error) {
	if r.tells == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &dispatcherv1.ListConnectorsResponse{Connectors: r.tells}, nil
}

// serve returns the address of a replica.
func serve(t *testing.T, tells []*dispatcherv1.Connector) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	dispatcherv1.RegisterDispatcherServiceServer(server, &replica{tells: tells})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // until it is stopped
	}()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return listener.Addr().String()
}

func told(name, owner string, state dispatcherv1.State, second int) *dispatcherv1.Connector {
	return &dispatcherv1.Connector{
		Name: name, Owner: owner, State: state, AsOf: timestamppb.New(time.Date(2027, 1, 1, 0, 0, second, 0, time.UTC)),
	}
}

// Of several replicas that one is believed that feeds the connector, of two that do the
// one that knows more lately; what nobody feeds is told by nobody.
func TestTheReplicaThatFeedsIsBelieved(t *testing.T) {
	t.Parallel()
	const (
		running, starting, elsewhere = dispatcherv1.State_STATE_RUNNING, dispatcherv1.State_STATE_STARTING, dispatcherv1.State_STATE_ELSEWHERE
	)
	servers := []string{
		serve(t, []*dispatcherv1.Connector{
			told("erp", "one", running, 1), told("wms", "one", elsewhere, 9), told("shop", "one", running, 1), told("texts", "one", elsewhere, 1),
		}),
		serve(t, []*dispatcherv1.Connector{
			told("erp", "two", starting, 9), told("wms", "two", starting, 1), told("shop", "two", running, 2), told("texts", "two", elsewhere, 2),
		}),
	}
	f := fleet.New(servers)
	defer f.Close()
	for range 2 { // the second time over the connections of the first
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		got, err := f.Ask(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		owners := map[string]string{}
		for name, c := range got {
			owners[name] = c.GetOwner()
		}
		if diff := cmp.Diff(map[string]string{"erp": "one", "wms": "two", "shop": "two"}, owners); diff != "" {
			t.Errorf("believed (-want +got):\n%s", diff)
		}
	}
}

// One that does not answer, is gone, or was never there is said, beside what the others tell.
func TestTheOthersTellBesideOneThatDoesNot(t *testing.T) {
	t.Parallel()
	silent := serve(t, nil)
	f := fleet.New([]string{"127.0.0.1:1", "no port", serve(t, []*dispatcherv1.Connector{told("erp", "one", dispatcherv1.State_STATE_DOWN, 1)})})
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := f.Ask(ctx)
	if len(got) != 1 || got["erp"].GetOwner() != "one" {
		t.Errorf("told: %v", got)
	}
	for _, want := range []string{"the throttle-dispatcher at 127.0.0.1:1", `--dispatcher is "no port"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	alone := fleet.New([]string{silent})
	defer alone.Close()
	if got, err := alone.Ask(ended); len(got) != 0 || err == nil {
		t.Errorf("one that does not answer in time tells %v, %v", got, err)
	}
}
