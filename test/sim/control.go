package sim

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// SellRequest is the body of POST /shop/sell. With Wait the answer comes when every webhook of the burst was tried.
type SellRequest struct {
	shopify.Burst
	Wait bool `json:"wait,omitempty"`
}

// OrderRequest is the body of the POST endpoints about one shop order.
type OrderRequest struct {
	shopify.Edit
	// Order is its name, such as "#1001".
	Order string `json:"order"`
	// Topic is for /shop/resend and /shop/replay; "orders/create" by default.
	Topic string `json:"topic,omitempty"`
}

// ReceiptRequest is the body of POST /erp/receipt.
type ReceiptRequest struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

// MaintenanceRequest is the body of POST /{system}/maintenance. Without a duration it lasts until Stop.
type MaintenanceRequest struct {
	Duration jsontime.Duration `json:"duration,omitempty"`
	Stop     bool              `json:"stop,omitempty"`
}

// ConfigurationRequest is the body of POST /wms/configurations.
type ConfigurationRequest struct {
	Name string `json:"name"`
}

// TargetRequest is the body of POST /shop/target.
type TargetRequest struct {
	URL string `json:"url"`
}

// Arrivals is the answer of GET /erp/arrivals: every call of the ERP, with times since the origin.
type Arrivals struct {
	Origin time.Time          `json:"origin"`
	Log    []arrivals.Arrival `json:"log"`
}

// control is the admin API. Its calls never count as calls of a system.
func (w *World) control() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
			value, err := answer(r)
			if err != nil {
				writeJSON(rw, http.StatusBadRequest, map[string]string{"error": err.Error()})
				return
			}
			writeJSON(rw, http.StatusOK, value)
		})
	}
	w.handleQuestions(handle)
	w.handleShop(handle)
	w.handleStores(handle)
	handle("POST /{system}/mishaps", w.setMishaps)
	handle("POST /erp/receipt", func(r *http.Request) (any, error) {
		q, err := decode[ReceiptRequest](r)
		if err != nil {
			return nil, err
		}
		return w.ERP.BookReceipt(q.SKU, q.Quantity)
	})
	handle("POST /wms/configurations", func(r *http.Request) (any, error) {
		q, err := decode[ConfigurationRequest](r)
		if err == nil && q.Name == "" {
			err = errors.New("name is missing")
		}
		if err != nil {
			return nil, err
		}
		w.WMS.AddConfiguration(q.Name)
		return w.WMS.Report().Configurations, nil
	})
	handle("POST /{system}/maintenance", w.maintenance)
	handle("POST /{system}/faults", func(r *http.Request) (any, error) {
		front, err := w.front(r.PathValue("system"))
		if err != nil {
			return nil, err
		}
		rules, err := decode[[]faults.Rule](r)
		if err != nil {
			return nil, err
		}
		return rules, front.SetFaults(rules)
	})
	return mux
}

type handleFunc func(pattern string, answer func(r *http.Request) (any, error))

func (w *World) handleQuestions(handle handleFunc) {
	handle("GET /report", func(*http.Request) (any, error) { return w.Report(), nil })
	handle("GET /addresses", func(*http.Request) (any, error) { return w.addresses, nil })
	handle("GET /shop/deliveries", func(*http.Request) (any, error) { return w.Shop.Deliveries(), nil })
	handle("GET /shop/orders", func(*http.Request) (any, error) { return w.Shop.Orders(), nil })
	handle("GET /shop/missed", func(*http.Request) (any, error) { return w.Shop.Missed(), nil })
	handle("GET /shop/changes", func(*http.Request) (any, error) { return w.Shop.Changes(), nil })
	handle("GET /erp/orders", func(*http.Request) (any, error) { return w.ERP.Orders(), nil })
	handle("GET /erp/movements", func(*http.Request) (any, error) { return w.ERP.Movements(), nil })
	handle("GET /erp/arrivals", func(*http.Request) (any, error) {
		log := w.ERP.Arrivals()
		return Arrivals{log.Origin(), log.Snapshot()}, nil
	})
	handle("GET /wms/orders", func(*http.Request) (any, error) { return w.WMS.Orders(), nil })
	handle("GET /erp/history", func(r *http.Request) (any, error) {
		id := r.URL.Query().Get("externalId")
		history := w.ERP.History(id)
		if history == nil {
			return nil, fmt.Errorf("the ERP has no order with the external id %q", id)
		}
		return history, nil
	})
}

func (w *World) handleShop(handle handleFunc) {
	handle("POST /shop/sell", func(r *http.Request) (any, error) {
		q, err := decode[SellRequest](r)
		if err != nil {
			return nil, err
		}
		sale, err := w.Shop.Sell(q.Burst) //nolint:contextcheck // a burst outlives the request that starts it
		if err != nil {
			return nil, err
		}
		if q.Wait {
			select {
			case <-sale.Done():
			case <-r.Context().Done():
			}
		}
		return sale.Result(), nil
	})
	handle("POST /shop/order", func(r *http.Request) (any, error) {
		q, err := decode[shopify.OrderSpec](r)
		if err != nil {
			return nil, err
		}
		return w.Shop.SellOne(q)
	})
	handle("POST /shop/target", func(r *http.Request) (any, error) {
		q, err := decode[TargetRequest](r)
		if err != nil {
			return nil, err
		}
		return q, w.Shop.SetTarget(q.URL)
	})
	for action, do := range map[string]func(OrderRequest) (any, error){
		"update": func(q OrderRequest) (any, error) { return w.Shop.Update(q.Order, q.Edit) },
		"pay":    func(q OrderRequest) (any, error) { return w.Shop.MarkPaid(q.Order) },
		"cancel": func(q OrderRequest) (any, error) { return w.Shop.Cancel(q.Order) },
		"resend": func(q OrderRequest) (any, error) {
			q.Topic = cmp.Or(q.Topic, "orders/create")
			return q, w.Shop.Resend(q.Order, q.Topic)
		},
		"replay": func(q OrderRequest) (any, error) {
			q.Topic = cmp.Or(q.Topic, "orders/create")
			return q, w.Shop.Replay(q.Order, q.Topic)
		},
	} {
		handle("POST /shop/"+action, func(r *http.Request) (any, error) {
			q, err := decode[OrderRequest](r)
			if err != nil {
				return nil, err
			}
			return do(q)
		})
	}
}

func (w *World) maintenance(r *http.Request) (any, error) {
	front, err := w.front(r.PathValue("system"))
	if err != nil {
		return nil, err
	}
	q, err := decode[MaintenanceRequest](r)
	if err != nil {
		return nil, err
	}
	if q.Stop {
		err = front.StopMaintenance()
	} else {
		err = front.StartMaintenance(q.Duration.Std())
	}
	return front.Report().Maintenance, err
}

// decode reads a strict JSON body.
func decode[T any](r *http.Request) (T, error) {
	var value T
	decoder := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&value); err != nil {
		return value, fmt.Errorf("the body of %s: %w", r.URL.Path, err)
	}
	return value, nil
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.Encode(value) //nolint:errcheck,errchkjson // the client has gone; there is nobody to tell
}
