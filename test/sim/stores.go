package sim

import (
	"context"
	"fmt"
	"net/http"

	"github.com/peppasync/peppasync/test/sim/bigcommerce"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/retail"
	"github.com/peppasync/peppasync/test/sim/woocommerce"
)

// StoreSellRequest is the body of POST /woocommerce/sell and /bigcommerce/sell. With Wait the answer comes when every
// webhook of the burst was tried.
type StoreSellRequest struct {
	retail.Burst
	Wait bool `json:"wait,omitempty"`
}

// StoreOrderRequest is the body of the POST endpoints about one order of such a shop.
type StoreOrderRequest struct {
	retail.Edit
	// Order is its id.
	Order int64 `json:"order"`
	// Amount is for refund; all of the order by default.
	Amount string `json:"amount,omitempty"`
}

// store is a shop that keeps no stock, as the control server drives it.
type store struct {
	name      string
	sell      func(retail.Burst) (*retail.Sale, error)
	tried     func(context.Context) error
	sellOne   func(retail.Spec) (any, error)
	target    func(string) error
	questions map[string]func() any
	actions   map[string]func(StoreOrderRequest) (any, error)
}

func (w *World) stores() []store {
	woo, big := w.WooCommerce, w.BigCommerce
	return []store{
		{
			name: "woocommerce", sell: woo.Sell, tried: woo.WaitDelivered, target: woo.SetTarget, sellOne: sellOne(woo.SellOne),
			questions: questions(woo.Orders, woo.Missed, woo.Deliveries),
			actions:   actions(woo.Update, woo.Refund, map[string]edit[woocommerce.Order]{"pay": woo.MarkPaid, "cancel": woo.Cancel, "trash": woo.Trash}),
		},
		{
			name: "bigcommerce", sell: big.Sell, tried: big.WaitTried, target: big.SetTarget, sellOne: sellOne(big.SellOne),
			questions: questions(big.Orders, big.Missed, big.Deliveries),
			actions:   actions(big.Update, big.Refund, map[string]edit[bigcommerce.Order]{"pay": big.MarkPaid, "cancel": big.Cancel, "archive": big.Archive}),
		},
	}
}

// edit does one thing to the order with an id.
type edit[O any] func(id int64) (O, error)

func sellOne[O any](sell func(retail.Spec) (O, error)) func(retail.Spec) (any, error) {
	return func(spec retail.Spec) (any, error) { return sell(spec) }
}

func questions[O, D any](orders func() []O, missed func() []int64, deliveries func() []D) map[string]func() any {
	return map[string]func() any{
		"orders": func() any { return orders() }, "missed": func() any { return missed() }, "deliveries": func() any { return deliveries() },
	}
}

func actions[O any](
	update func(int64, retail.Edit) (O, error), refund func(int64, string) (O, error), edits map[string]edit[O],
) map[string]func(StoreOrderRequest) (any, error) {
	all := map[string]func(StoreOrderRequest) (any, error){
		"update": func(q StoreOrderRequest) (any, error) { return update(q.Order, q.Edit) },
		"refund": func(q StoreOrderRequest) (any, error) { return refund(q.Order, q.Amount) },
	}
	for name, do := range edits {
		all[name] = func(q StoreOrderRequest) (any, error) { return do(q.Order) }
	}
	return all
}

// handleStores are the endpoints of the shops that keep no stock: /{name}/sell, /order, /target, and its questions and
// actions.
func (w *World) handleStores(handle handleFunc) {
	for _, s := range w.stores() {
		handle("POST /"+s.name+"/sell", s.handleSell)
		handle("POST /"+s.name+"/order", func(r *http.Request) (any, error) {
			q, err := decode[retail.Spec](r)
			if err != nil {
				return nil, err
			}
			return s.sellOne(q)
		})
		handle("POST /"+s.name+"/target", func(r *http.Request) (any, error) {
			q, err := decode[TargetRequest](r)
			if err != nil {
				return nil, err
			}
			return q, s.target(q.URL)
		})
		for what, answer := range s.questions {
			handle("GET /"+s.name+"/"+what, func(*http.Request) (any, error) { return answer(), nil })
		}
		for action, do := range s.actions {
			handle("POST /"+s.name+"/"+action, func(r *http.Request) (any, error) {
				q, err := decode[StoreOrderRequest](r)
				if err != nil {
					return nil, err
				}
				return do(q)
			})
		}
	}
}

func (s store) handleSell(r *http.Request) (any, error) {
	q, err := decode[StoreSellRequest](r)
	if err != nil {
		return nil, err
	}
	sale, err := s.sell(q.Burst)
	if err != nil {
		return nil, err
	}
	if q.Wait {
		select {
		case <-sale.Done():
			err = s.tried(r.Context())
		case <-r.Context().Done():
		}
	}
	return sale.Result(), err
}

// setMishaps is POST /{system}/mishaps: what goes wrong with the webhooks that a shop makes from now on.
func (w *World) setMishaps(r *http.Request) (any, error) {
	m, err := decode[faults.Mishaps](r)
	if err != nil {
		return nil, err
	}
	switch system := r.PathValue("system"); system {
	case "shop":
		return m, w.Shop.SetMishaps(m)
	case "woocommerce":
		return m, w.WooCommerce.SetMishaps(m)
	case "bigcommerce":
		return m, w.BigCommerce.SetMishaps(m)
	default:
		return nil, fmt.Errorf("system %q sends no webhooks; shop, woocommerce and bigcommerce do", system)
	}
}
