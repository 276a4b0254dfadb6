package bench

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/shopify"
)

// bodySize is what a small order of a shop has.
const bodySize = 4096

// idDigits are those of a webhook's id, of which no two are the same.
const idDigits = 16

// mail is what senders deliver. Senders share the machine with what they measure, so
// all that can be done before is: bodies are made and signed, requests are bytes in
// which only the webhook's id changes.
type mail struct {
	bodies [][]byte
	// heads are those of the requests, for each kind of them and each body.
	heads [][][]byte
	// idAt is where the id begins in each head.
	idAt int
	next atomic.Int64
}

// newMail returns webhooks of so many connectors and topics.
func newMail(b *testing.B, connectors, topics int) *mail {
	b.Helper()
	m := &mail{bodies: orderBodies(b, 256)}
	m.idAt = len("POST /v1/webhooks/shop-00 HTTP/1.1\r\nX-Shopify-Webhook-Id: ")
	for connector := range connectors {
		for topic := range topics {
			var heads [][]byte
			for _, body := range m.bodies {
				mac := hmac.New(sha256.New, []byte(shopify.DefaultWebhookSecret))
				mac.Write(body)
				// What Shopify sends, but for what names its own machines.
				heads = append(heads, fmt.Appendf(nil, "POST /v1/webhooks/%s HTTP/1.1\r\nX-Shopify-Webhook-Id: %0*d\r\nHost: peppasync\r\n"+
					"User-Agent: Shopify-Captain-Hook\r\nAccept: */*\r\nAccept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\n"+
					"Content-Type: application/json\r\nContent-Length: %d\r\nX-Shopify-Api-Version: 2026-10\r\n"+
					"X-Shopify-Hmac-Sha256: %s\r\nX-Shopify-Shop-Domain: shop.myshopify.com\r\nX-Shopify-Topic: %s\r\n"+
					"X-Shopify-Triggered-At: 2026-11-27T09:30:00.123456789Z\r\n\r\n",
					shopName(connector), idDigits, 0, len(body), base64.StdEncoding.EncodeToString(mac.Sum(nil)), topicNames[topic]))
			}
			m.heads = append(m.heads, heads)
		}
	}
	return m
}

func shopName(i int) string { return fmt.Sprintf("shop-%02d", i) }

var topicNames = []string{"orders/create", "orders/updated", "orders/paid", "orders/cancelled", "orders/fulfilled"}

// write appends the next request to buffer.
func (m *mail) write(buffer []byte) []byte {
	n := m.next.Add(1)
	body := int(n) % len(m.bodies)
	at := len(buffer)
	buffer = append(buffer, m.heads[int(n)%len(m.heads)][body]...)
	for i, rest := at+m.idAt+idDigits-1, n; rest > 0; i, rest = i-1, rest/10 {
		buffer[i] = '0' + byte(rest%10)
	}
	return append(buffer, m.bodies[body]...)
}

// sender is one connection that is kept open.
type sender struct {
	conn            net.Conn
	request, answer []byte
}

// post sends one request and returns the status of the answer.
func (s *sender) post(m *mail) (int, error) {
	s.request = m.write(s.request[:0])
	if _, err := s.conn.Write(s.request); err != nil {
		return 0, err
	}
	have := 0
	for {
		n, err := s.conn.Read(s.answer[have:])
		if err != nil {
			return 0, err
		}
		have += n
		status, whole, err := parseAnswer(s.answer[:have])
		if whole || err != nil {
			return status, err
		}
		if have == len(s.answer) {
			return 0, fmt.Errorf("an answer of more than %d bytes", have)
		}
	}
}

// parseAnswer reads the status and reports whether the answer is complete.
func parseAnswer(answer []byte) (status int, whole bool, err error) {
	head, body, found := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !found {
		return 0, false, nil
	}
	if len(head) < len("HTTP/1.1 200") {
		return 0, false, fmt.Errorf("no HTTP: %q", head)
	}
	if status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return 0, false, fmt.Errorf("no HTTP: %q", head)
	}
	_, rest, _ := bytes.Cut(head, []byte("Content-Length: "))
	length, _, _ := bytes.Cut(rest, []byte("\r\n"))
	size, err := strconv.Atoi(string(length))
	if err != nil {
		return 0, false, fmt.Errorf("an answer without a length: %q", head)
	}
	return status, len(body) >= size, nil
}

// sent is what became of some requests.
type sent struct {
	// waits are how long those that were stored took, refusals those that were to come
	// again.
	waits, refusals []time.Duration
	// unsent had no connection that was free, lost were cut off or answered otherwise.
	unsent, lost int
	why          error
	took         time.Duration
}

func (s *sent) add(o sent) {
	s.waits, s.refusals = append(s.waits, o.waits...), append(s.refusals, o.refusals...)
	s.unsent, s.lost, s.took = s.unsent+o.unsent, s.lost+o.lost, s.took+o.took
	if s.why == nil {
		s.why = o.why
	}
}

// rate returns how many were stored a second.
func (s *sent) rate() float64 { return float64(len(s.waits)) / s.took.Seconds() }

// dial opens the connections.
func dial(b *testing.B, address string, connections int) []*sender {
	b.Helper()
	senders := make([]*sender, connections)
	for i := range senders {
		conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute)) // nothing here takes so long
		senders[i] = &sender{conn: conn, answer: make([]byte, 2<<10)}
	}
	return senders
}

// deliver runs each of the senders with work, which returns false at its end, and
// closes them.
func deliver(senders []*sender, m *mail, next func() (due time.Time, more bool)) sent {
	var (
		all    sent
		mu     sync.Mutex
		group  sync.WaitGroup
		begun  = time.Now()
		ending = func(own sent) { mu.Lock(); defer mu.Unlock(); all.add(own) }
	)
	for _, s := range senders {
		group.Go(func() {
			var own sent
			defer func() { ending(own) }()
			defer func() { _ = s.conn.Close() }()
			for {
				due, more := next()
				if !more {
					return
				}
				status, err := s.post(m)
				switch took := time.Since(due); {
				case err != nil:
					own.lost++
					own.why = err
					return
				case status == 200:
					own.waits = append(own.waits, took)
				case status == 503:
					own.refusals = append(own.refusals, took)
				default:
					own.lost++
					own.why = fmt.Errorf("status %d", status)
				}
			}
		})
	}
	group.Wait()
	all.took = time.Since(begun)
	return all
}

// closed has each connection send its next request when it has its answer, for a slice
// of time.
func closed(b *testing.B, address string, m *mail, connections int) sent {
	b.Helper()
	senders := dial(b, address, connections)
	end := time.Now().Add(ingestSlice)
	return deliver(senders, m, func() (time.Time, bool) {
		now := time.Now()
		return now, now.Before(end)
	})
}

// open sends so many a second, whether there are answers or not, on as many
// connections as that needs; a request that finds all of them waiting for an answer is
// not sent. How long one took is counted from when it was due, or, where fromSent, from
// when it was sent: a sender that is late because it shares the machine with what it
// measures tells nothing about that.
func open(b *testing.B, address string, m *mail, rate float64, connections int, span time.Duration, fromSent bool) sent {
	b.Helper()
	senders := dial(b, address, connections)
	ctx, cancel := context.WithTimeout(b.Context(), span)
	defer cancel()
	due := make(chan time.Time, connections)
	unsent := 0
	var clock sync.WaitGroup
	clock.Go(func() {
		defer close(due)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		begun, made := time.Now(), 0
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for want := int(time.Since(begun).Seconds() * rate); made < want; made++ {
				select {
				case due <- begun.Add(time.Duration(float64(made) / rate * float64(time.Second))):
				default:
					unsent++
				}
			}
		}
	})
	all := deliver(senders, m, func() (time.Time, bool) {
		at, more := <-due
		if fromSent {
			at = time.Now()
		}
		return at, more
	})
	clock.Wait()
	all.unsent += unsent
	if all.lost > 0 && all.why == nil {
		all.why = errors.New("for no reason that is known")
	}
	return all
}
