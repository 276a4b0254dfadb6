package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	headerBytes = 16 << 10
	patient     = 10 * time.Second
)

// recorder is a handler that keeps what it was asked.
type recorder struct {
	mu   sync.Mutex
	seen []string
}

func (h *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/unread":
		w.WriteHeader(http.StatusNotFound)
		return
	case "/panic":
		panic("as it was asked")
	}
	body, err := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, fmt.Sprintf("%s %s %s %v %q %v", r.Method, r.URL.Path, r.Host, r.Header, body, err != nil))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("X-Seen", fmt.Sprint(len(body), r.Header["X-Echo"]))
	_, _ = io.WriteString(w, r.URL.Path)
}

// served is a server that runs.
type served interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

func newServer(h http.Handler) *Server {
	return &Server{
		Handler: h, HeaderTimeout: patient, RequestTimeout: patient, AnswerTimeout: patient, IdleTimeout: patient,
		HeaderBytes: headerBytes, Logger: slog.New(slog.DiscardHandler),
	}
}

func run(t testing.TB, s served) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return listener.Addr().String()
}

func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patient))
	tcp, _ := conn.(*net.TCPConn)
	return tcp
}

// talk sends bytes, says that no more come, and returns what is answered: of each answer
// its status, of those of the handler also what it wrote.
func talk(t testing.TB, address, request string) (answers []string) {
	t.Helper()
	conn := dial(t, address)
	_, _ = io.WriteString(conn, request) // it may have answered and closed before the end
	_ = conn.CloseWrite()
	reader := bufio.NewReader(conn)
	for {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			_, _ = io.Copy(io.Discard, reader) // until all that was sent is worked off
			return answers
		}
		body, err := io.ReadAll(response.Body)
		told := fmt.Sprint(response.StatusCode)
		if err != nil {
			told += " broken off"
		}
		if seen := response.Header.Get("X-Seen"); seen != "" {
			told += fmt.Sprintf(" %s %s %s", seen, body, response.Header.Get("Content-Type"))
		}
		answers = append(answers, told)
	}
}

const (
	whole   = "POST /whole HTTP/1.1\r\nHost: x\r\nX-Echo: a\r\nx-echo: b\r\nContent-Length: 5\r\n\r\nhello"
	chunked = "POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
	nothing = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
)

func with(header string) string {
	return "POST /with HTTP/1.1\r\nHost: x\r\n" + header + "\r\n\r\nhello" + nothing
}

// requests are what senders send, and what they should not.
var requests = map[string]string{
	"one":                          whole,
	"one after the other":          whole + chunked + nothing + whole,
	"nothing":                      "",
	"an empty line before":         "\r\n" + whole,
	"an empty line between":        whole + "\r\n" + nothing,
	"no keeping":                   strings.Replace(whole, "X-Echo: a", "Connection: close", 1) + nothing,
	"of HTTP/1.0":                  strings.Replace(nothing, "1.1", "1.0", 1) + nothing,
	"of HTTP/1.0 without host":     "GET / HTTP/1.0\r\n\r\n",
	"of HTTP/2":                    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"of HTTP/9":                    "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
	"no HTTP":                      "hello\r\n\r\n",
	"noise":                        "\x00\x01\xff\xfe\r\n\r\n",
	"TLS":                          "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	"half a line":                  "POST /wh",
	"half a header":                whole[:40],
	"half a body":                  whole[:len(whole)-2],
	"half a chunk":                 chunked[:len(chunked)-20],
	"no host":                      "POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" + nothing,
	"two hosts":                    with("Host: y\r\nContent-Length: 5"),
	"a whole URL":                  "GET http://y/x HTTP/1.1\r\nHost: x\r\n\r\n" + nothing,
	"a URL that is none":           "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n" + nothing,
	"HEAD":                         "HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n" + nothing,
	"OPTIONS *":                    "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" + nothing,
	"a length that is none":        with("Content-Length: five"),
	"a negative length":            with("Content-Length: -5"),
	"a length with a sign":         with("Content-Length: +5"),
	"a length with an underscore":  with("Content-Length: 0_5"),
	"two lengths":                  with("Content-Length: 5\r\nContent-Length: 7"),
	"the same length twice":        with("Content-Length: 5\r\nContent-Length: 5"),
	"lengths in a list":            with("Content-Length: 5, 5"),
	"a length and chunks":          strings.Replace(chunked, "Host: x", "Host: x\r\nContent-Length: 5", 1) + nothing,
	"another transfer encoding":    with("Transfer-Encoding: gzip"),
	"chunks and another":           with("Transfer-Encoding: gzip, chunked"),
	"chunks that are none":         strings.Replace(chunked, "3\r\n", "zz\r\n", 1) + nothing,
	"a chunk larger than anything": strings.Replace(chunked, "3\r\n", "ffffffffffffffff\r\n", 1) + nothing,
	"a chunk longer than it says":  strings.Replace(chunked, "abc\r\n", "abcd\r\n", 1) + nothing,
	"a blank before the colon":     with("Content-Length : 5"),
	"a blank in a name":            with("X Y: z\r\nContent-Length: 5"),
	"a line that goes on":          with("X-Echo: a\r\n b\r\nContent-Length: 5"),
	"a header without colon":       with("nonsense\r\nContent-Length: 5"),
	"a header without name":        with(": a\r\nContent-Length: 5"),
	"a zero in a header":           with("X-Echo: \x00\r\nContent-Length: 5"),
	"lines without CR":             strings.ReplaceAll(whole, "\r\n", "\n") + nothing,
	"a CR in a header":             with("X-Echo: a\rb\r\nContent-Length: 5"),
	"a large header":               with("X-Large: " + strings.Repeat("x", headerBytes-200) + "\r\nContent-Length: 5"),
	"a header that is too large":   with("X-Large: " + strings.Repeat("x", 3*headerBytes) + "\r\nContent-Length: 5"),
	"a line that is too large":     "GET /" + strings.Repeat("x", 3*headerBytes) + " HTTP/1.1\r\nHost: x\r\n\r\n",
	"a body that is not read":      "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" + nothing,
	"chunks that are not read":     strings.Replace(chunked, "/chunks", "/unread", 1) + nothing,
	"more than is read unread": "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" +
		strings.Repeat("x", 300_000) + nothing,
	"an expectation":                  with("Expect: 100-continue\r\nContent-Length: 5"),
	"an expectation that is not read": "POST /unread HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello" + nothing,
	"an expectation of nothing":       "POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n" + nothing,
	"an expectation of miracles":      with("Expect: miracles\r\nContent-Length: 5"),
	"a panic":                         "GET /panic HTTP/1.1\r\nHost: x\r\n\r\n" + nothing,
}

// net/http's server is the judge: what it takes is taken, and told to the handler in the
// same way, and what it refuses is refused.
func TestItServesAsNetHTTPDoes(t *testing.T) {
	ours, theirs := new(recorder), new(recorder)
	our, their := run(t, newServer(ours)), run(t, judge(theirs))
	for name, request := range requests {
		t.Run(name, func(t *testing.T) { compare(t, request, our, their, ours, theirs) })
	}
}

func judge(h http.Handler) *http.Server {
	return &http.Server{
		MaxHeaderBytes: headerBytes, ReadTimeout: patient, DisableGeneralOptionsHandler: true,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 1 {
				w.WriteHeader(http.StatusHTTPVersionNotSupported) // it leaves HTTP/2 to its handler
				return
			}
			if r.Host == "" && r.ProtoAtLeast(1, 1) {
				w.Header().Set("Connection", "close")
				w.WriteHeader(http.StatusBadRequest) // it takes one that is there and empty
				return
			}
			h.ServeHTTP(w, r)
		}),
	}
}

func compare(t *testing.T, request, our, their string, ours, theirs *recorder) {
	t.Helper()
	answers, want := talk(t, our, request), talk(t, their, request)
	for i := range answers {
		answers[i] = strings.TrimSuffix(answers[i], " broken off") // as that to a HEAD seems to be
	}
	for i := range want {
		// What is not implemented is as good as malformed to it: no sender of webhooks sends that.
		if want[i] == "501" {
			want[i] = "400"
		}
		want[i] = strings.TrimSuffix(want[i], " broken off") // where it resets the connection
	}
	if !slices.Equal(answers, want) {
		t.Errorf("%.300q\nis answered\n%q, and by net/http\n%q", request, answers, want)
	}
	ours.mu.Lock()
	defer ours.mu.Unlock()
	theirs.mu.Lock()
	defer theirs.mu.Unlock()
	if !slices.Equal(ours.seen, theirs.seen) {
		t.Errorf("%.300q\nis told as\n%.500q, and by net/http\n%.500q", request, ours.seen, theirs.seen)
	}
	ours.seen, theirs.seen = nil, nil
}

// FuzzServe: whatever comes, it does as net/http does.
func FuzzServe(f *testing.F) {
	for _, request := range requests {
		f.Add([]byte(request))
	}
	ours, theirs := new(recorder), new(recorder)
	our, their := run(f, newServer(ours)), run(f, judge(theirs))
	f.Fuzz(func(t *testing.T, request []byte) {
		if bytes.Contains(request, []byte("://")) {
			return // of which it takes the host, where net/http wants the header of that name too
		}
		if bytes.Count(request, newline) > mostLines {
			return // of which net/http takes as many as there are
		}
		compare(t, string(request), our, their, ours, theirs)
	})
}

// nobody is a listener that never accepts.
type nobody struct{ net.Listener }

func (nobody) Close() error { return nil }
