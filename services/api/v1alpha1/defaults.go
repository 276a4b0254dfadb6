package v1alpha1

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// SetDefaults fills what is not written. The markers on the fields repeat these
// values for clusters, where the API server fills most of them; headroom is
// filled here only, because it depends on the kind of limit.
func (c *Connector) SetDefaults() {
	s := &c.Spec
	setDefault(&s.Pacing, PacingEven)
	setDefault(&s.Timeout, metav1.Duration{Duration: 30 * time.Second})
	setDefault(&s.Retry.MaxAttempts, 12)
	setDefault(&s.Retry.MaxAge, metav1.Duration{Duration: 72 * time.Hour})
	if len(s.Lanes) == 0 {
		s.Lanes = []Lane{{Name: LaneExpress, Weight: 7}, {Name: LaneStandard, Weight: 2}, {Name: LaneBulk, Weight: 1}}
	}
	for i := range s.Maintenance {
		setDefault(&s.Maintenance[i].TimeZone, "UTC")
	}
	if s.Webhook != nil {
		s.Webhook.setDefaults()
		if s.SignsTime() {
			setDefault(&s.Webhook.Tolerance, metav1.Duration{Duration: 5 * time.Minute})
		}
		if s.System == SystemHTTP && s.Webhook.Topic == nil {
			s.Webhook.Topic = &WebhookTopic{Constant: "order"}
		}
	}
	for i := range s.Limits {
		s.Limits[i].setDefaults()
	}
	s.setReconcile()
	if s.HTTP != nil {
		for i := range s.HTTP.Operations {
			s.HTTP.Operations[i].Find.setDefaults()
		}
	}
	if s.System == SystemShopify {
		if s.Shopify == nil {
			s.Shopify = &ShopifySettings{}
		}
		setDefault(&s.Shopify.APIVersion, "2026-10")
	}
}

// ListsOrders reports whether a system can be asked for the orders that changed.
func (s System) ListsOrders() bool {
	switch s {
	case SystemShopify, SystemWooCommerce, SystemBigCommerce:
		return true
	case SystemNetSuite, SystemHTTP, SystemTwilio, SystemStripe, SystemStandardWebhooks, SystemCloudEvents, SystemGRPC:
	}
	return false
}

func (s *ConnectorSpec) setReconcile() {
	if s.Reconcile == nil {
		if s.Webhook == nil || s.Endpoint == "" || !s.System.ListsOrders() {
			return
		}
		s.Reconcile = &Reconcile{}
	}
	r := s.Reconcile
	setDefault(&r.Overlap, metav1.Duration{Duration: 10 * time.Minute})
	if r.Every == nil {
		r.Every = &metav1.Duration{Duration: 5 * time.Minute}
	}
	if r.LookBack == nil {
		r.LookBack = &metav1.Duration{Duration: 24 * time.Hour}
	}
	if lane := s.bulkLane(); r.Lane == "" && lane != nil {
		r.Lane = lane.Name
	}
}

// bulkLane is where waits what is one of many: bulk, and where there is none, the lane
// with the least weight; nil where there are no lanes.
func (s *ConnectorSpec) bulkLane() *Lane {
	var least *Lane
	for i := range s.Lanes {
		lane := &s.Lanes[i]
		if lane.Name == LaneBulk {
			return lane
		}
		if least == nil || lane.Weight < least.Weight {
			least = lane
		}
	}
	return least
}

// BulkLane is where a call that is one of many waits whose own lane is that one: bulk,
// unless its own has no more weight.
func (s *ConnectorSpec) BulkLane(own string) string {
	bulk := s.bulkLane()
	if bulk == nil {
		return own
	}
	for _, lane := range s.Lanes {
		if lane.Name == own && lane.Weight <= bulk.Weight {
			return own
		}
	}
	return bulk.Name
}

func (w *Webhook) setDefaults() {
	setDefault(&w.MaxBodyBytes, 1<<20)
	if w.HMAC == nil {
		return
	}
	setDefault(&w.HMAC.Algorithm, HMACAlgorithmSHA256)
	setDefault(&w.HMAC.Encoding, SignatureEncodingHex)
	if w.HMAC.Timestamp == nil {
		setDefault(&w.HMAC.Signed, "{body}")
		return
	}
	setDefault(&w.HMAC.Signed, "{timestamp}.{body}")
	setDefault(&w.HMAC.Timestamp.Format, TimestampFormatUnixSeconds)
}

func (f *HTTPFind) setDefaults() {
	if f == nil {
		return
	}
	setDefault(&f.Method, "GET")
	if len(f.FoundStatus) == 0 {
		f.FoundStatus = []int32{200}
	}
}

func (l *Limit) setDefaults() {
	if l.Headroom != nil {
		return
	}
	headroom := intstr.FromInt32(0)
	// A window is judged by the other side's clock and counting; one call of
	// distance keeps a call that both sides count differently from breaking it.
	if l.RollingWindow != nil {
		headroom = intstr.FromInt32(1)
	}
	l.Headroom = &headroom
}

// Calls returns the declared limit in calls, or in points for a bucket of points; 0
// where no kind is written.
func (l *Limit) Calls() int64 {
	switch {
	case l.RollingWindow != nil:
		return l.RollingWindow.Calls
	case l.Concurrency != nil:
		return l.Concurrency.Calls
	case l.Bucket != nil:
		return l.Bucket.Capacity
	}
	return 0
}

// Rate returns how many calls the limit allows in the long run in each stretch of
// time of that length; 0 where it does not say.
func (l *Limit) Rate() (calls int64, per time.Duration) {
	switch {
	case l.RollingWindow != nil:
		return l.RollingWindow.Calls, l.RollingWindow.Per.Duration
	case l.Bucket != nil:
		return l.Bucket.Refill.Calls, l.Bucket.Refill.Per.Duration
	}
	return 0, 0
}

// HeadroomCalls returns how many of Calls stay unused: a share is rounded up,
// and a headroom that is not written is the default. An error where the share
// cannot be read.
func (l *Limit) HeadroomCalls() (int64, error) {
	headroom := l.Headroom
	if headroom == nil {
		filled := *l
		filled.setDefaults()
		headroom = filled.Headroom
	}
	calls, err := intstr.GetScaledValueFromIntOrPercent(headroom, int(l.Calls()), true)
	if err != nil {
		return 0, fmt.Errorf("headroom %q of limit %q: want a number of calls or a share such as \"2%%\"", headroom.String(), l.Name)
	}
	return int64(calls), nil
}

// SetDefaults fills what is not written.
func (f *Flow) SetDefaults() {
	for i := range f.Spec.Deliver {
		setDefault(&f.Spec.Deliver[i].Lane, LaneStandard)
	}
}

// SetDefaults fills what is not written.
func (p *StockPool) SetDefaults() {
	setDefault(&p.Spec.Mode, StockModeShared)
	setDefault(&p.Spec.Source.ReadEvery, metav1.Duration{Duration: 5 * time.Second})
	setDefault(&p.Spec.Lane, LaneExpress)
}

// SetDefaults fills what is not written.
func (p *NotificationPolicy) SetDefaults() {
	setDefault(&p.Spec.GroupBy, NotificationGroupingHold)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
