package http1

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Each name of a header takes memory of its own, however short it is.
func TestAHeaderOfManyLinesIsRefused(t *testing.T) {
	handler := new(recorder)
	address := run(t, newServer(handler))
	lines := func(n int) string {
		var b strings.Builder
		b.WriteString("POST /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n")
		for i := range n {
			fmt.Fprintf(&b, "%x:\n", i)
		}
		return b.String()
	}
	for name, test := range map[string]struct {
		request string
		want    int
	}{
		"a few":                                {lines(200) + "\r\nhello", http.StatusOK},
		"a few, and a body of many":            {strings.Replace(lines(200), "Length: 5", "Length: 5000", 1) + "\r\n" + strings.Repeat("\n", 5000), http.StatusOK},
		"many in one read":                     {lines(1000) + "\r\nhello", http.StatusRequestHeaderFieldsTooLarge},
		"many in several":                      {lines(3500) + "\r\nhello", http.StatusRequestHeaderFieldsTooLarge},
		"many, of which the end does not come": {lines(2500), http.StatusRequestHeaderFieldsTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, address)
			if _, err := io.WriteString(conn, test.request); err != nil {
				t.Fatal(err)
			}
			if got := status(t, bufio.NewReader(conn)); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

// What a sender wrote into an answer is not kept until its next request.
func TestAnAnswersHeaderIsLetGo(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	c := newConn(newServer(new(recorder)), ours)
	c.answer.Header().Set("X-Echo", strings.Repeat("x", 1000))
	sent := make(chan error, 1)
	go func() { sent <- c.send(nil, false) }()
	response, err := http.ReadResponse(bufio.NewReader(theirs), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(response.Header.Get("X-Echo")) != 1000 {
		t.Errorf("got the header %v", response.Header)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if len(c.answer.header) > 0 {
		t.Errorf("the answer's header of %d names is kept", len(c.answer.header))
	}
}
