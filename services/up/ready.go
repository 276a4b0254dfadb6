package up

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"
)

// readyEvery is how often a start is asked whether it is complete.
const readyEvery = 20 * time.Millisecond

// baseURL returns where a program on this machine reaches the listener, or ""
// for nil.
func baseURL(listener net.Listener) string {
	if listener == nil {
		return ""
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok || !address.IP.IsUnspecified() {
		return "http://" + listener.Addr().String()
	}
	return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(address.Port))
}

// awaitReady asks ingest until it stores webhooks, the last thing to come about
// at a start. It returns false where ctx ended before.
func awaitReady(ctx context.Context, base string) bool {
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: time.Second}
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if isReady(ctx, client, base) {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return false
}

func isReady(ctx context.Context, client *http.Client, base string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}
