package suiteql

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Relation is the content of one table. Columns are lower-case; every row has one value per column.
type Relation struct {
	Columns []string
	Rows    [][]string
}

// Row is one row of a result: values by alias.
type Row map[string]string

// Run executes the query over the tables, which are named in lower case. The error is an *Error.
func (q *Query) Run(tables map[string]Relation) ([]Row, error) {
	e := &execution{query: q, tables: tables}
	if err := e.resolve(); err != nil {
		return nil, err
	}
	rows := e.join()
	rows = slices.DeleteFunc(rows, func(r joined) bool { return !e.passes(r) })
	e.sort(rows)
	result := make([]Row, 0, len(rows))
	for _, r := range rows {
		out := make(Row, len(e.columns))
		for i, at := range e.columns {
			out[q.Columns[i].Alias] = e.value(r, at)
		}
		result = append(result, out)
	}
	return result, nil
}

// joined holds, per table of the query, the index of the row that is part of it.
type joined []int

// position is a column of one of the query's tables.
type position struct{ table, column int }

type execution struct {
	query     *Query
	tables    map[string]Relation
	relations []Relation
	columns   []position
	where     []position
	order     []position
	on        [][2]position
}

// resolve turns all names into positions.
func (e *execution) resolve() error {
	for i, t := range e.query.Tables {
		relation, ok := e.tables[t.Name]
		if !ok {
			return errorAt(t.at, "table %q is not known", t.Name)
		}
		for _, earlier := range e.query.Tables[:i] {
			if earlier.Alias == t.Alias {
				return errorAt(t.at, "table or alias %q is used twice", t.Alias)
			}
		}
		e.relations = append(e.relations, relation)
		if i == 0 {
			continue
		}
		on, err := e.resolveJoin(i, t)
		if err != nil {
			return err
		}
		e.on = append(e.on, on)
	}
	for _, c := range e.query.Columns {
		if err := e.add(&e.columns, c.Ref); err != nil {
			return err
		}
	}
	for _, c := range e.query.Where {
		if err := e.add(&e.where, c.Ref); err != nil {
			return err
		}
	}
	for _, o := range e.query.OrderBy {
		if err := e.add(&e.order, e.aliased(o.Ref)); err != nil {
			return err
		}
	}
	return nil
}

// resolveJoin returns the two columns of a join, that of the new table second.
func (e *execution) resolveJoin(i int, t Table) (on [2]position, err error) {
	for side, ref := range t.On {
		if on[side], err = e.find(ref); err != nil {
			return on, err
		}
	}
	if on[0].table == i {
		on[0], on[1] = on[1], on[0]
	}
	if on[1].table != i || on[0].table == i {
		return on, errorAt(t.at, "the join of %q must compare one of its columns with one of an earlier table", t.Alias)
	}
	return on, nil
}

// aliased lets ORDER BY name a selected column by its alias.
func (e *execution) aliased(r Ref) Ref {
	if r.Table == "" {
		for _, c := range e.query.Columns {
			if c.Alias == r.Column {
				return c.Ref
			}
		}
	}
	return r
}

func (e *execution) add(to *[]position, r Ref) error {
	at, err := e.find(r)
	if err != nil {
		return err
	}
	*to = append(*to, at)
	return nil
}

func (e *execution) find(r Ref) (position, error) {
	var found []position
	for i, relation := range e.relations {
		if r.Table != "" && r.Table != e.query.Tables[i].Alias {
			continue
		}
		if column := slices.Index(relation.Columns, r.Column); column >= 0 {
			found = append(found, position{i, column})
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return position{}, errorAt(r.at, "column %q is not known", strings.TrimPrefix(r.Table+"."+r.Column, "."))
	}
	return position{}, errorAt(r.at, "column %q is in more than one table; say which", r.Column)
}

func (e *execution) value(r joined, at position) string {
	return e.relations[at.table].Rows[r[at.table]][at.column]
}

// join builds the rows of all tables with one hash table per join.
func (e *execution) join() []joined {
	rows := make([]joined, 0, len(e.relations[0].Rows))
	for i := range e.relations[0].Rows {
		rows = append(rows, joined{i})
	}
	for k, on := range e.on {
		index := make(map[string][]int)
		for i, row := range e.relations[k+1].Rows {
			index[row[on[1].column]] = append(index[row[on[1].column]], i)
		}
		var wider []joined
		for _, r := range rows {
			for _, i := range index[e.value(r, on[0])] {
				wider = append(wider, append(slices.Clone(r), i))
			}
		}
		rows = wider
	}
	return rows
}

func (e *execution) passes(r joined) bool {
	for i, c := range e.query.Where {
		if !c.holds(e.value(r, e.where[i])) {
			return false
		}
	}
	return true
}

// holds compares for equality as text, so that the SKU '007' is not '7', and for order by number where both are numbers.
func (c Condition) holds(value string) bool {
	switch c.Operator {
	case "in", "=":
		return slices.Contains(c.Values, value)
	case "<>":
		return value != c.Values[0]
	}
	order := compare(value, c.Values[0])
	switch c.Operator {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	default:
		return order >= 0
	}
}

// compare orders numbers as numbers and all else as text.
func compare(a, b string) int {
	x, errA := strconv.ParseFloat(a, 64)
	y, errB := strconv.ParseFloat(b, 64)
	if errA == nil && errB == nil {
		return cmp.Compare(x, y)
	}
	return strings.Compare(a, b)
}

func (e *execution) sort(rows []joined) {
	slices.SortStableFunc(rows, func(a, b joined) int {
		for i, at := range e.order {
			order := compare(e.value(a, at), e.value(b, at))
			if e.query.OrderBy[i].Descending {
				order = -order
			}
			if order != 0 {
				return order
			}
		}
		return 0
	})
}
