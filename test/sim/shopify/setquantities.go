package shopify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

const (
	// keyRetention is how long an idempotency key is remembered.
	keyRetention = 24 * time.Hour
	// linesMax is the most lines of one call, quantityMax the largest quantity.
	linesMax    = 250
	quantityMax = 1_000_000_000
)

var reasons = []string{
	"correction", "cycle_count_available", "damaged", "movement_created", "movement_updated", "movement_received", "movement_canceled",
	"other", "promotion", "quality_control", "received", "reservation_created", "reservation_deleted", "reservation_updated", "restock",
	"safety_stock", "shrinkage",
}

// remembered is what an idempotency key was used for.
type remembered struct {
	parameters string
	at         time.Time
	failed     bool
	group      *adjustment
}

// adjustment is an inventory adjustment group.
type adjustment struct {
	id                int
	at                time.Time
	reason, reference string
	changes           []adjusted
}

type adjusted struct {
	item         *item
	name         string
	delta, after int
}

// setLine is one line of the input, after the checks.
type setLine struct {
	item     *item
	quantity int
}

type userError struct {
	code, message string
	field         []string
}

// setQuantities is the mutation inventorySetQuantities; it needs the shop's lock. It returns a payload, or an error of the
// whole field where the call is not one that the API takes.
func (a *admin) setQuantities(f *ast.Field, variables map[string]any) (*node, *graphError) {
	directive := f.Directives.ForName("idempotent")
	if directive == nil {
		return nil, badRequest("The @idempotent directive is required for this mutation but was not provided.")
	}
	key := text(directive.ArgumentMap(variables)["key"])
	if key == "" {
		return nil, badRequest("The key of the @idempotent directive must not be empty.")
	}
	input, _ := f.ArgumentMap(variables)["input"].(map[string]any)
	lines, _ := input["quantities"].([]any)
	if len(lines) > linesMax {
		return nil, badRequest(fmt.Sprintf("The input array size of %d is greater than the maximum allowed of %d.", len(lines), linesMax))
	}
	for i, l := range lines {
		line, _ := l.(map[string]any)
		if _, present := line["changeFromQuantity"]; !present {
			return nil, badRequest(fmt.Sprintf("InventoryQuantityInput must include the following argument: changeFromQuantity (quantities.%d).", i))
		}
	}
	parameters := hash(input)
	if known, ok := a.keys[key]; ok && time.Since(known.at) < keyRetention {
		return a.repeat(known, parameters), nil
	}
	group, problems := a.set(input, lines)
	a.keys[key] = remembered{parameters: parameters, at: time.Now(), failed: len(problems) > 0, group: group}
	return a.payload(group, problems), nil
}

func badRequest(message string) *graphError {
	return &graphError{Message: message, Extensions: map[string]any{"code": "BAD_REQUEST"}}
}

// repeat answers a key that was used before. Nothing takes effect again.
func (a *admin) repeat(known remembered, parameters string) *node {
	a.shop.tally.repeatedSets++
	switch {
	case known.parameters != parameters:
		return a.payload(nil, []userError{{code: "IDEMPOTENCY_KEY_PARAMETER_MISMATCH",
			message: "The same idempotency key cannot be used with different parameters."}})
	case known.failed:
		return a.payload(nil, []userError{{code: "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED",
			message: "A previous attempt with this idempotency key failed. Use a new key."}})
	}
	return a.payload(known.group, nil)
}

// hash is equal for equal parameters: encoding/json sorts the keys of maps, and numbers are written as they were.
func hash(input map[string]any) string {
	encoded, err := json.Marshal(input)
	if err != nil { // input came out of JSON or GraphQL literals, so it can be encoded
		panic(err)
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

// set checks all lines and then changes all or none.
func (a *admin) set(input map[string]any, lines []any) (*adjustment, []userError) {
	name, reason, reference := text(input["name"]), text(input["reason"]), text(input["referenceDocumentUri"])
	if problems := checkHead(name, reason, reference); len(problems) > 0 {
		return nil, problems
	}
	parsed, problems := a.checkLines(name, lines)
	if len(problems) > 0 {
		return nil, problems
	}
	s := a.shop
	a.sets++
	s.tally.sets++
	group := &adjustment{id: a.sets, at: time.Now(), reason: reason, reference: reference}
	for _, l := range parsed {
		before, _ := l.item.quantity(name)
		delta := l.quantity - before
		if delta == 0 {
			continue
		}
		s.change(l.item, delta, 0, "set", reference)
		onHand, _ := l.item.quantity("on_hand")
		group.changes = append(group.changes,
			adjusted{l.item, "available", delta, l.item.available}, adjusted{l.item, "on_hand", delta, onHand})
	}
	return group, nil
}

func checkHead(name, reason, reference string) []userError {
	if name != "available" && name != "on_hand" {
		return []userError{{"INVALID_NAME", "The quantity name must be either 'available' or 'on_hand'.", []string{"input", "name"}}}
	}
	if !slices.Contains(reasons, reason) {
		return []userError{{"INVALID_REASON", "The specified reason is invalid.", []string{"input", "reason"}}}
	}
	if reference == "" {
		return nil
	}
	if u, err := url.Parse(reference); err != nil || u.Scheme == "" || u.Host+u.Opaque == "" {
		return []userError{{"INVALID_REFERENCE_DOCUMENT", "The specified reference document is invalid.", []string{"input", "referenceDocumentUri"}}}
	}
	return nil
}

func (a *admin) checkLines(name string, lines []any) ([]setLine, []userError) {
	var parsed []setLine
	var problems []userError
	seen := make(map[*item]bool)
	for i, l := range lines {
		line, _ := l.(map[string]any)
		one, code, field, message := a.checkLine(name, line)
		if code == "" && seen[one.item] {
			code, field = "NO_DUPLICATE_INVENTORY_ITEM_ID_GROUP_ID_PAIR", "inventoryItemId"
			message = "The combination of inventoryItemId and locationId must be unique."
		}
		if code != "" {
			problems = append(problems, userError{code, message, []string{"input", "quantities", strconv.Itoa(i), field}})
			continue
		}
		seen[one.item] = true
		parsed = append(parsed, one)
	}
	if slices.ContainsFunc(problems, func(p userError) bool { return p.code == "CHANGE_FROM_QUANTITY_STALE" }) {
		a.shop.tally.staleSets++
	}
	return parsed, problems
}

func (a *admin) checkLine(name string, line map[string]any) (l setLine, code, field, message string) {
	l.item = a.shop.itemByGID(text(line["inventoryItemId"]))
	if l.item == nil {
		return l, "INVALID_INVENTORY_ITEM", "inventoryItemId", "The specified inventory item could not be found."
	}
	if text(line["locationId"]) != gid("Location", a.shop.cfg.LocationID) {
		return l, "INVALID_LOCATION", "locationId", "The specified location could not be found."
	}
	l.quantity, _ = integer(line["quantity"])
	switch {
	case l.quantity < 0:
		return l, "INVALID_QUANTITY_NEGATIVE", "quantity", "The quantity can't be negative."
	case l.quantity > quantityMax:
		return l, "INVALID_QUANTITY_TOO_HIGH", "quantity", "The quantity can't be higher than 1,000,000,000."
	}
	if from := line["changeFromQuantity"]; from != nil {
		expected, _ := integer(from)
		if now, _ := l.item.quantity(name); now != expected {
			return l, "CHANGE_FROM_QUANTITY_STALE", "changeFromQuantity", "The changeFromQuantity argument no longer matches the persisted quantity."
		}
	}
	return l, "", "", ""
}

func (a *admin) payload(group *adjustment, problems []userError) *node {
	return &node{"InventorySetQuantitiesPayload", func(name string, _ map[string]any) any {
		if name == "inventoryAdjustmentGroup" {
			if group == nil {
				return nil
			}
			return a.groupNode(group)
		}
		all := make([]node, 0, len(problems))
		for _, p := range problems {
			all = append(all, node{"InventorySetQuantitiesUserError", func(name string, _ map[string]any) any {
				return map[string]any{"code": p.code, "field": p.field, "message": p.message}[name]
			}})
		}
		return all
	}}
}

func (a *admin) groupNode(g *adjustment) node {
	return node{"InventoryAdjustmentGroup", func(name string, _ map[string]any) any {
		switch name {
		case "id":
			return gid("InventoryAdjustmentGroup", int64(g.id))
		case "createdAt":
			return g.at.UTC().Format(time.RFC3339)
		case "reason":
			return g.reason
		case "referenceDocumentUri":
			if strings.TrimSpace(g.reference) == "" {
				return nil
			}
			return g.reference
		}
		changes := make([]node, 0, len(g.changes))
		for _, c := range g.changes {
			changes = append(changes, a.changeNode(c))
		}
		return changes
	}}
}

func (a *admin) changeNode(c adjusted) node {
	return node{"InventoryChange", func(name string, _ map[string]any) any {
		switch name {
		case "name":
			return c.name
		case "delta":
			return c.delta
		case "quantityAfterChange":
			return c.after
		case "item":
			return a.shop.itemNode(c.item)
		}
		return a.shop.locationNode()
	}}
}
