package bench

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// orderBodies returns orders as a shop would send them, of bodySize bytes each: what all
// orders have, and what is each one's own, such as ids, tokens, names and prices. No two
// are alike: what repeats itself would be compressed to nothing on its way to the disk.
func orderBodies(b *testing.B, count int) [][]byte {
	b.Helper()
	random := rand.New(rand.NewPCG(bodySize, uint64(count)))
	var bodies [][]byte
	for i := range count {
		order := randomOrder(random, i)
		short, err := json.Marshal(order)
		if err != nil || len(short) > bodySize {
			b.Fatalf("an order has %d bytes, want at most %d; %v", len(short), bodySize, err)
		}
		order["note"] = words(random, bodySize-len(short))
		body, err := json.Marshal(order)
		if err != nil || len(body) != bodySize {
			b.Fatalf("an order has %d bytes, want %d; %v", len(body), bodySize, err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

func randomOrder(random *rand.Rand, i int) map[string]any {
	price := func() string { return fmt.Sprintf("%d.%02d", 1+random.IntN(400), random.IntN(100)) }
	money := func() map[string]any {
		amount := price()
		return map[string]any{
			"shop_money":        map[string]any{"amount": amount, "currency_code": "EUR"},
			"presentment_money": map[string]any{"amount": amount, "currency_code": "EUR"},
		}
	}
	id := func() int64 { return 5_000_000_000_000 + random.Int64N(4_000_000_000_000) }
	address := map[string]any{
		"first_name": word(random), "last_name": word(random), "address1": fmt.Sprint(word(random), "straße ", 1+random.IntN(200)),
		"phone": fmt.Sprintf("+49%010d", random.Int64N(1e10)), "city": word(random), "zip": fmt.Sprintf("%05d", random.IntN(1e5)),
		"province": nil, "country": "Germany", "country_code": "DE", "company": nil,
		"latitude": 47 + 8*random.Float64(), "longitude": 6 + 9*random.Float64(),
	}
	var lines []map[string]any
	for range 2 {
		lines = append(lines, map[string]any{
			"id": id(), "admin_graphql_api_id": fmt.Sprint("gid://shopify/LineItem/", id()), "variant_id": id(), "product_id": id(),
			"sku": fmt.Sprintf("VIRAL-%04d", random.IntN(1e4)), "title": "Gebäck, süß & salzig, " + word(random), "vendor": word(random),
			"quantity": 1 + random.IntN(4), "price": price(), "price_set": money(), "total_discount_set": money(), "grams": random.IntN(2000),
			"taxable": true, "gift_card": false, "fulfillment_status": nil, "requires_shipping": true, "properties": []any{},
			"tax_lines": []any{map[string]any{"title": "MwSt", "rate": 0.19, "price": price(), "price_set": money()}},
		})
	}
	return map[string]any{
		"id": id(), "name": fmt.Sprint("#", 1000+i), "email": word(random) + "@example.com", "currency": "EUR", "financial_status": "paid",
		"created_at": "2026-11-27T09:30:00+01:00", "updated_at": "2026-11-27T09:30:00+01:00", "note": "",
		"browser_ip": fmt.Sprintf("203.0.113.%d", random.IntN(256)), "cart_token": fmt.Sprintf("%032x", random.Uint64()), "checkout_token": fmt.Sprintf("%032x", random.Uint64()),
		"token": fmt.Sprintf("%016x%016x", random.Uint64(), random.Uint64()), "checkout_id": id(), "total_price": price(), "total_price_set": money(), "subtotal_price_set": money(),
		"client_details": map[string]any{
			"user_agent": fmt.Sprintf("Mozilla/5.0 (iPhone; CPU iPhone OS 19_%d like Mac OS X) AppleWebKit/605.1.%d", random.IntN(9), random.IntN(99)), "accept_language": "de-DE",
		},
		"customer":         map[string]any{"id": id(), "state": "enabled", "tags": "", "email": word(random) + "@example.com"},
		"shipping_address": address,
		"shipping_lines":   []any{map[string]any{"id": id(), "code": "Standard", "price": price(), "price_set": money()}},
		"line_items":       lines,
	}
}

// word returns one of four to ten letters.
func word(random *rand.Rand) string {
	letters := make([]byte, 4+random.IntN(7))
	for i := range letters {
		letters[i] = 'a' + byte(random.IntN(26))
	}
	return string(letters)
}

// words returns so many bytes of text.
func words(random *rand.Rand, bytes int) string {
	var text []byte
	for len(text) < bytes {
		text = append(append(text, word(random)...), ' ')
	}
	return string(text[:bytes])
}
