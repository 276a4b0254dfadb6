package shopify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// How much of orders one query holds. An order is taken for 19 points, and 5 for each
// of its lines and 3 for each way of shipping that may be in it: 6 orders of 10 lines
// and 2 ways, and their connection, are 452. A single query may be 1,000; but the bucket
// of a small shop holds 2,000 for all, and what a query may cost has to be in it. One
// order of 150 lines and 10 ways is 799; one that has more lines is read in parts.
const (
	listedOrders, listedLines, listedShipping = 6, 10, 2
	readLines, readShipping                   = 150, 10

	connectionCost               = 2
	orderCost                    = 19
	lineCost, shippingCost       = 5, 3
	listedOrderCost              = orderCost + lineCost*listedLines + shippingCost*listedShipping
	readOrderCost          int64 = orderCost + lineCost*readLines + shippingCost*readShipping
)

// orderFields are what a webhook's body has of an order, as far as it is read.
const orderFields = `
fragment OrderFields on Order {
  legacyResourceId name createdAt updatedAt cancelledAt currencyCode
  currentTotalPriceSet { shopMoney { amount } }
  currentSubtotalPriceSet { shopMoney { amount } }
  currentTotalTaxSet { shopMoney { amount } }
  totalOutstandingSet { shopMoney { amount } }
  displayFinancialStatus displayFulfillmentStatus
  email phone
  customer { legacyResourceId firstName lastName defaultEmailAddress { emailAddress } defaultPhoneNumber { phoneNumber } }
  shippingAddress { ...AddressFields }
  billingAddress { ...AddressFields }
  lineItems(first: $lines, after: $linesAfter) {
    nodes {
      id sku title quantity currentQuantity requiresShipping
      originalUnitPriceSet { shopMoney { amount } }
      variant { legacyResourceId }
      customAttributes { key value }
    }
    pageInfo { hasNextPage endCursor }
  }
  shippingLines(first: $shipping) {
    nodes { code title originalPriceSet { shopMoney { amount } } }
    pageInfo { hasNextPage }
  }
  tags note sourceName test
  customAttributes { key value }
}
fragment AddressFields on MailingAddress {
  name company address1 address2 city provinceCode zip countryCodeV2 phone
}`

const listOrdersQuery = `query ListOrders($query: String!, $after: String, $first: Int!, $lines: Int!, $linesAfter: String, $shipping: Int!) {
  orders(first: $first, after: $after, query: $query, sortKey: UPDATED_AT) {
    nodes { ...OrderFields }
    pageInfo { hasNextPage endCursor }
  }
}` + orderFields

const readOrderQuery = `query ReadOrder($id: ID!, $lines: Int!, $linesAfter: String, $shipping: Int!) {
  order(id: $id) { ...OrderFields }
}` + orderFields

type listVariables struct {
	Query    string  `json:"query"`
	After    *string `json:"after"`
	First    int64   `json:"first"`
	Lines    int     `json:"lines"`
	Shipping int     `json:"shipping"`
}

type orderVariables struct {
	ID         string  `json:"id"`
	Lines      int     `json:"lines"`
	LinesAfter *string `json:"linesAfter"`
	Shipping   int     `json:"shipping"`
}

func listOrdersRequest(spec *v1alpha1.ConnectorSpec, call connectors.Call) (connectors.Request, error) {
	asked, err := listing.ParseOrders(call.Arguments)
	if err != nil {
		return connectors.Request{}, fmt.Errorf("listOrders: %w", err)
	}
	size := pageSize(spec)
	return post(spec, graphQL{listOrdersQuery, listVariables{
		// Whole seconds, rounded down: the shop has no finer ones.
		Query: "updated_at:>='" + asked.Since.UTC().Format(time.RFC3339) + "'",
		After: after(asked.Page), First: size, Lines: listedLines, Shipping: listedShipping,
	}}, connectionCost+listedOrderCost*size)
}

// pageSize is how many orders fit into the smallest bucket of points that the
// connector declares.
func pageSize(spec *v1alpha1.ConnectorSpec) int64 {
	size := int64(listedOrders)
	for i := range spec.Limits {
		l := &spec.Limits[i]
		if l.Bucket == nil || l.Bucket.Refill.Points == 0 {
			continue
		}
		if headroom, err := l.HeadroomCalls(); err == nil {
			size = min(size, (l.Bucket.Capacity-headroom-connectionCost)/listedOrderCost)
		}
	}
	return max(size, 1)
}

// after is null on the first page.
func after(page string) *string {
	if page == "" {
		return nil
	}
	return &page
}

func readOrderRequest(spec *v1alpha1.ConnectorSpec, call connectors.Call) (connectors.Request, error) {
	asked, _, err := listing.ParseOrderPart(call.Arguments)
	if err != nil {
		return connectors.Request{}, fmt.Errorf("readOrder: %w", err)
	}
	id := asked.ID
	// A shop refuses other texts as it refuses a query that is wrong.
	if strings.Trim(id, "0123456789") != "" {
		return connectors.Request{}, fmt.Errorf("readOrder: id %q: want a whole number", id)
	}
	return post(spec, graphQL{readOrderQuery, orderVariables{globalID("Order", id), readLines, after(asked.Page), readShipping}}, readOrderCost)
}

type pageInfo struct {
	HasNextPage bool   `json:"hasNextPage"`
	EndCursor   string `json:"endCursor"`
}

// next is the page after this one, empty where it is the last.
func (p pageInfo) next() string {
	if !p.HasNextPage {
		return ""
	}
	return p.EndCursor
}

type orderNodes struct {
	// Nodes are orders, each read by itself: one that is odd is not the others' fault.
	Nodes    []json.RawMessage `json:"nodes"`
	PageInfo pageInfo          `json:"pageInfo"`
}

// orderNode is an order as GraphQL spells it. It becomes the body of a webhook, so
// that both are read by the same code.
type orderNode struct {
	ID                integer        `json:"legacyResourceId"`
	Name              text           `json:"name"`
	CreatedAt         moment         `json:"createdAt"`
	UpdatedAt         moment         `json:"updatedAt"`
	CancelledAt       moment         `json:"cancelledAt"`
	Currency          text           `json:"currencyCode"`
	Total             *moneyBag      `json:"currentTotalPriceSet"`
	Subtotal          *moneyBag      `json:"currentSubtotalPriceSet"`
	TotalTax          *moneyBag      `json:"currentTotalTaxSet"`
	Outstanding       *moneyBag      `json:"totalOutstandingSet"`
	FinancialStatus   text           `json:"displayFinancialStatus"`
	FulfillmentStatus text           `json:"displayFulfillmentStatus"`
	Email             text           `json:"email"`
	Phone             text           `json:"phone"`
	Customer          *customerNode  `json:"customer"`
	ShippingAddress   *addressNode   `json:"shippingAddress"`
	BillingAddress    *addressNode   `json:"billingAddress"`
	Lines             connection     `json:"lineItems"`
	ShippingLines     shippingNodes  `json:"shippingLines"`
	Tags              tags           `json:"tags"`
	Note              text           `json:"note"`
	Attributes        attributeNodes `json:"customAttributes"`
	SourceName        text           `json:"sourceName"`
	Test              flag           `json:"test"`
}

type moneyBag struct {
	ShopMoney struct {
		Amount text `json:"amount"`
	} `json:"shopMoney"`
}

type customerNode struct {
	ID        integer `json:"legacyResourceId"`
	FirstName text    `json:"firstName"`
	LastName  text    `json:"lastName"`
	Email     *struct {
		Address text `json:"emailAddress"`
	} `json:"defaultEmailAddress"`
	Phone *struct {
		Number text `json:"phoneNumber"`
	} `json:"defaultPhoneNumber"`
}

type addressNode struct {
	Name         text `json:"name"`
	Company      text `json:"company"`
	Address1     text `json:"address1"`
	Address2     text `json:"address2"`
	City         text `json:"city"`
	ProvinceCode text `json:"provinceCode"`
	Zip          text `json:"zip"`
	CountryCode  text `json:"countryCodeV2"`
	Phone        text `json:"phone"`
}

type connection struct {
	Nodes    []lineNode `json:"nodes"`
	PageInfo pageInfo   `json:"pageInfo"`
}

type lineNode struct {
	ID               text      `json:"id"`
	SKU              text      `json:"sku"`
	Title            text      `json:"title"`
	Quantity         integer   `json:"quantity"`
	CurrentQuantity  integer   `json:"currentQuantity"`
	RequiresShipping flag      `json:"requiresShipping"`
	Price            *moneyBag `json:"originalUnitPriceSet"`
	Variant          *struct {
		ID integer `json:"legacyResourceId"`
	} `json:"variant"`
	Attributes attributeNodes `json:"customAttributes"`
}

type shippingNodes struct {
	Nodes []struct {
		Code  text      `json:"code"`
		Title text      `json:"title"`
		Price *moneyBag `json:"originalPriceSet"`
	} `json:"nodes"`
	PageInfo pageInfo `json:"pageInfo"`
}

type attributeNodes []struct {
	Key   text `json:"key"`
	Value text `json:"value"`
}

func (a attributeNodes) pairs() pairs {
	var p pairs
	for _, attribute := range a {
		p.Set(string(attribute.Key), string(attribute.Value))
	}
	return p
}

// whole says that nothing of the order is left on a second page.
func (n *orderNode) whole() bool {
	return !n.Lines.PageInfo.HasNextPage && !n.ShippingLines.PageInfo.HasNextPage
}

// order is the canonical order, equal to that of a webhook's body.
func (n *orderNode) order() (*orderv1.Order, error) {
	if n.ID == "" || n.UpdatedAt.IsZero() {
		return nil, fmt.Errorf("order %q: it lacks legacyResourceId or updatedAt", n.ID)
	}
	amount := func(m *moneyBag) text { return m.amount(string(n.Currency)) }
	lines := make([]lineBody, len(n.Lines.Nodes))
	for i, l := range n.Lines.Nodes {
		lines[i] = lineBody{
			ID: integer(l.ID[strings.LastIndexByte(string(l.ID), '/')+1:]), SKU: l.SKU, Title: l.Title, Quantity: l.Quantity,
			CurrentQuantity: l.CurrentQuantity, Price: amount(l.Price), Properties: l.Attributes.pairs(), RequiresShipping: l.RequiresShipping,
		}
		if l.Variant != nil {
			lines[i].VariantID = l.Variant.ID
		}
	}
	b := &orderBody{
		ID: n.ID, Name: n.Name, CreatedAt: n.CreatedAt, UpdatedAt: n.UpdatedAt, CancelledAt: n.CancelledAt, Currency: n.Currency,
		CurrentTotalPrice: amount(n.Total), CurrentSubtotalPrice: amount(n.Subtotal), CurrentTotalTax: amount(n.TotalTax),
		TotalOutstanding: amount(n.Outstanding), FinancialStatus: text(strings.ToLower(string(n.FinancialStatus))),
		FulfillmentStatus: fulfillment[n.FulfillmentStatus], Email: n.Email, Phone: n.Phone,
		ShippingAddress: n.ShippingAddress.body(), BillingAddress: n.BillingAddress.body(), LineItems: &lines,
		Tags: n.Tags, Note: n.Note, NoteAttributes: n.Attributes.pairs(), SourceName: n.SourceName, Test: n.Test,
	}
	if c := n.Customer; c != nil {
		b.Customer = &customerBody{ID: c.ID, FirstName: c.FirstName, LastName: c.LastName}
		if c.Email != nil {
			b.Customer.Email = c.Email.Address
		}
		if c.Phone != nil {
			b.Customer.Phone = c.Phone.Number
		}
	}
	for _, s := range n.ShippingLines.Nodes {
		b.ShippingLines = append(b.ShippingLines, shippingBody{Code: s.Code, Title: s.Title, Price: amount(s.Price)})
	}
	return orderOf(b)
}

// fulfillment is what the REST shape says for a displayFulfillmentStatus; nothing for
// those on the way.
var fulfillment = map[text]text{"PARTIALLY_FULFILLED": "partial", "FULFILLED": "fulfilled", "RESTOCKED": "restocked"}

func (a *addressNode) body() *addressBody {
	if a == nil {
		return nil
	}
	return &addressBody{
		Name: a.Name, Company: a.Company, Address1: a.Address1, Address2: a.Address2, City: a.City,
		ProvinceCode: a.ProvinceCode, Zip: a.Zip, CountryCode: a.CountryCode, Phone: a.Phone,
	}
}

// amount spells an amount as the REST shape does, with all the decimals of its
// currency: GraphQL says 10.0 where a webhook says 10.00.
func (m *moneyBag) amount(currency string) text {
	if m == nil {
		return ""
	}
	whole, decimals, _ := strings.Cut(string(m.ShopMoney.Amount), ".")
	if whole == "" || strings.Trim(whole, "-0123456789") != "" || strings.Trim(decimals, "0123456789") != "" {
		return m.ShopMoney.Amount
	}
	places := 2
	if n, special := decimalPlaces[currency]; special {
		places = n
	}
	if decimals = strings.TrimRight(decimals, "0"); len(decimals) < places {
		decimals += strings.Repeat("0", places-len(decimals))
	}
	if decimals == "" {
		return text(whole)
	}
	return text(whole + "." + decimals)
}

// decimalPlaces are the currencies of ISO 4217 that have other than two.
var decimalPlaces = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0, "VND": 0,
	"VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0, "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}

// entryOf reads an order of a list. It has none where that cannot be read or has more lines
// than the list shows.
func entryOf(raw []byte) (listing.Entry, error) {
	var place struct {
		ID        integer `json:"legacyResourceId"`
		UpdatedAt moment  `json:"updatedAt"`
	}
	if err := json.Unmarshal(raw, &place); err != nil || place.ID == "" || place.UpdatedAt.IsZero() {
		return listing.Entry{}, fmt.Errorf("an order %q in the list lacks legacyResourceId or updatedAt", place.ID)
	}
	entry := listing.Entry{ID: string(place.ID), ChangedAt: place.UpdatedAt.Time}
	var node orderNode
	if json.Unmarshal(raw, &node) == nil && node.whole() {
		entry.Order, _ = node.order() // readOrder says why there is none
	}
	return entry, nil
}

// listOrders reads a page of orders. What the answer has no room for is left to readOrder, as
// what a page has only a part of is, and an order that cannot be read: the next page begins
// behind this one, and a page that is refused is asked for again and hides all that changed
// after it.
func listOrders(r connectors.Reply, found *orderNodes) connectors.Answer {
	next := found.PageInfo.next()
	if found.PageInfo.HasNextPage && next == "" {
		return reply.Unreadable(r, "there is a next page of orders, and no endCursor to ask for it")
	}
	entries := make([]listing.Entry, len(found.Nodes))
	for i, raw := range found.Nodes {
		var err error
		if entries[i], err = entryOf(raw); err != nil {
			return reply.Unreadable(r, err.Error())
		}
	}
	page := listing.Take(entries, true).Page
	page.Next = next
	value, err := page.Value()
	return reply.Answered(r, value, err)
}

// readOrder reads one order, or a part of its lines where those are asked for; null is
// none.
func readOrder(r connectors.Reply, call connectors.Call, data json.RawMessage) connectors.Answer {
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return reply.Refused(r, fault.Conflict, connectors.CodeNoSuchOrder, "the shop has no order of that id")
	}
	var node orderNode
	if err := json.Unmarshal(data, &node); err != nil {
		return reply.Refused(r, fault.Permanent, "order-unreadable", err.Error())
	}
	asked, parts, _ := listing.ParseOrderPart(call.Arguments)
	lines := node.Lines.PageInfo
	switch {
	case node.ShippingLines.PageInfo.HasNextPage:
		return reply.Refused(r, fault.Permanent, connectors.CodeOrderTooLarge,
			fmt.Sprintf("order %s has more than %d ways of shipping, which is more than is read", node.ID, readShipping))
	case lines.HasNextPage && !parts:
		return reply.Refused(r, fault.Permanent, connectors.CodeOrderTooLarge,
			fmt.Sprintf("order %s has more than %d lines, which is more than one query holds", node.ID, readLines))
	case lines.HasNextPage && lines.next() == "":
		return reply.Unreadable(r, "there is a next page of lines, and no endCursor to ask for it")
	}
	if node.ID == "" || node.UpdatedAt.IsZero() {
		return reply.Unreadable(r, "an order without legacyResourceId or updatedAt, which were asked for")
	}
	o, err := node.order()
	if err != nil {
		return reply.Refused(r, fault.Permanent, "order-unreadable", err.Error())
	}
	value, err := listing.OrderPartValue(o, asked, lines.next())
	return reply.Answered(r, value, err)
}

// Topic is that of the webhook which tells of an order, or of a change. One that was
// cancelled before anybody heard of it is only that: told as a new one, it would be made
// where nobody waits for it.
func (Shopify) Topic(o *orderv1.Order, known bool) string {
	switch {
	case o.GetCancelledAt() != nil:
		return "orders/cancelled"
	case known:
		return "orders/updated"
	}
	return "orders/create"
}

// Phases are money and goods. A shop tells of a cancellation by orders/updated too.
func (Shopify) Phases(known, found *orderv1.Order) []string {
	if found.GetCancelledAt() != nil {
		if known == nil {
			return nil
		}
		return []string{"orders/updated"}
	}
	var topics []string
	if paid(found) && !paid(known) {
		topics = append(topics, "orders/paid")
	}
	if status := found.GetFulfillmentStatus(); status != known.GetFulfillmentStatus() {
		switch status {
		case "partial":
			topics = append(topics, "orders/partially_fulfilled")
		case "fulfilled":
			topics = append(topics, "orders/fulfilled")
		}
	}
	return topics
}

// paid says that the whole was paid at some time.
func paid(o *orderv1.Order) bool {
	switch o.GetFinancialStatus() {
	case "paid", "partially_refunded", "refunded":
		return true
	}
	return false
}
