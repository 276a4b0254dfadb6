package suiteql_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/test/sim/netsuite/suiteql"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var tables = map[string]suiteql.Relation{
	"item": {Columns: []string{"id", "itemid"}, Rows: [][]string{{"1", "A"}, {"2", "B"}, {"3", "O'Neil"}, {"10", "007"}}},
	"aggregateitemlocation": {
		Columns: []string{"item", "location", "quantityavailable", "quantityonhand"},
		Rows:    [][]string{{"1", "1", "-5", "10"}, {"1", "2", "7", "7"}, {"2", "1", "20", "30"}, {"3", "1", "0", "0"}, {"10", "1", "9", "9"}},
	},
	"location": {Columns: []string{"id"}, Rows: [][]string{{"1"}, {"2"}}},
}

func TestQueriesReturnRows(t *testing.T) {
	for name, test := range map[string]struct {
		query string
		want  []suiteql.Row
	}{
		"stock of some SKUs at one location": {
			`SELECT item.itemid AS sku, aggregateItemLocation.location AS location,
			   aggregateItemLocation.quantityAvailable AS quantityavailable, aggregateItemLocation.quantityOnHand AS quantityonhand
			 FROM aggregateItemLocation INNER JOIN item ON item.id = aggregateItemLocation.item
			 WHERE item.itemid IN ('A','B') AND aggregateItemLocation.location = 1`,
			[]suiteql.Row{
				{"sku": "A", "location": "1", "quantityavailable": "-5", "quantityonhand": "10"},
				{"sku": "B", "location": "1", "quantityavailable": "20", "quantityonhand": "30"},
			},
		},
		"aliases of tables, other order, any case": {
			`select L.QUANTITYAVAILABLE, I.ItemID sku from AggregateItemLocation l join ITEM as i on l.item=i.id where l.location='2'`,
			[]suiteql.Row{{"quantityavailable": "7", "sku": "A"}},
		},
		"a quote in a text is doubled": {
			`SELECT id FROM item WHERE itemid IN ('O''Neil')`, []suiteql.Row{{"id": "3"}},
		},
		"a SKU is text and not a number": {
			`SELECT id FROM item WHERE itemid = '7'`, []suiteql.Row{},
		},
		"a probe": {`SELECT id FROM location WHERE id = 1`, []suiteql.Row{{"id": "1"}}},
		"key-set paging compares numbers as numbers": {
			`SELECT id FROM item WHERE id > 2 ORDER BY id DESC`, []suiteql.Row{{"id": "10"}, {"id": "3"}},
		},
		"negative stock": {
			`SELECT item, quantityavailable AS q FROM aggregateitemlocation WHERE quantityavailable < 0 AND quantityonhand <> 0 ORDER BY q`,
			[]suiteql.Row{{"item": "1", "q": "-5"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := suiteql.Parse(test.query)
			if err != nil {
				t.Fatal(err)
			}
			got, err := q.Run(tables)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsNotSupportedIsRefusedWithThePlace(t *testing.T) {
	for query, want := range map[string]string{
		"":                                   "expected SELECT",
		"SELECT":                             "expected a column",
		"SELECT * FROM item":                 "* are not supported",
		"SELECT COUNT(*) FROM item":          `found "(", expected FROM`,
		"SELECT id FROM item WHERE":          "expected a column",
		"SELECT id FROM item WHERE id = ":    "expected a number or a text",
		"SELECT id FROM item WHERE id IN ()": "expected a number or a text",
		"SELECT id FROM item WHERE id = 1 OR id = 2":                    "expected the end of the query",
		"SELECT id FROM item GROUP BY id":                               "expected the end of the query",
		"SELECT id FROM item; DROP TABLE item":                          "unexpected character ';'",
		"SELECT id FROM item WHERE itemid = 'A":                         "at character 36: the text that begins here has no closing quote",
		"SELECT id FROM customer":                                       `table "customer" is not known`,
		"SELECT name FROM item":                                         `column "name" is not known`,
		"SELECT x.id FROM item":                                         `column "x.id" is not known`,
		"SELECT id FROM item JOIN location ON item.id=location.id":      `column "id" is in more than one table`,
		"SELECT item.id FROM item JOIN item ON item.id=item.id":         "used twice",
		"SELECT item.id FROM item JOIN location ON item.id=item.itemid": "must compare one of its columns",
		"SELECT item.id FROM item LEFT JOIN location ON 1=1":            "expected the end of the query",
		"SELECT id FROM item WHERE id LIKE '1%'":                        "expected a comparison or IN",
		"SELECT \xff":                                                   "not valid UTF-8",
	} {
		q, err := suiteql.Parse(query)
		if err == nil {
			_, err = q.Run(tables)
		}
		var where *suiteql.Error
		if !errors.As(err, &where) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", query, err, want)
		}
	}
}

// Any text survives as a literal, if its quotes are doubled.
func TestQuotedTextsComeThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sku := rapid.String().Draw(t, "sku")
		q, err := suiteql.Parse("SELECT id FROM item WHERE itemid='" + strings.ReplaceAll(sku, "'", "''") + "'")
		if err != nil {
			t.Fatal(err)
		}
		if got := q.Where[0].Values[0]; got != sku {
			t.Fatalf("%q came through as %q", sku, got)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"SELECT id FROM location WHERE id = 1", "SELECT a.b c, d FROM a INNER JOIN e ON a.f=e.g WHERE h IN ('x','y''z',-1.5) ORDER BY c DESC, d",
		"SELECT", "'", "select item.id from item join location l on l.id = item.id where item.id >= 1 and item.itemid != 'A'",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := suiteql.Parse(query)
		if err != nil {
			var where *suiteql.Error
			if !errors.As(err, &where) || where.At < 0 || where.At > len(query) {
				t.Fatalf("error %v does not point into the query", err)
			}
			return
		}
		if _, err := q.Run(tables); err != nil && !errors.As(err, new(*suiteql.Error)) {
			t.Fatal(err)
		}
	})
}
