package netsuite

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/netsuite/suiteql"
)

// pageMax is the largest page of a SuiteQL reply.
const pageMax = 1000

// query is POST /services/rest/query/v1/suiteql.
func (a *Account) query(r *http.Request, body []byte) account.Reply {
	if !prefersTransient(r) {
		return failure(http.StatusBadRequest, detail{
			Code: "INVALID_HEADER", Header: "Prefer", Detail: "The required request header 'Prefer' is missing or invalid: it must be 'transient'.",
		})
	}
	limit, offset, problem := page(r)
	if problem != nil {
		return failure(http.StatusBadRequest, *problem)
	}
	var request struct {
		Q string `json:"q"`
	}
	if err := json.Unmarshal(body, &request); err != nil || request.Q == "" {
		return failure(http.StatusBadRequest, detail{
			Code: "INVALID_CONTENT", Detail: `Invalid content in the request body: a JSON object {"q": "<SuiteQL>"} is needed.`})
	}
	rows, err := a.run(request.Q)
	if err != nil {
		return failure(http.StatusBadRequest, detail{
			Code: "INVALID_PARAMETER", QueryParam: "q", Detail: "Invalid search query. Detailed unprocessed description follows. " + err.Error(),
		})
	}
	from := min(offset, len(rows))
	part := rows[from:min(from+limit, len(rows))]
	items := make([]map[string]any, 0, len(part))
	for _, row := range part {
		item := map[string]any{"links": []any{}}
		for name, value := range row {
			item[name] = value
		}
		items = append(items, item)
	}
	return account.JSON(http.StatusOK, "application/vnd.oracle.resource+json; type=collection", map[string]any{
		"links": []any{}, "count": len(items), "hasMore": from+len(part) < len(rows), "items": items,
		"offset": offset, "totalResults": len(rows),
	})
}

// run parses and executes a query over a consistent view of the account.
func (a *Account) run(text string) ([]suiteql.Row, error) {
	q, err := suiteql.Parse(text)
	if err != nil {
		return nil, err
	}
	return q.Run(a.tables(q))
}

// tables builds the tables that a query names.
func (a *Account) tables(q *suiteql.Query) map[string]suiteql.Relation {
	a.mu.Lock()
	defer a.mu.Unlock()
	tables := make(map[string]suiteql.Relation)
	for _, t := range q.Tables {
		switch t.Name {
		case "item":
			tables[t.Name] = a.itemTable()
		case "location":
			tables[t.Name] = a.locationTable()
		case "aggregateitemlocation":
			tables[t.Name] = a.stockTable()
		case "transaction":
			tables[t.Name] = a.transactionTable()
		}
	}
	return tables
}

func (a *Account) itemTable() suiteql.Relation {
	r := suiteql.Relation{Columns: []string{"id", "itemid"}}
	for _, it := range a.items {
		r.Rows = append(r.Rows, []string{it.id, it.sku})
	}
	return r
}

func (a *Account) locationTable() suiteql.Relation {
	r := suiteql.Relation{Columns: []string{"id", "name"}}
	seen := map[string]bool{a.cfg.Location: true}
	r.Rows = append(r.Rows, []string{a.cfg.Location, "Location " + a.cfg.Location})
	for at := range a.stock {
		if !seen[at.location] {
			seen[at.location] = true
			r.Rows = append(r.Rows, []string{at.location, "Location " + at.location})
		}
	}
	return r
}

func (a *Account) stockTable() suiteql.Relation {
	r := suiteql.Relation{Columns: []string{"item", "location", "quantityonhand", "quantityavailable", "quantitybackordered"}}
	for at, l := range a.stock {
		r.Rows = append(r.Rows, []string{
			at.item, at.location, strconv.Itoa(l.onHand), strconv.Itoa(l.available), strconv.Itoa(max(0, -l.available)),
		})
	}
	return r
}

func (a *Account) transactionTable() suiteql.Relation {
	r := suiteql.Relation{Columns: []string{"id", "type", "tranid", "externalid", "otherrefnum"}}
	for _, o := range a.orders {
		r.Rows = append(r.Rows, []string{o.id, "SalesOrd", "SO" + o.id, o.externalID, o.otherRefNum})
	}
	return r
}

func prefersTransient(r *http.Request) bool {
	for _, value := range r.Header.Values("Prefer") {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), "transient") {
				return true
			}
		}
	}
	return false
}

func page(r *http.Request) (limit, offset int, problem *detail) {
	limit = pageMax
	for name, target := range map[string]*int{"limit": &limit, "offset": &offset} {
		value := r.URL.Query().Get(name)
		if value == "" {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || name == "limit" && (n < 1 || n > pageMax) {
			return 0, 0, &detail{Code: "INVALID_PARAMETER", QueryParam: name,
				Detail: fmt.Sprintf("Invalid %s %q: limit is 1 to %d, offset 0 or more.", name, value, pageMax)}
		}
		*target = n
	}
	return limit, offset, nil
}
