package bus

import (
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// outage tells the log of a NATS that cannot be reached: once when that begins,
// however many attempts fail, and once when it is over. It is safe for
// concurrent use.
type outage struct {
	log *slog.Logger
	// servers are the addresses that are tried, without users and passwords.
	servers string

	mu    sync.Mutex
	began time.Time
}

// begin reports an outage under the given message, unless one is reported.
func (o *outage) begin(message string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.began.IsZero() {
		return
	}
	o.began = time.Now()
	o.log.Warn(message, "servers", o.servers, "error", err) //nolint:sloglint // who calls gives a constant
}

func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began.IsZero() {
		return
	}
	o.log.Info("NATS is reached again", "servers", o.servers, "after", time.Since(o.began).Round(time.Millisecond))
	o.began = time.Time{}
}

// addresses returns the host and port of each server of a URL list, without what
// may be secret.
func addresses(list string) string {
	var hosts []string
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		if u, err := url.Parse(one); err == nil && u.Host != "" {
			hosts = append(hosts, u.Host)
		}
	}
	return strings.Join(hosts, ",")
}

// errAddress takes the place of what cannot be parsed: the parser's own error
// quotes it, with the password in it.
var errAddress = errors.New("the address is not a URL such as nats://host:4222 (it is not shown here, because it may hold a password; " +
	"one with other than letters and digits has to be percent-encoded)")

// withoutAddress returns err, unless it may quote the address.
func withoutAddress(err error) error {
	if _, quotes := errors.AsType[*url.Error](err); quotes {
		return errAddress
	}
	return err
}

func (b *Bus) onFailedConnect(_ *nats.Conn, err error) {
	b.outage.begin("cannot reach NATS, trying again", withoutAddress(err))
}
