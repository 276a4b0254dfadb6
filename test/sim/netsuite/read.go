package netsuite

import (
	"net/http"
	"strings"

	"github.com/peppasync/peppasync/test/sim/account"
)

const resourceType = "application/vnd.oracle.resource+json; type=singular"

// read is GET .../salesOrder/{id} or .../salesOrder/eid:{externalId}. Lines are always in the reply, as with
// expandSubResources=true.
func (a *Account) read(r *http.Request) account.Reply {
	id := strings.TrimPrefix(r.URL.Path, recordPath+"/")
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.find(id)
	if o == nil {
		return failure(http.StatusNotFound, detail{
			Code: "NONEXISTENT_ID", Detail: "The record instance does not exist. Provide a valid record instance ID.",
		})
	}
	return account.JSON(http.StatusOK, resourceType, o.document())
}

// find needs the lock.
func (a *Account) find(id string) *order {
	if externalID, ok := strings.CutPrefix(id, "eid:"); ok {
		return a.byKey[key(externalID)]
	}
	for _, o := range a.orders {
		if o.id == id {
			return o
		}
	}
	return nil
}

func (o *order) document() map[string]any {
	items := make([]map[string]any, 0, len(o.lines))
	for i, l := range o.lines {
		entry := map[string]any{
			"line": i + 1, "quantity": l.quantity, "item": map[string]any{"id": l.item.id, "refName": l.item.sku},
		}
		if l.rate != "" {
			entry["rate"] = l.rate
		}
		items = append(items, entry)
	}
	return map[string]any{
		"links": []any{}, "id": o.id, "tranId": "SO" + o.id, "externalId": o.externalID, "otherRefNum": o.otherRefNum,
		"memo": o.memo, "tranDate": o.tranDate, "entity": map[string]any{"id": o.entity},
		"location": map[string]any{"id": o.location},
		"item":     map[string]any{"items": items, "totalResults": len(items)},
	}
}

// History returns the accepted writes of an order, oldest first, or nil if there is none with that external id.
func (a *Account) History(externalID string) []Revision {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.byKey[key(externalID)]
	if o == nil {
		return nil
	}
	return append([]Revision(nil), o.history...)
}

// Order is a sales order as it stands in the account.
type Order struct {
	ID          string         `json:"id"`
	ExternalID  string         `json:"externalId"`
	OtherRefNum string         `json:"otherRefNum"`
	Memo        string         `json:"memo,omitempty"`
	Location    string         `json:"location"`
	Quantities  map[string]int `json:"quantities"`
	Lines       int            `json:"lines"`
	Revisions   int            `json:"revisions"`
}

// Orders returns all orders in the order in which they were made.
func (a *Account) Orders() []Order {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]Order, 0, len(a.orders))
	for _, o := range a.orders {
		quantities := make(map[string]int, len(o.lines))
		for _, l := range o.lines {
			quantities[l.item.sku] += l.quantity
		}
		all = append(all, Order{
			ID: o.id, ExternalID: o.externalID, OtherRefNum: o.otherRefNum, Memo: o.memo, Location: o.location,
			Quantities: quantities, Lines: len(o.lines), Revisions: len(o.history),
		})
	}
	return all
}
