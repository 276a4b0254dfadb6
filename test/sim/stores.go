package sim

import (
	"fmt"
	"net/http"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/retail"
)

// StoreSellRequest is the body of POST /woocommerce/sell. With Wait the answer comes when every webhook of the burst was
// tried.
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

// handleStores are the endpoints of the shops that keep no stock.
func (w *World) handleStores(handle handleFunc) {
	woo := w.WooCommerce
	handle("GET /woocommerce/orders", func(*http.Request) (any, error) { return woo.Orders(), nil })
	handle("GET /woocommerce/missed", func(*http.Request) (any, error) { return woo.Missed(), nil })
	handle("GET /woocommerce/deliveries", func(*http.Request) (any, error) { return woo.Deliveries(), nil })
	handle("POST /woocommerce/sell", func(r *http.Request) (any, error) {
		q, err := decode[StoreSellRequest](r)
		if err != nil {
			return nil, err
		}
		sale, err := woo.Sell(q.Burst)
		if err != nil {
			return nil, err
		}
		if q.Wait {
			select {
			case <-sale.Done():
				err = woo.WaitDelivered(r.Context())
			case <-r.Context().Done():
			}
		}
		return sale.Result(), err
	})
	handle("POST /woocommerce/order", func(r *http.Request) (any, error) {
		q, err := decode[retail.Spec](r)
		if err != nil {
			return nil, err
		}
		return woo.SellOne(q)
	})
	handle("POST /woocommerce/target", func(r *http.Request) (any, error) {
		q, err := decode[TargetRequest](r)
		if err != nil {
			return nil, err
		}
		return q, woo.SetTarget(q.URL)
	})
	for action, do := range map[string]func(StoreOrderRequest) (any, error){
		"update": func(q StoreOrderRequest) (any, error) { return woo.Update(q.Order, q.Edit) },
		"pay":    func(q StoreOrderRequest) (any, error) { return woo.MarkPaid(q.Order) },
		"cancel": func(q StoreOrderRequest) (any, error) { return woo.Cancel(q.Order) },
		"refund": func(q StoreOrderRequest) (any, error) { return woo.Refund(q.Order, q.Amount) },
		"trash":  func(q StoreOrderRequest) (any, error) { return woo.Trash(q.Order) },
	} {
		handle("POST /woocommerce/"+action, func(r *http.Request) (any, error) {
			q, err := decode[StoreOrderRequest](r)
			if err != nil {
				return nil, err
			}
			return do(q)
		})
	}
}

// setMishaps is POST /{system}/mishaps: what goes wrong with the webhooks that a shop makes from now on.
func (w *World) setMishaps(r *http.Request) (any, error) {
	m, err := decode[faults.Mishaps](r)
	if err != nil {
		return nil, err
	}
	switch system := r.PathValue("system"); system {
	case "woocommerce":
		return m, w.WooCommerce.SetMishaps(m)
	default:
		return nil, fmt.Errorf("system %q sends no webhooks; woocommerce does", system)
	}
}
