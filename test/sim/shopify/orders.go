package shopify

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// orderByGID is the query order(id:). All of this file runs under the shop's lock.
func (s *Shop) orderByGID(id string) any {
	s.tally.reads++
	for _, o := range s.orders {
		if o.AdminGraphQLID == id {
			return s.orderNode(o)
		}
	}
	return nil
}

// found is an order as the search has it: with the figures by which it is searched and sorted.
type found struct {
	*Order
	created, updated time.Time
}

// place is where an order stands in a list: its sort value and its id. A cursor holds it, and not the order, so that what was
// read stays behind it when an order moves on.
type place struct{ value, id int64 }

func (p place) cursor() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"last_value":%d,"last_id":%d}`, p.value, p.id))
}

func placeOf(cursor string) (place, error) {
	var p place
	decoded, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		_, err = fmt.Sscanf(string(decoded), `{"last_value":%d,"last_id":%d}`, &p.value, &p.id)
	}
	if err != nil {
		return place{}, fmt.Errorf("cursor %q is not known", cursor)
	}
	return p, nil
}

func (p place) compare(other place) int {
	return cmp.Or(cmp.Compare(p.value, other.value), cmp.Compare(p.id, other.id))
}

// orderConnection is the query orders.
func (s *Shop) orderConnection(arguments map[string]any) any {
	s.tally.polls++
	first, given := integer(arguments["first"])
	if !given || first < 1 || first > pageMax {
		return &refusal{"INVALID_FIELD_ARGUMENTS", fmt.Sprintf("first must be given, from 1 to %d", pageMax)}
	}
	query := text(arguments["query"])
	matches, err := parseOrderSearch(query)
	if err != nil {
		return &refusal{"INVALID_FIELD_ARGUMENTS", err.Error()}
	}
	reverse := arguments["reverse"] == true
	placed := func(f found) place { return placeBy(text(arguments["sortKey"]), f) }
	after := func(found) bool { return true }
	if cursor := text(arguments["after"]); cursor != "" {
		from, err := placeOf(cursor)
		if err != nil {
			return &refusal{"INVALID_FIELD_ARGUMENTS", err.Error()}
		}
		after = func(f found) bool { return placed(f).compare(from) != 0 && (placed(f).compare(from) > 0) != reverse }
	}
	all := s.searchable(query != "", time.Now())
	matching := slices.DeleteFunc(all, func(f found) bool { return !matches(f) })
	behind := len(matching)
	matching = slices.DeleteFunc(matching, func(f found) bool { return !after(f) })
	slices.SortFunc(matching, func(a, b found) int {
		if reverse {
			return placed(b).compare(placed(a))
		}
		return placed(a).compare(placed(b))
	})
	page := matching[:min(first, len(matching))]
	return connection{"Order", len(page) < len(matching), len(matching) < behind}.node(pageOf(page,
		func(f found) string { return placed(f).cursor() }, func(f found) node { return s.orderNode(f.Order) }))
}

func placeBy(key string, f found) place {
	switch key {
	case "ID", "ORDER_NUMBER":
		return place{f.ID, f.ID}
	case "UPDATED_AT":
		return place{f.updated.Unix(), f.ID}
	default:
		return place{f.created.Unix(), f.ID}
	}
}

// searchable are the orders as a search finds them: what changed within SearchDelay has the figures of before, and is not
// there yet if it is new. What is read of an order found is as it is now.
func (s *Shop) searchable(search bool, now time.Time) []found {
	all := make([]found, 0, len(s.orders))
	for _, o := range s.orders {
		f := found{Order: o, created: o.versions[0].updated, updated: o.updated}
		if search && s.cfg.SearchDelay > 0 {
			f.updated = time.Time{}
			for _, v := range o.versions {
				if now.Sub(v.at) >= s.cfg.SearchDelay.Std() {
					f.updated = v.updated
				}
			}
			if f.updated.IsZero() {
				continue
			}
		}
		all = append(all, f)
	}
	return all
}

// orderTerm is one condition of a search.
type orderTerm struct {
	field, operator, value string
	at                     time.Time
}

// parseOrderSearch reads the part of Shopify's search syntax that finds orders by their moments, status, name and id: terms
// such as updated_at:>='2026-11-23T00:00:00Z', joined by blanks or AND. The real one ignores what it does not understand,
// with a warning in the extensions of the reply, and finds too much; this one refuses it.
func parseOrderSearch(query string) (func(found) bool, error) {
	var terms []orderTerm
	for rest := strings.TrimSpace(query); rest != ""; rest = strings.TrimSpace(rest) {
		if after, ok := cutWord(rest, "AND"); ok {
			rest = after
			continue
		}
		p := &search{rest: rest}
		term, err := p.orderTerm(query)
		if err != nil {
			return nil, err
		}
		terms = append(terms, term)
		rest = p.rest
	}
	return func(f found) bool {
		return !slices.ContainsFunc(terms, func(t orderTerm) bool { return !t.holds(f) })
	}, nil
}

func cutWord(text, word string) (string, bool) {
	if len(text) <= len(word) || !strings.EqualFold(text[:len(word)], word) || text[len(word)] != ' ' {
		return text, false
	}
	return text[len(word):], true
}

var orderFields = []string{"updated_at", "created_at", "processed_at", "status", "name", "id", "financial_status"}

func (p *search) orderTerm(query string) (orderTerm, error) {
	field, after, ok := strings.Cut(p.rest, ":")
	t := orderTerm{field: strings.ToLower(field)}
	if !ok || !slices.Contains(orderFields, t.field) {
		return t, fmt.Errorf("search %q: expected one of %v at %q", query, orderFields, p.rest)
	}
	p.rest = after
	for _, operator := range []string{">=", "<=", ">", "<"} {
		if rest, found := strings.CutPrefix(p.rest, operator); found {
			t.operator, p.rest = operator, rest
			break
		}
	}
	var err error
	if p.rest != "" && (p.rest[0] == '"' || p.rest[0] == '\'') {
		t.value, err = p.quoted(query)
	} else {
		t.value, p.rest, _ = strings.Cut(p.rest, " ")
	}
	switch {
	case err != nil:
		return t, err
	case t.value == "":
		return t, fmt.Errorf("search %q: %s: has no value", query, t.field)
	case strings.HasSuffix(t.field, "_at"):
		if t.at, err = time.Parse(time.RFC3339, t.value); err != nil {
			t.at, err = time.Parse(time.DateOnly, t.value)
		}
		if err != nil {
			return t, fmt.Errorf("search %q: %s: %q is not a moment as 2026-11-23T00:00:00Z", query, t.field, t.value)
		}
	case t.operator != "":
		return t, fmt.Errorf("search %q: %s: cannot be compared with %s", query, t.field, t.operator)
	}
	return t, nil
}

func (t orderTerm) holds(f found) bool {
	switch t.field {
	case "updated_at":
		return t.compares(f.updated)
	case "created_at", "processed_at":
		return t.compares(f.created)
	case "name":
		return strings.EqualFold(strings.TrimPrefix(t.value, "#"), strings.TrimPrefix(f.Name, "#"))
	case "id":
		return t.value == strconv.FormatInt(f.ID, 10)
	case "financial_status":
		return t.value == "any" || strings.EqualFold(t.value, f.FinancialStatus)
	default:
		return t.value == "any" || t.value == "not_closed" || (t.value == "cancelled") == (f.CancelledAt != nil)
	}
}

func (t orderTerm) compares(at time.Time) bool {
	by := at.Compare(t.at)
	switch t.operator {
	case ">=":
		return by >= 0
	case "<=":
		return by <= 0
	case ">":
		return by > 0
	case "<":
		return by < 0
	default:
		return by == 0
	}
}
