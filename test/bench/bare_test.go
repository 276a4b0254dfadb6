package bench

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/test/sim/shopify"
)

// bareVariable is set in the process that is the bare handler.
const bareVariable = "PEPPASYNC_BENCH_BARE"

// serveBare is for the first line of TestMain: in a process that bare has started it
// is the least that a receiver of signed webhooks does, and does not return. It reads
// the body, verifies the signature and answers 200; nothing is kept.
func serveBare() {
	if os.Getenv(bareVariable) == "" {
		return
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr()) // it is what the other process waits for
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		signature, bad := base64.StdEncoding.DecodeString(r.Header.Get("X-Shopify-Hmac-Sha256"))
		mac := hmac.New(sha256.New, []byte(shopify.DefaultWebhookSecret))
		mac.Write(body)
		if err != nil || bad != nil || !hmac.Equal(mac.Sum(nil), signature) {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})}
	go func() {
		// It ends with the pipe from the benchmark, should that be killed.
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, server.Serve(listener))
	os.Exit(1)
}

// bareProcess is the bare handler as a process of its own, as the product is.
type bareProcess struct {
	address string
	pid     int
}

// bare starts the bare handler. It ends with the benchmark.
func bare(b *testing.B) bareProcess {
	b.Helper()
	command := exec.Command(os.Args[0]) // this very test; it ends with its pipe
	command.Env = append(os.Environ(), bareVariable+"=1")
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = command.Wait()
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatalf("the bare handler says nothing: %v", err)
	}
	return bareProcess{address: strings.TrimSpace(address), pid: command.Process.Pid}
}
