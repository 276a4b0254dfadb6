package throttledispatcher_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// in is the same delivery in another lane.
func in(lane string, d *dispatchv1.Delivery) *dispatchv1.Delivery {
	d = proto.CloneOf(d)
	d.Lane = lane
	return d
}

// An order that waits behind many in bulk is edited, and its requester puts its delivery
// into another lane: from there it goes, once, wherever the worker had come with bulk.
func TestDeliveryThatIsPutIntoAnotherLane(t *testing.T) {
	t.Parallel()
	for name, many := range map[string]int{"while it is held here": 40, "while the stream has it": 560} { // 512 are held at a time
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needs(t, roomToJudge)
			// So slowly that what a busy machine adds is a few calls: they are claimed for as
			// long ahead as blocks take, up to a second.
			w := newWorld(t, 2, time.Second)
			w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = true })
			last := many - 1
			for i := range many {
				if i < 100 || i == last { // no others are sent in the time
					w.store(i, "")
				}
				w.ask(in("bulk", delivery(i)))
			}
			w.start()
			w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = false })
			w.eventually("the first of many is sent", func() bool { return len(w.account.seen()) > 0 })
			before := len(w.account.seen())
			w.ask(in("express", delivery(last)))
			w.eventually("the one that was moved is sent", func() bool { return len(w.account.on(fmt.Sprint("/orders/shopify-", last))) > 0 })
			// Some were claimed for their send times by then, and more while the look was on its way.
			if n := len(w.account.seen()) - before; n > 12 {
				t.Errorf("%d others went before it, of %d", n, many)
			}
			if many > 100 {
				return // what is left would take half a minute
			}
			w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Limits[0] = window(20, time.Second) })
			w.delivered(many)
			all := []*dispatchv1.Delivery{in("express", delivery(last))}
			for i := range many {
				if n := len(w.account.on(fmt.Sprint("/orders/shopify-", i))); n != 1 {
					t.Errorf("order %d was sent %d times", i, n)
				}
				all = append(all, in("bulk", delivery(i)))
			}
			w.account.within(t, 20, time.Second)
			w.allAcknowledged(all...)
		})
	}
}
