package netsuite

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
)

// order is a sales order as it stands.
type order struct {
	id          string
	externalID  string
	otherRefNum string
	entity      string
	memo        string
	tranDate    string
	location    string
	lines       []line
	history     []Revision
}

type line struct {
	item     *item
	quantity int
	rate     json.Number
}

// Revision is one accepted write of an order, in the order of arrival.
type Revision struct {
	// ArrivedAt is when the request arrived, CommittedAt when it took effect; they differ by minutes for a late commit.
	ArrivedAt   time.Time `json:"arrivedAt"`
	CommittedAt time.Time `json:"committedAt"`
	Operation   string    `json:"operation"`
	Memo        string    `json:"memo,omitempty"`
	// PayloadHash is the SHA-256 of the request body, in hex.
	PayloadHash string `json:"payloadHash"`
	// Quantity is the number of units on the order after the write.
	Quantity int `json:"quantity"`
}

// Refusal is a write that was refused for its content.
type Refusal struct {
	ExternalID string `json:"externalId"`
	Code       string `json:"code"`
	Detail     string `json:"detail"`
}

type orderBody struct {
	Entity      *reference `json:"entity"`
	ExternalID  string     `json:"externalId"`
	OtherRefNum string     `json:"otherRefNum"`
	TranDate    string     `json:"tranDate"`
	Location    *reference `json:"location"`
	Memo        string     `json:"memo"`
	Item        *struct {
		Items []lineBody `json:"items"`
	} `json:"item"`
}

type lineBody struct {
	Item     *reference  `json:"item"`
	Quantity json.Number `json:"quantity"`
	Rate     json.Number `json:"rate"`
}

type reference struct {
	ID         text   `json:"id"`
	RefName    string `json:"refName"`
	ExternalID string `json:"externalId"`
}

// text is an internal id, which NetSuite takes as a JSON text or number.
type text string

func (t *text) UnmarshalJSON(data []byte) error {
	var number json.Number
	if err := json.Unmarshal(data, &number); err == nil {
		*t = text(number)
		return nil
	}
	return json.Unmarshal(data, (*string)(t))
}

// properties are the top-level properties of a sales order that the account knows, beside custom fields.
var properties = []string{
	"entity", "externalId", "otherRefNum", "tranDate", "location", "memo", "item", "subsidiary", "currency", "department",
	"class", "shipDate", "shipMethod", "shippingCost", "shippingAddress", "billingAddress", "shipAddress", "billAddress",
	"email", "orderStatus", "terms", "exchangeRate", "customForm", "id",
}

var (
	validExternalID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	validDate       = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)
)

// decode reads and checks an order body against the account's master data, without effect.
func (a *Account) decode(r *http.Request, body []byte) (orderBody, []line, *detail) {
	var o orderBody
	var all map[string]json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		return o, nil, &detail{Code: "INVALID_CONTENT", Detail: "Invalid content in the request body: " + err.Error()}
	}
	if r.Header.Get("X-NetSuite-PropertyNameValidation") == "Error" {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if !slices.Contains(properties, name) && !strings.HasPrefix(name, "custbody") {
				return o, nil, &detail{Code: "INVALID_CONTENT", Path: name, Detail: "Unknown property name '" + name + "' on record type salesOrder."}
			}
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&o); err != nil {
		return o, nil, &detail{Code: "INVALID_CONTENT", Detail: "Invalid content in the request body: " + err.Error()}
	}
	if o.TranDate != "" && !validDate.MatchString(o.TranDate) {
		return o, nil, &detail{Code: "INVALID_CONTENT", Path: "tranDate", Detail: "Invalid date '" + o.TranDate + "': use YYYY-MM-DD."}
	}
	if o.Item == nil {
		return o, nil, nil
	}
	lines := make([]line, 0, len(o.Item.Items))
	for i, b := range o.Item.Items {
		l, problem := a.decodeLine(i, b)
		if problem != nil {
			return o, nil, problem
		}
		lines = append(lines, l)
	}
	return o, lines, nil
}

func (a *Account) decodeLine(i int, b lineBody) (line, *detail) {
	path := fmt.Sprintf("item.items[%d]", i)
	if b.Item == nil || b.Item.ID == "" && b.Item.RefName == "" {
		return line{}, &detail{Code: "USER_ERROR", Path: path + ".item", Detail: "Please enter value(s) for: Item."}
	}
	it := a.itemOf(b.Item)
	if it == nil {
		return line{}, &detail{Code: "NONEXISTENT_ID", Path: path + ".item",
			Detail: fmt.Sprintf("Invalid item reference key %s%s.", b.Item.ID, b.Item.RefName)}
	}
	quantity, err := strconv.ParseFloat(b.Quantity.String(), 64)
	if err != nil || quantity <= 0 || quantity > 1e9 || quantity != math.Trunc(quantity) {
		return line{}, &detail{Code: "INVALID_CONTENT", Path: path + ".quantity",
			Detail: fmt.Sprintf("Invalid quantity '%s': a whole number above zero is needed.", b.Quantity)}
	}
	return line{item: it, quantity: int(quantity), rate: b.Rate}, nil
}

func (a *Account) itemOf(r *reference) *item {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.ID == "" {
		return a.bySKU[r.RefName]
	}
	return a.byID[string(r.ID)]
}

func (a *Account) refuse(externalID string, d detail) account.Reply {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tally.refused = append(a.tally.refused, Refusal{ExternalID: externalID, Code: d.Code, Detail: d.Detail})
	return failure(http.StatusBadRequest, d)
}

// upsert is PUT .../salesOrder/eid:<externalId>.
func (a *Account) upsert(c account.Call, r *http.Request, body []byte) account.Reply {
	if !strings.HasPrefix(r.URL.Path, recordPath+"/eid:") {
		return a.refuse(c.Key, detail{Code: "USER_ERROR", Detail: "PUT is an upsert and needs an external id: use salesOrder/eid:<externalId>."})
	}
	o, lines, problem := a.decode(r, body)
	if problem == nil && !validExternalID.MatchString(c.Key) {
		problem = &detail{Code: "INVALID_CONTENT", Path: "externalId", Detail: "External id '" + c.Key + "' may have letters, digits, _ and - only."}
	}
	if problem == nil && o.ExternalID != "" && !strings.EqualFold(o.ExternalID, c.Key) {
		problem = &detail{Code: "USER_ERROR", Path: "externalId", Detail: "The external id of the body differs from that of the path."}
	}
	if problem != nil {
		return a.refuse(c.Key, *problem)
	}
	a.mu.Lock()
	existing := a.byKey[key(c.Key)]
	if existing != nil {
		defer a.mu.Unlock()
		a.update(existing, c, o, lines, body, r.URL.Query().Get("replace"))
		return accepted(existing)
	}
	a.mu.Unlock()
	if problem := incomplete(o, lines); problem != nil {
		return a.refuse(c.Key, *problem)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if existing := a.byKey[key(c.Key)]; existing != nil { // made meanwhile by a call beside this one
		a.update(existing, c, o, lines, body, r.URL.Query().Get("replace"))
		return accepted(existing)
	}
	return accepted(a.insert(c, c.Key, o, lines, body))
}

// create is POST .../salesOrder.
func (a *Account) create(c account.Call, r *http.Request, body []byte) account.Reply {
	o, lines, problem := a.decode(r, body)
	if problem == nil && o.ExternalID != "" && !validExternalID.MatchString(o.ExternalID) {
		problem = &detail{Code: "INVALID_CONTENT", Path: "externalId", Detail: "External id '" + o.ExternalID + "' may have letters, digits, _ and - only."}
	}
	if problem == nil {
		problem = incomplete(o, lines)
	}
	if problem != nil {
		return a.refuse(o.ExternalID, *problem)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if o.ExternalID != "" && a.byKey[key(o.ExternalID)] != nil && !a.cfg.AllowDuplicateExternalID {
		d := detail{Code: "USER_ERROR", Detail: "This record already exists", Path: "externalId"}
		a.tally.refused = append(a.tally.refused, Refusal{ExternalID: o.ExternalID, Code: d.Code, Detail: d.Detail})
		return failure(http.StatusBadRequest, d)
	}
	return accepted(a.insert(c, o.ExternalID, o, lines, body))
}

func incomplete(o orderBody, lines []line) *detail {
	switch {
	case o.Entity == nil || o.Entity.ID == "" && o.Entity.RefName == "" && o.Entity.ExternalID == "":
		return &detail{Code: "USER_ERROR", Path: "entity", Detail: "Please enter value(s) for: Customer."}
	case len(lines) == 0:
		return &detail{Code: "USER_ERROR", Path: "item", Detail: "You must enter at least one line item for this transaction."}
	}
	return nil
}

func accepted(o *order) account.Reply {
	return account.Reply{Status: http.StatusNoContent, Header: http.Header{"Location": {recordPath + "/" + o.id}}, Write: true}
}

// insert makes a new order; it needs the lock.
func (a *Account) insert(c account.Call, externalID string, body orderBody, lines []line, raw []byte) *order {
	a.lastID++
	o := &order{id: strconv.Itoa(a.lastID), externalID: externalID, location: a.cfg.Location}
	if externalID != "" && a.byKey[key(externalID)] != nil || body.OtherRefNum != "" && a.refNums[body.OtherRefNum] {
		a.tally.duplicateOrders++
	}
	a.refNums[body.OtherRefNum] = true
	a.orders = append(a.orders, o)
	if externalID != "" && a.byKey[key(externalID)] == nil {
		a.byKey[key(externalID)] = o
	}
	o.setHead(body)
	o.lines = lines
	for _, l := range lines {
		a.move(place{l.item.id, o.location}, 0, -l.quantity, "order "+externalID)
	}
	a.remember(o, c, raw)
	a.tally.accepted = append(a.tally.accepted, c.Arrived)
	return o
}

// update writes to an order that exists; it needs the lock. As in NetSuite, lines are added unless the caller says
// replace=item.
func (a *Account) update(o *order, c account.Call, body orderBody, lines []line, raw []byte, replace string) {
	o.setHead(body)
	replaces := slices.Contains(strings.Split(replace, ","), "item")
	if body.Item != nil && replaces {
		before := o.lines
		o.lines = lines
		a.moveDifference(o, before)
	} else if body.Item != nil {
		a.tally.duplicateLines += len(lines)
		o.lines = append(o.lines, lines...)
		for _, l := range lines {
			a.move(place{l.item.id, o.location}, 0, -l.quantity, "order "+o.externalID+" lines added")
		}
	}
	if hash := payloadHash(raw); o.history[len(o.history)-1].PayloadHash == hash {
		a.tally.identicalRewrite++
	}
	a.tally.updates++
	a.tally.undone += o.undoneBy(c, raw)
	a.remember(o, c, raw)
}

// moveDifference lowers available by what the lines of the order grew per item.
func (a *Account) moveDifference(o *order, before []line) {
	difference := make(map[string]int)
	for _, l := range before {
		difference[l.item.id] += l.quantity
	}
	for _, l := range o.lines {
		difference[l.item.id] -= l.quantity
	}
	for _, id := range slices.Sorted(maps.Keys(difference)) {
		if difference[id] != 0 {
			a.move(place{id, o.location}, 0, difference[id], "order "+o.externalID+" updated")
		}
	}
}

func (a *Account) remember(o *order, c account.Call, raw []byte) {
	now := time.Now()
	o.history = append(o.history, Revision{
		ArrivedAt: c.Arrived, CommittedAt: now, Operation: c.Operation, Memo: o.memo,
		PayloadHash: payloadHash(raw), Quantity: o.quantity(),
	})
	if a.tally.first.IsZero() {
		a.tally.first = c.Arrived
	}
	if c.Arrived.After(a.tally.last) {
		a.tally.last = c.Arrived
	}
}

// undoneBy is 1 where a write takes effect after another one that had arrived later, with another payload, and 0 otherwise.
func (o *order) undoneBy(c account.Call, raw []byte) int {
	hash := payloadHash(raw)
	for _, r := range o.history {
		if r.ArrivedAt.After(c.Arrived) && r.PayloadHash != hash {
			return 1
		}
	}
	return 0
}

func payloadHash(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

func (o *order) quantity() int {
	n := 0
	for _, l := range o.lines {
		n += l.quantity
	}
	return n
}

// setHead takes over what the body gives; what it leaves out stays. The location of an order is fixed when it is made.
func (o *order) setHead(b orderBody) {
	o.otherRefNum = cmp.Or(b.OtherRefNum, o.otherRefNum)
	o.memo = cmp.Or(b.Memo, o.memo)
	o.tranDate = cmp.Or(b.TranDate, o.tranDate)
	if b.Entity != nil {
		o.entity = string(b.Entity.ID)
	}
	if b.Location != nil && b.Location.ID != "" && len(o.history) == 0 {
		o.location = string(b.Location.ID)
	}
}
