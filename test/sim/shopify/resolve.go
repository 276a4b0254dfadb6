package shopify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// root answers the fields of Query. All resolvers run under the shop's lock.
func (e *execution) root() node {
	s := e.admin.shop
	return node{"QueryRoot", func(name string, arguments map[string]any) any {
		switch name {
		case "shop":
			return s.shopNode()
		case "location":
			if id, given := arguments["id"].(string); given && id != gid("Location", s.cfg.LocationID) {
				return nil
			}
			return s.locationNode()
		case "inventoryItem":
			id, _ := arguments["id"].(string)
			if it := s.itemByGID(id); it != nil {
				return s.itemNode(it)
			}
			return nil
		case "inventoryItems":
			return s.itemConnection(arguments)
		case "order":
			return s.orderByGID(text(arguments["id"]))
		case "orders":
			return s.orderConnection(arguments)
		case "webhookSubscription":
			return s.delivery.subscriptionByGID(text(arguments["id"]))
		case "webhookSubscriptions":
			return s.delivery.subscriptionConnection(arguments)
		}
		return nil
	}}
}

func (s *Shop) shopNode() node {
	return node{"Shop", func(name string, _ map[string]any) any {
		switch name {
		case "id":
			return gid("Shop", 1)
		case "name":
			before, _, _ := strings.Cut(s.cfg.Domain, ".")
			return before
		case "myshopifyDomain":
			return s.cfg.Domain
		default:
			return s.cfg.Currency
		}
	}}
}

func (s *Shop) locationNode() node {
	return node{"Location", func(name string, _ map[string]any) any {
		if name == "id" {
			return gid("Location", s.cfg.LocationID)
		}
		return "Warehouse"
	}}
}

func (s *Shop) itemByGID(id string) *item {
	digits, ok := strings.CutPrefix(id, "gid://shopify/InventoryItem/")
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return nil
	}
	return s.byID[n]
}

func (s *Shop) itemNode(it *item) node {
	return node{"InventoryItem", func(name string, arguments map[string]any) any {
		switch name {
		case "id":
			return gid("InventoryItem", it.id)
		case "sku":
			return it.sku
		case "tracked":
			return true
		default:
			if arguments["locationId"] != gid("Location", s.cfg.LocationID) {
				return nil
			}
			return s.levelNode(it)
		}
	}}
}

func (s *Shop) levelNode(it *item) node {
	return node{"InventoryLevel", func(name string, arguments map[string]any) any {
		switch name {
		case "id":
			return fmt.Sprintf("%s?inventory_item_id=%d", gid("InventoryLevel", it.id), it.id)
		case "location":
			return s.locationNode()
		case "item":
			return s.itemNode(it)
		default:
			return quantities(it, arguments["names"])
		}
	}}
}

// quantities answers in the order asked. A name that is no state of inventory is an error, as with Shopify.
func quantities(it *item, names any) any {
	list, _ := names.([]any)
	all := make([]node, 0, len(list))
	for _, n := range list {
		name, _ := n.(string)
		quantity, ok := it.quantity(name)
		if !ok {
			return &refusal{"INVALID_FIELD_ARGUMENTS", fmt.Sprintf("%q is not a name of an inventory quantity", name)}
		}
		all = append(all, node{"InventoryQuantity", func(field string, _ map[string]any) any {
			if field == "name" {
				return name
			}
			return quantity
		}})
	}
	return all
}

func (it *item) quantity(name string) (int, bool) {
	switch name {
	case "available":
		return it.available, true
	case "committed":
		return it.committed, true
	case "on_hand":
		return it.available + it.committed, true
	case "reserved", "damaged", "safety_stock", "quality_control", "incoming":
		return 0, true
	}
	return 0, false
}

// pageMax is the largest page of a connection.
const pageMax = 250

func (s *Shop) itemConnection(arguments map[string]any) any {
	first, given := integer(arguments["first"])
	if !given || first < 1 || first > pageMax {
		return &refusal{"INVALID_FIELD_ARGUMENTS", fmt.Sprintf("first must be given, from 1 to %d", pageMax)}
	}
	matches, err := parseSearch(text(arguments["query"]))
	if err != nil {
		return &refusal{"INVALID_FIELD_ARGUMENTS", err.Error()}
	}
	found := slices.DeleteFunc(slices.Clone(s.items), func(it *item) bool { return !matches(it) })
	if after := text(arguments["after"]); after != "" {
		at := slices.IndexFunc(found, func(it *item) bool { return cursor(it) == after })
		if at < 0 {
			return &refusal{"INVALID_FIELD_ARGUMENTS", fmt.Sprintf("cursor %q is not known", after)}
		}
		found = found[at+1:]
	}
	page := found[:min(first, len(found))]
	return connection{"InventoryItem", len(page) < len(found), false}.node(pageOf(page, cursor, s.itemNode))
}

// connection is a page of a list: what it holds, and whether something lies after and before it.
type connection struct {
	kind            string
	more, something bool
}

// entry is one node of a page and the cursor that names its place.
type entry struct {
	cursor string
	node   node
}

func pageOf[T any](page []T, cursor func(T) string, of func(T) node) []entry {
	entries := make([]entry, 0, len(page))
	for _, one := range page {
		entries = append(entries, entry{cursor(one), of(one)})
	}
	return entries
}

func (c connection) node(page []entry) node {
	return node{c.kind + "Connection", func(name string, _ map[string]any) any {
		all := make([]node, 0, len(page))
		switch name {
		case "nodes":
			for _, e := range page {
				all = append(all, e.node)
			}
			return all
		case "edges":
			for _, e := range page {
				all = append(all, c.edge(e))
			}
			return all
		default:
			return c.pageInfo(page)
		}
	}}
}

func (c connection) edge(e entry) node {
	return node{c.kind + "Edge", func(name string, _ map[string]any) any {
		if name == "cursor" {
			return e.cursor
		}
		return e.node
	}}
}

func (c connection) pageInfo(page []entry) node {
	return node{"PageInfo", func(name string, _ map[string]any) any {
		switch {
		case name == "hasNextPage":
			return c.more
		case name == "hasPreviousPage":
			return c.something
		case len(page) == 0:
			return nil
		case name == "startCursor":
			return page[0].cursor
		default:
			return page[len(page)-1].cursor
		}
	}}
}

func cursor(it *item) string { return fmt.Sprintf("c%d", it.id) }

func text(value any) string {
	s, _ := value.(string)
	return s
}

// integer reads a GraphQL Int, which is an int64 in a query and may be a json.Number or a float in variables.
func integer(value any) (int, bool) {
	switch v := value.(type) {
	case int:
		return v, true
	case int64:
		return int(v), true
	case json.Number:
		n, err := v.Int64()
		return int(n), err == nil
	case float64:
		return int(v), v == float64(int(v))
	}
	return 0, false
}
