// Package submission checks what a program hands in. A webhook is what its sender makes
// it, and ingest keeps what it cannot read for a person to look at; a program can be told
// at once, and mend what it sends. The package is pure.
package submission

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
)

const (
	// MaxID is the longest id of an order, and of an event: the logic-gate keeps both in
	// subjects.
	MaxID = 128
	// maxTopic is far beyond every topic that a sender has.
	maxTopic = 255
	// maxViolations are told of one submission: who has that many has made one mistake
	// many times.
	maxViolations = 16
	// maxQuoted is how much of a wrong value is repeated.
	maxQuoted = 40
)

// Check returns what is wrong with a submission that can be seen without asking
// anybody; nothing where it is in order. What a body means is its source's to say.
func Check(s *ingestv1.Submission) []*ingestv1.Violation {
	c := &check{}
	switch topic := s.GetTopic(); {
	case topic == "":
		c.addf("topic", `is empty, expected one that a Flow takes (spec.from), such as "orders/create"`)
	case len(topic) > maxTopic:
		c.addf("topic", "has %d bytes, expected at most %d", len(topic), maxTopic)
	}
	if id := s.GetEventId(); len(id) > MaxID {
		c.addf("event_id", "has %d bytes, expected at most %d, or none to have one made of the content", len(id), MaxID)
	}
	switch content := s.GetContent().(type) {
	case *ingestv1.Submission_Order:
		c.order(content.Order, s.GetConnector())
	case *ingestv1.Submission_Body:
		if len(content.Body) == 0 {
			c.addf("body", "is empty, expected what the system sends in a webhook")
		}
	default:
		c.addf("order", "is missing, expected an order, or a body")
	}
	return c.found
}

// check gathers violations.
type check struct{ found []*ingestv1.Violation }

func (c *check) addf(field, format string, values ...any) {
	if len(c.found) < maxViolations {
		c.found = append(c.found, &ingestv1.Violation{Field: field, Description: fmt.Sprintf(format, values...)})
	}
}

func (c *check) order(o *orderv1.Order, connector string) {
	if id := o.GetId(); id == "" || len(id) > MaxID {
		c.addf("order.id", "has %d bytes, expected 1 to %d", len(id), MaxID)
	}
	if source := o.GetSource(); source != "" && source != connector {
		c.addf("order.source", "is %s, expected the connector %s, or nothing", quoted(source), quoted(connector))
	}
	c.time("order.created_at", o.GetCreatedAt())
	c.time("order.updated_at", o.GetUpdatedAt())
	c.time("order.cancelled_at", o.GetCancelledAt())
	if currency := o.GetCurrency(); currency != "" && !letters(currency, 3) {
		c.addf("order.currency", "is %s, expected three capital letters of ISO 4217, such as USD", quoted(currency))
	}
	c.money("order.total", o.GetTotal())
	c.money("order.subtotal", o.GetSubtotal())
	c.money("order.total_tax", o.GetTotalTax())
	c.money("order.outstanding", o.GetOutstanding())
	c.oneOf("order.financial_status", o.GetFinancialStatus(),
		"pending", "authorized", "partially_paid", "paid", "partially_refunded", "refunded", "voided")
	c.oneOf("order.fulfillment_status", o.GetFulfillmentStatus(), "partial", "fulfilled", "restocked")
	c.country("order.shipping_address.country_code", o.GetShippingAddress().GetCountryCode())
	c.country("order.billing_address.country_code", o.GetBillingAddress().GetCountryCode())
	if err := order.CheckParts(o); err != nil {
		c.addf("order", "%v", err)
		return
	}
	for i, line := range o.GetLines() {
		at := "order.lines[" + strconv.Itoa(i) + "]."
		if n := line.GetQuantity(); n < 0 {
			c.addf(at+"quantity", "is %d, expected 0 or more: what is still wanted", n)
		}
		c.money(at+"unit_price", line.GetUnitPrice())
	}
	for i, line := range o.GetShippingLines() {
		c.money("order.shipping_lines["+strconv.Itoa(i)+"].price", line.GetPrice())
	}
}

func (c *check) time(field string, at *timestamppb.Timestamp) {
	if at != nil && !at.IsValid() {
		c.addf(field, "is no time between the years 1 and 9999")
	}
}

// money refuses what is no decimal number: rules and mappings calculate with it, and one
// that they cannot read would put every order of the kind into the Error Hold.
func (c *check) money(field, amount string) {
	if amount != "" && !IsDecimal(amount) {
		c.addf(field, "is %s, expected a decimal number such as 12.50", quoted(amount))
	}
}

func (c *check) oneOf(field, value string, known ...string) {
	if value != "" && !slices.Contains(known, value) {
		c.addf(field, "is %s, expected nothing or one of %s", quoted(value), strings.Join(known, ", "))
	}
}

func (c *check) country(field, code string) {
	if code != "" && !letters(code, 2) {
		c.addf(field, "is %s, expected two capital letters of ISO 3166-1, such as US", quoted(code))
	}
}

// IsDecimal reports whether text is a decimal number as the canonical order writes money:
// digits, with a point and a minus where needed.
func IsDecimal(text string) bool {
	whole, fraction, point := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	return digits(whole) && (!point || digits(fraction))
}

func digits(text string) bool {
	return text != "" && strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

func letters(text string, n int) bool {
	return len(text) == n && strings.IndexFunc(text, func(r rune) bool { return r < 'A' || r > 'Z' }) < 0
}

// quoted is a value as an answer repeats it.
func quoted(value string) string {
	if len(value) <= maxQuoted {
		return strconv.Quote(value)
	}
	cut := maxQuoted
	for cut > 0 && !utf8.RuneStart(value[cut]) {
		cut--
	}
	return strconv.Quote(value[:cut]) + "…"
}
