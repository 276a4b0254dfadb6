package account_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
)

// client is an HTTP client on one kept-alive connection, and a count of how often it had to dial.
type client struct {
	*http.Client
	url string
}

func serve(t *testing.T, f *account.Front) client {
	t.Helper()
	server := httptest.NewUnstartedServer(f)
	server.Config.ConnContext = account.ConnContext
	server.Start()
	transport := &http.Transport{MaxIdleConnsPerHost: 1}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return client{&http.Client{Transport: transport}, server.URL}
}

// put sends one request and says whether it went over a connection that had served before.
func (c client) put(t *testing.T, key string) (status int, reused bool, err error) {
	t.Helper()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, c.url+"/"+key, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.GetBody = nil // as a client that never repeats a write on its own
	response, err := c.Do(request)
	if err != nil {
		return 0, reused, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, reused, err
}

func TestCutsReachTheClientAsBrokenConnections(t *testing.T) {
	l := newLedger()
	f := newFront(t, l, account.Config{Faults: []faults.Rule{
		{Kind: faults.CutBeforeCommit, Keys: []string{"before"}}, {Kind: faults.CutAfterCommit, Keys: []string{"after"}},
		{Kind: faults.ServerErrorAfterCommit, Keys: []string{"error"}},
	}})
	c := serve(t, f)
	for key, effects := range map[string]int{"before": 0, "after": 1} {
		if status, _, err := c.put(t, key); err == nil {
			t.Errorf("%s was answered %d", key, status)
		}
		if got := l.effect(key); got != effects {
			t.Errorf("%s took effect %d times, want %d", key, got, effects)
		}
	}
	if status, _, _ := c.put(t, "error"); status != 500 || l.effect("error") != 1 {
		t.Errorf("error = %d with %d effects, want 500 with 1", status, l.effect("error"))
	}
	if got := f.Report().ByOutcome["cut"]; got != 2 {
		t.Errorf("cut = %d, want 2", got)
	}
}

func TestKeptAliveConnectionIsClosedInMidRequest(t *testing.T) {
	l := newLedger()
	c := serve(t, newFront(t, l, account.Config{Faults: []faults.Rule{{Kind: faults.CloseMidRequest, Times: 1}}}))
	if status, reused, err := c.put(t, "first"); err != nil || status != 200 || reused {
		t.Fatalf("first = %d, reused %v, %v", status, reused, err)
	}
	if status, reused, err := c.put(t, "second"); err == nil || !reused {
		t.Errorf("second = %d, reused %v, %v; want a broken reused connection", status, reused, err)
	}
	if l.effect("second") != 0 {
		t.Error("the closed call took effect")
	}
	if status, _, err := c.put(t, "third"); err != nil || status != 200 {
		t.Errorf("third = %d, %v", status, err)
	}
}

func TestCloseAfterReplyBreaksTheNextRequest(t *testing.T) {
	l := newLedger()
	c := serve(t, newFront(t, l, account.Config{Faults: []faults.Rule{{Kind: faults.CloseAfterReply, Keys: []string{"a"}}}}))
	if status, _, err := c.put(t, "a"); err != nil || status != 200 || l.effect("a") != 1 {
		t.Fatalf("a = %d, %v, %d effects", status, err, l.effect("a"))
	}
	// Whether the client finds the connection dead before it writes or after is a race; either way no call is served twice.
	if status, _, err := c.put(t, "b"); err == nil && status != 200 {
		t.Errorf("b = %d", status)
	}
	if got := l.effect("b"); got > 1 {
		t.Errorf("b took effect %d times", got)
	}
}

func TestCallGoesOnAfterItsClientGaveUp(t *testing.T) {
	l := newLedger()
	f := newFront(t, l, account.Config{Faults: []faults.Rule{{Kind: faults.Slow, Delay: jsontime.Duration(300 * time.Millisecond)}}})
	c := serve(t, f)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, c.url+"/k", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if response, err := c.Do(request); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("reply %v, %v; want a timeout", response, err)
	}
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for l.effect("k") == 0 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the call never took effect")
		}
	}
}

func TestCloseEndsWaits(t *testing.T) {
	f := newFront(t, newLedger(), account.Config{Latency: faults.Latency{Distribution: faults.Fixed, Min: jsontime.Duration(time.Hour)}})
	done := make(chan int)
	go func() { done <- call(f, "k") }()
	f.Close()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a call still waits after Close")
	}
}
