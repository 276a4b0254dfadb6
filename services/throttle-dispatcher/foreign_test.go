package throttledispatcher_test

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"testing"
	"time"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// leaking is an account's bucket of calls that others use as well, and which tells what
// is in it.
type leaking struct {
	capacity, rate float64

	mu      sync.Mutex
	level   float64
	at      time.Time
	refused int
}

// put fills in so much, unless it does not fit, and returns what is in it then.
func (l *leaking) put(amount float64) (level float64, fits bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.level, l.at = max(0, l.level-l.rate*now.Sub(l.at).Seconds()), now
	if fits = l.level+amount <= l.capacity; fits {
		l.level += amount
	} else {
		l.refused++
	}
	return l.level, fits
}

func (l *leaking) reply(reply http.ResponseWriter, _ *http.Request, _ string) int {
	level, fits := l.put(1)
	reply.Header().Set("X-Shopify-Shop-Api-Call-Limit", fmt.Sprintf("%d/%d", int(math.Ceil(level)), int(l.capacity)))
	if !fits {
		return http.StatusTooManyRequests
	}
	return http.StatusCreated
}

// Others fill an account's bucket: from the first reply that says so on nothing is sent
// that does not fit, though our own calls would leave room for it.
func TestALevelFollowsWhatOthersPutIntoTheBucket(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const capacity, rate, others, burst = 40, 10, 34, 25
	w := newWorld(t, 6000, time.Minute)
	w.withBucket(bucketOf(capacity, v1alpha1.Refill{Calls: rate}))
	account := &leaking{capacity: capacity, rate: rate, at: time.Now()}
	w.account.answer(account.reply)
	client, _ := w.served()
	w.start()
	w.want(0, "")
	w.delivered(1)
	during(capacity * time.Second / rate) // the bucket was taken for full at first
	account.put(others)
	w.want(1, "")
	w.delivered(2)
	c := w.until(client, "others are seen", func(c *dispatcherv1.Connector) bool { return limitNamed(t, c, "bucket").GetUsedByOthers() > 0 })
	if n := limitNamed(t, c, "bucket").GetUsedByOthers(); n < others-rate || n > others+1 {
		t.Errorf("others have put %d into the bucket, want about %d", n, others)
	}
	for i := range burst {
		w.want(2+i, "")
	}
	w.delivered(2 + burst)
	calls := w.account.seen()
	if account.refused > 0 {
		t.Errorf("%d calls were refused after others had been heard of", account.refused)
	}
	if took, want := calls[1+burst].at.Sub(calls[1].at), time.Duration(burst-(capacity-others))*time.Second/rate; took > want+2*time.Second {
		t.Errorf("%d calls took %v, there was room for them after %v", burst, took, want)
	}
	const line = "counts calls that this connector did not make"
	if n := len(w.log.with(line)); n != 1 {
		t.Errorf("the log says %d times that it %s", n, line)
	}
	w.until(client, "others are gone", func(c *dispatcherv1.Connector) bool { return limitNamed(t, c, "bucket").GetUsedByOthers() == 0 })
}
