package chaos

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/peppasync/peppasync/test/sim/shopify"
)

// manner is how a request is sent.
type manner int

const (
	// whole sends it and reads the answers; half also says that nothing more comes.
	whole manner = iota
	half
	// hold sends it and waits for more of the server than it gives; drip sends a byte
	// now and then; hangUp ends the connection at once.
	hold
	drip
	hangUp
)

// mangled is something that is no webhook as it should be.
type mangled struct {
	shape   string
	request []byte
	manner  manner
	// taken is the id of one that is authentic and may be taken; "" for all others.
	taken string
}

// absurd begins the ids of what is signed and JSON, and no order.
const absurd = "absurd-"

// mangler makes such requests, the same ones for the same seed.
type mangler struct {
	random *rand.Rand
	noise  *rand.ChaCha8
	count  int
	shapes []shape
	large  large
}

// large is what takes long to make, made once.
type large struct {
	arrays, objects, lines, text []byte
	balanced, chunks, trailers   string
	extension                    string
	// packed is an order in gzip, bomb a megabyte of nothing.
	packed, bomb []byte
	// headers are 20,000 lines.
	headers []string
}

func packed(data []byte) []byte {
	var into bytes.Buffer
	w := gzip.NewWriter(&into)
	_, _ = w.Write(data) // a buffer takes everything
	_ = w.Close()
	return into.Bytes()
}

func newLarge() large {
	var headers []string
	for i := range 20_000 {
		headers = append(headers, fmt.Sprintf("X-Many-%d: a", i))
	}
	return large{
		packed: packed([]byte(`{"id":1,"name":"#1"}`)), bomb: packed(make([]byte, 1<<20)), headers: headers,
		arrays: bytes.Repeat([]byte("["), 100_000), objects: bytes.Repeat([]byte(`{"a":`), 20_000),
		lines: []byte(`{"line_items":[` + strings.Repeat(`{},`, 20_000) + `{}]}`), text: []byte(`{"name":"` + strings.Repeat("x", 500_000) + `"}`),
		balanced: strings.Repeat("[", 5000) + strings.Repeat("]", 5000), chunks: strings.Repeat("1\r\n \r\n", 3000),
		trailers: strings.Repeat("X-Trailer: a\r\n", 3000), extension: strings.Repeat("x", 50_000),
	}
}

type shape struct {
	name string
	// often is how often it comes beside the others.
	often int
	make  func(m *mangler) mangled
}

func newMangler(random *rand.Rand) *mangler {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(random.Uint32())
	}
	m := &mangler{random: random, noise: rand.NewChaCha8(seed), large: newLarge()}
	for _, s := range shapes() {
		for range s.often {
			m.shapes = append(m.shapes, s)
		}
	}
	return m
}

func (m *mangler) next() mangled {
	m.count++
	s := m.shapes[m.random.IntN(len(m.shapes))]
	made := s.make(m)
	made.shape = s.name
	return made
}

// choose returns one of several.
func choose[T any](m *mangler, of ...T) T { return of[m.random.IntN(len(of))] }

// bytes are random, and enough of them to be nothing by chance.
func (m *mangler) bytes(most int) []byte {
	data := make([]byte, 16+m.random.IntN(most))
	_, _ = m.noise.Read(data) // it never fails
	return data
}

func (m *mangler) order() []byte {
	return fmt.Appendf(nil, `{"id":%d,"name":"#%d","note":%q}`, 7_000_000+m.count, 7_000_000+m.count, strings.Repeat("x", m.random.IntN(2000)))
}

const door = "/v1/webhooks/shopify"

func signed(body []byte) string {
	mac := hmac.New(sha256.New, []byte(shopify.DefaultWebhookSecret))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// post is a request with more headers, of which one may replace the signature.
func post(path, signature string, body []byte, more ...string) []byte {
	return append(head(path, signature, append(more, fmt.Sprint("Content-Length: ", len(body)))...), body...)
}

// head is one without a body. Each header is a line.
func head(path, signature string, more ...string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: x\r\nX-Shopify-Topic: orders/create\r\nX-Shopify-Webhook-Id: mangled\r\nX-Shopify-Hmac-Sha256: %s\r\n%s\r\n\r\n",
		path, signature, strings.Join(more, "\r\n"))
}

func (m *mangler) sent(request []byte) mangled { return mangled{request: request} }

func shapes() []shape {
	return []shape{
		{"truncated", 20, func(m *mangler) mangled {
			body := m.order()
			request := post(door, signed(body), body)
			return mangled{request: request[:1+m.random.IntN(len(request)-1)], manner: choose(m, half, half, half, hangUp)}
		}},
		{"slow", 3, func(m *mangler) mangled {
			body := m.order()
			request := post(door, signed(body), body)
			return mangled{request: request[:1+m.random.IntN(len(request)-1)], manner: choose(m, hold, drip)}
		}},
		{"wrong signature", 20, func(m *mangler) mangled {
			body := m.order()
			return m.sent(post(door, choose(m, signed([]byte("another")), base64.StdEncoding.EncodeToString(m.bytes(100)), "", "====",
				hex.EncodeToString(m.bytes(32)), strings.Repeat("A", 5000), string(printable(m.bytes(200)))), body))
		}},
		{"wrong encoding", 10, wrongEncoding},
		{"wrong content type", 5, func(m *mangler) mangled {
			return m.sent(post(door, "", []byte("<order/>"), "Content-Type: "+choose(m, "text/xml", "multipart/form-data; boundary=", "application/x-www-form-urlencoded", ";;;", "a/b; c=\x01")))
		}},
		{"no JSON", 10, func(m *mangler) mangled {
			body := choose(m, []byte("order=1"), m.order()[1:], m.bytes(3000), m.large.arrays, m.large.objects,
				[]byte(`{"id":NaN}`), []byte("\xef\xbb\xbf{}"), []byte("{}{}"), nil)
			return m.sent(post(door, signed(body), body))
		}},
		{"absurd JSON", 1, absurdJSON},
		{"large headers", 5, largeHeaders},
		{"large body", 1, func(m *mangler) mangled {
			body := bytes.Repeat([]byte(" "), 1<<20+m.random.IntN(2<<20))
			return m.sent(post(door, signed(body), body))
		}},
		{"lies about the length", 15, func(m *mangler) mangled {
			body := m.order()
			length := choose(m, "-1", "abc", "1e3", "0x10", "99999999999999999999", "1099511627776", "+5", " ", fmt.Sprint(len(body)-3), "5\r\nContent-Length: 6", "5, 6")
			return mangled{request: append(head(door, signed(body), "Content-Length: "+length), body...), manner: half}
		}},
		{"lies in chunks", 15, liesInChunks},
		{"smuggling", 15, smuggling},
		{"another protocol", 5, func(m *mangler) mangled {
			return mangled{manner: half, request: choose(m, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
				[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+string(m.bytes(300))), []byte("GET /\r\n"), []byte("SSH-2.0-OpenSSH_9.6\r\n"),
				[]byte("POST "+door+" HTTP/9.9\r\nHost: x\r\n\r\n"), []byte("POST "+door+" HTTP/1.0\r\n\r\n"), []byte("\r\n\r\n\r\n"), []byte("*1\r\n$4\r\nPING\r\n"))}
		}},
		{"random bytes", 15, func(m *mangler) mangled {
			return mangled{request: m.bytes(4000), manner: choose(m, half, hangUp)}
		}},
		{"flipped bits", 15, func(m *mangler) mangled {
			// A signature that does not match, so that no flip makes it a good one.
			request := post(door, signed([]byte("another")), m.order(), "Content-Type: application/json")
			for range 1 + m.random.IntN(8) {
				request[m.random.IntN(len(request))] ^= 1 << m.random.IntN(8)
			}
			return mangled{request: request, manner: half}
		}},
		{"nobody's", 10, func(m *mangler) mangled {
			path := choose(m, "/v1/webhooks/netsuite", "/v1/webhooks/", "/v1/webhooks/../../etc/passwd", "/v1/webhooks/%00", "/v1/webhooks/shopify/x", "//v1//webhooks//shopify",
				"/"+strings.Repeat("a", 20_000), "/v1/webhooks/"+strings.Repeat("%f0%9f%90%b7", 500), "*", "http://elsewhere"+door, "?")
			return mangled{request: post(path, "", m.order()), manner: half}
		}},
		{"wrong method", 5, func(m *mangler) mangled {
			method := choose(m, "GET", "DELETE", "TRACE", "CONNECT", "post", "P\x00ST", strings.Repeat("M", 5000), "OPTIONS", "HEAD")
			return mangled{request: bytes.Replace(post(door, "", m.order()), []byte("POST"), []byte(method), 1), manner: half}
		}},
		{"expectations", 3, func(m *mangler) mangled {
			return mangled{request: head(door, "", "Content-Length: 100", "Expect: "+choose(m, "100-continue", "miracles")), manner: half}
		}},
		{"one after the other", 2, func(m *mangler) mangled {
			body := m.order()
			return mangled{request: bytes.Repeat(post(door, "", body), 1+m.random.IntN(40)), manner: half}
		}},
	}
}

func wrongEncoding(m *mangler) mangled {
	body := m.order()
	wide := make([]byte, 0, 2*len(body))
	for _, unit := range utf16.Encode([]rune(string(body))) {
		wide = append(wide, byte(unit>>8), byte(unit))
	}
	content := choose(m, m.large.packed, m.large.bomb, wide, m.bytes(3000))
	// Signed as it is sent, or as it was meant.
	signature := choose(m, signed(content), signed(body))
	return m.sent(post(door, signature, content, "Content-Encoding: "+choose(m, "gzip", "br", "deflate, gzip", "identity"), "Content-Type: application/json; charset="+choose(m, "utf-16", "latin-1", "?")))
}

// absurdJSON is signed by the shop's own secret, and JSON: it is taken, and held where
// it is no order.
func absurdJSON(m *mangler) mangled {
	id := fmt.Sprint(absurd, m.count)
	body := choose(m, `{}`, `[]`, `null`, `0`, `""`, `{"id":1e999,"name":1e999}`, `{"id":{"id":{"id":null}},"name":[]}`,
		`{"id":-9223372036854775809,"name":"`+strings.Repeat(`\u0000`, 100)+`"}`, `{"id":1,"id":2,"name":"#a","name":"#b"}`,
		m.large.balanced, string(m.large.text), string(m.large.lines),
		`{"name":"\ud800","updated_at":"never","line_items":{"a":1}}`, "{\"name\":\"\xff\xfe\"}")
	request := post(door, signed([]byte(body)), []byte(body))
	return mangled{request: bytes.Replace(request, []byte("Webhook-Id: mangled"), []byte("Webhook-Id: "+id), 1), taken: id}
}

func largeHeaders(m *mangler) mangled {
	size := 8_000 + m.random.IntN(400_000)
	var more []string
	switch m.random.IntN(3) {
	case 0:
		more = []string{"X-Large: " + strings.Repeat("a", size)}
	case 1:
		more = slices.Clone(m.large.headers[:size/20])
	default:
		more = []string{"Traceparent: " + strings.Repeat("0", size), "Cookie: " + strings.Repeat("a=b; ", size/5)}
	}
	return mangled{request: append(head(door, "", append(more, "Content-Length: 2")...), "{}"...), manner: half}
}

func liesInChunks(m *mangler) mangled {
	body := string(m.order())
	right := fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
	chunks := choose(m, "FFFFFFFFFFFFFFFFF\r\n"+body, "-5\r\n"+body, "zz\r\n"+body, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body)+9, body),
		fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body)-9, body), right, right+"0\r\n", right+"0;"+m.large.extension+"\r\n\r\n", m.large.chunks+"0\r\n\r\n",
		right+"0\r\n"+m.large.trailers+"\r\n", "7fffffffffffffff\r\n"+body, "\r\n\r\n", "1;"+strings.Repeat("a=b;", 2000)+"\r\n{\r\n0\r\n\r\n")
	// The signature is that of the body and a byte more, so that even a chunk that is
	// right is none to take.
	return mangled{request: append(head(door, signed([]byte(body+" ")), "Transfer-Encoding: chunked"), chunks...), manner: half}
}

func smuggling(m *mangler) mangled {
	second := string(post(door, "", m.order()))
	chunked := fmt.Sprintf("0\r\n\r\n%s", second)
	lines := choose(m,
		[]string{fmt.Sprint("Content-Length: ", len(chunked)), "Transfer-Encoding: chunked"},
		[]string{"Transfer-Encoding: chunked", "Content-Length: 4"},
		[]string{"Transfer-Encoding : chunked", "Content-Length: 4"},
		[]string{"Transfer-Encoding: xchunked"},
		[]string{"Transfer-Encoding: chunked", "Transfer-Encoding: identity"},
		[]string{"Transfer-Encoding:\tchunked", "Content-Length: 4"},
		[]string{"Transfer-Encoding:\r\n chunked"},
		[]string{"X: y\nTransfer-Encoding: chunked"},
		[]string{"Host: elsewhere", "Content-Length: 4"},
		[]string{": empty", "Content-Length: 4"},
		[]string{"X-\x00: null", "Content-Length: 4"},
		[]string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "Content-Length: 4"},
	)
	return mangled{request: append(head(door, "", lines...), chunked...), manner: half}
}

// printable keeps a text from ending a header by chance.
func printable(data []byte) []byte {
	for i := range data {
		data[i] = '!' + data[i]%90
	}
	return data
}
