package suiteql

import (
	"slices"
	"strings"
)

// Query is a parsed query. Names are lower-case: SuiteQL knows no case in names.
type Query struct {
	Columns []Column
	Tables  []Table
	Where   []Condition
	OrderBy []Order
}

// Column is a selected column and the name under which it is returned.
type Column struct {
	Ref   Ref
	Alias string
}

// Ref names a column; Table is empty when the query does not say.
type Ref struct {
	Table, Column string
	at            int
}

// Table is a table of FROM or JOIN. On holds the two columns that a join compares; it is unset for the first table.
type Table struct {
	Name, Alias string
	On          [2]Ref
	at          int
}

// Condition compares a column with values; IN has many.
type Condition struct {
	Ref      Ref
	Operator string
	Values   []string
}

// Order is one key of ORDER BY.
type Order struct {
	Ref        Ref
	Descending bool
}

// keywords cannot be aliases; they end what came before.
var keywords = []string{
	"select", "from", "where", "and", "or", "not", "in", "inner", "left", "right", "full", "outer", "cross", "join", "on", "as",
	"order", "group", "by", "having", "union", "fetch", "limit", "offset", "asc", "desc", "is", "like", "between", "distinct",
}

// parser walks the tokens. The first error stays and makes every later step a no-op, so the grammar reads plainly.
type parser struct {
	tokens []token
	next   int
	err    *Error
}

// Parse reads a query. The error is an *Error.
func Parse(query string) (*Query, error) {
	tokens, scanErr := scan(query)
	if scanErr != nil {
		return nil, scanErr
	}
	p := &parser{tokens: tokens}
	q := p.query()
	if p.err != nil {
		return nil, p.err
	}
	return q, nil
}

func (p *parser) peek() token { return p.tokens[p.next] }

func (p *parser) take() token {
	t := p.tokens[p.next]
	if t.kind != end {
		p.next++
	}
	return t
}

func (p *parser) fail(t token, wanted string) {
	if p.err == nil {
		p.err = errorAt(t.at, "found %s, expected %s", t, wanted)
		p.next = len(p.tokens) - 1
	}
}

func (p *parser) isKeyword(keyword string) bool {
	t := p.peek()
	return t.kind == word && strings.EqualFold(t.value, keyword)
}

func (p *parser) acceptKeyword(keyword string) bool {
	if !p.isKeyword(keyword) {
		return false
	}
	p.take()
	return true
}

func (p *parser) expectKeyword(keyword string) {
	if !p.acceptKeyword(keyword) {
		p.fail(p.peek(), strings.ToUpper(keyword))
	}
}

func (p *parser) acceptSymbol(s string) bool {
	if t := p.peek(); t.kind != symbol || t.value != s {
		return false
	}
	p.take()
	return true
}

func (p *parser) name(what string) string {
	t := p.peek()
	if t.kind != word || slices.Contains(keywords, strings.ToLower(t.value)) {
		p.fail(t, what)
		return ""
	}
	return strings.ToLower(p.take().value)
}

func (p *parser) query() *Query {
	q := &Query{}
	p.expectKeyword("select")
	for {
		q.Columns = append(q.Columns, p.column())
		if !p.acceptSymbol(",") {
			break
		}
	}
	p.expectKeyword("from")
	q.Tables = append(q.Tables, p.table())
	for p.err == nil && (p.isKeyword("inner") || p.isKeyword("join")) {
		p.acceptKeyword("inner")
		p.expectKeyword("join")
		t := p.table()
		p.expectKeyword("on")
		t.On[0] = p.ref()
		if !p.acceptSymbol("=") {
			p.fail(p.peek(), `"=" (joins on equal columns only)`)
		}
		t.On[1] = p.ref()
		q.Tables = append(q.Tables, t)
	}
	if p.acceptKeyword("where") {
		q.Where = p.conditions()
	}
	if p.acceptKeyword("order") {
		p.expectKeyword("by")
		q.OrderBy = p.orderBy()
	}
	if t := p.peek(); t.kind != end {
		p.fail(t, "the end of the query (only SELECT, FROM, INNER JOIN, WHERE with AND, ORDER BY are supported)")
	}
	return q
}

func (p *parser) column() Column {
	c := Column{Ref: p.ref()}
	c.Alias = c.Ref.Column
	if p.acceptKeyword("as") || p.startsName() {
		c.Alias = p.name("an alias")
	}
	return c
}

func (p *parser) startsName() bool {
	t := p.peek()
	return t.kind == word && !slices.Contains(keywords, strings.ToLower(t.value))
}

func (p *parser) table() Table {
	at := p.peek().at
	t := Table{Name: p.name("a table"), at: at}
	t.Alias = t.Name
	if p.acceptKeyword("as") || p.startsName() {
		t.Alias = p.name("an alias")
	}
	return t
}

func (p *parser) ref() Ref {
	r := Ref{at: p.peek().at}
	r.Column = p.name("a column (functions and * are not supported)")
	if p.acceptSymbol(".") {
		r.Table = r.Column
		r.Column = p.name("a column")
	}
	return r
}

func (p *parser) conditions() []Condition {
	var all []Condition
	for p.err == nil {
		all = append(all, p.condition())
		if !p.acceptKeyword("and") {
			break
		}
	}
	return all
}

var operators = []string{"=", "<>", "!=", "<", "<=", ">", ">="}

func (p *parser) condition() Condition {
	c := Condition{Ref: p.ref()}
	if p.acceptKeyword("in") {
		c.Operator = "in"
		if !p.acceptSymbol("(") {
			p.fail(p.peek(), `"("`)
		}
		for p.err == nil {
			c.Values = append(c.Values, p.literal())
			if !p.acceptSymbol(",") {
				break
			}
		}
		if !p.acceptSymbol(")") {
			p.fail(p.peek(), `")"`)
		}
		return c
	}
	t := p.peek()
	if t.kind != symbol || !slices.Contains(operators, t.value) {
		p.fail(t, "a comparison or IN")
		return c
	}
	c.Operator = p.take().value
	if c.Operator == "!=" {
		c.Operator = "<>"
	}
	c.Values = []string{p.literal()}
	return c
}

func (p *parser) literal() string {
	t := p.peek()
	if t.kind != text && t.kind != number {
		p.fail(t, "a number or a text in single quotes")
		return ""
	}
	return p.take().value
}

func (p *parser) orderBy() []Order {
	var all []Order
	for p.err == nil {
		o := Order{Ref: p.ref()}
		if p.acceptKeyword("desc") {
			o.Descending = true
		} else {
			p.acceptKeyword("asc")
		}
		all = append(all, o)
		if !p.acceptSymbol(",") {
			break
		}
	}
	return all
}
