package ingest

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/ingest/internal/http1"
)

// A connection whose requests are answered before their end is read, or have no body, is in
// use all the same: a newcomer closes the one that has kept it waiting longer.
func TestAConnectionInUseIsNotTheOneThatWaits(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	crowd := newCrowd(listener, 2)
	const patient = 10 * time.Second
	server := &http1.Server{
		Handler:       crowd.attend(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })),
		HeaderTimeout: patient, RequestTimeout: patient, AnswerTimeout: patient, IdleTimeout: patient, HeaderBytes: 8 << 10,
		Logger: slog.New(slog.DiscardHandler),
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(crowd) }()
	t.Cleanup(func() { server.Close(); <-ended })

	type sender struct {
		net.Conn
		reader *bufio.Reader
	}
	dial := func() sender {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patient))
		return sender{conn, bufio.NewReader(conn)}
	}
	asks := func(s sender, request string) error {
		if _, err := io.WriteString(s, request); err != nil {
			return err
		}
		response, err := http.ReadResponse(s.reader, nil)
		if err == nil {
			_ = response.Body.Close()
		}
		return err
	}
	for name, request := range map[string]string{
		"no body":                 "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"a body that is not read": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
	} {
		used := dial()
		if err := asks(used, request); err != nil {
			t.Fatal(err)
		}
		idle := dial()
		for _, each := range []sender{idle, used} {
			if err := asks(each, request); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if err := asks(dial(), request); err != nil {
			t.Fatalf("%s: a newcomer is not served: %v", name, err)
		}
		if err := asks(used, request); err != nil {
			t.Errorf("%s: the connection in use was closed: %v", name, err)
		}
		if err := asks(idle, request); err == nil {
			t.Errorf("%s: the connection that waited is open", name)
		}
	}
}
