// Package retail is what the simulated shops sell and how: items with prices, orders of one or more lines, and bursts of
// orders at once or over a time. What an order looks like, and who is told of it, is up to the shop.
package retail

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ConfigurationOption is the name under which a line carries a build-to-order configuration.
const ConfigurationOption = "_configuration"

// Item is one article. Its number of pieces is not kept.
type Item struct {
	SKU string `json:"sku"`
	// Name is the SKU by default.
	Name string `json:"name,omitempty"`
	// Price of one unit as a decimal text; "25.00" by default.
	Price string `json:"price,omitempty"`
}

// Article is an item as it is sold.
type Article struct {
	Item
	// ID is the product's id, Cents its price.
	ID, Cents int64
}

// Catalog is what a shop sells, by SKU.
type Catalog map[string]Article

// NewCatalog returns the catalog of the items, or an error that names the item that cannot be.
func NewCatalog(items []Item, firstID int64) (Catalog, error) {
	catalog := make(Catalog)
	for i, it := range items {
		if it.SKU == "" {
			return nil, fmt.Errorf("items[%d]: sku is missing", i)
		}
		if _, known := catalog[it.SKU]; known {
			return nil, fmt.Errorf("items[%d]: sku %q is there twice", i, it.SKU)
		}
		if it.Price == "" {
			it.Price = "25.00"
		}
		if it.Name == "" {
			it.Name = it.SKU
		}
		cents, err := parseCents(it.Price)
		if err != nil {
			return nil, fmt.Errorf("items[%d]: %w", i, err)
		}
		catalog[it.SKU] = Article{Item: it, ID: firstID + int64(i), Cents: cents}
	}
	return catalog, nil
}

func parseCents(price string) (int64, error) {
	units, fraction, _ := strings.Cut(price, ".")
	cents, err := strconv.ParseInt(units+(fraction + "00")[:2], 10, 64)
	if err != nil || cents < 0 || len(fraction) > 2 {
		return 0, fmt.Errorf("price %q is not an amount such as \"19.90\"", price)
	}
	return cents, nil
}

// Option is a name and a value that a buyer chose, or a plug-in put, on a line or an order.
type Option struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Line is one line to sell. A Configuration becomes the option "_configuration".
type Line struct {
	SKU           string   `json:"sku"`
	Quantity      int      `json:"quantity"`
	Configuration string   `json:"configuration,omitempty"`
	Options       []Option `json:"options,omitempty"`
}

// All are the options of the line with its configuration.
func (l Line) All() []Option {
	all := append([]Option{}, l.Options...)
	if l.Configuration != "" {
		all = append(all, Option{Name: ConfigurationOption, Value: l.Configuration})
	}
	return all
}

// Spec says what to sell in one order.
type Spec struct {
	Lines []Line `json:"lines"`
	// Unpaid leaves the order waiting for its payment; by default it is paid.
	Unpaid bool `json:"unpaid,omitempty"`
	// Note is the buyer's note.
	Note string `json:"note,omitempty"`
}

// Check refuses what cannot be sold.
func (c Catalog) Check(lines []Line) error {
	if len(lines) == 0 {
		return errors.New("an order needs at least one line")
	}
	for _, l := range lines {
		if _, known := c[l.SKU]; !known {
			return fmt.Errorf("the shop has no item with the sku %q", l.SKU)
		}
		if l.Quantity < 1 {
			return fmt.Errorf("sku %q: quantity is %d; want at least 1", l.SKU, l.Quantity)
		}
	}
	return nil
}

// Edit is what an update changes in an order; what is empty stays.
type Edit struct {
	// Status is the new status in the shop's own words, such as "completed".
	Status string `json:"status,omitempty"`
	// Note replaces the buyer's note.
	Note string `json:"note,omitempty"`
	// Quantity, if above zero, becomes the quantity of the first line.
	Quantity int `json:"quantity,omitempty"`
	// Configuration replaces that of the first line.
	Configuration string `json:"configuration,omitempty"`
}

// Configure returns the options with the configuration replaced.
func Configure(options []Option, configuration string) []Option {
	kept := []Option{}
	for _, o := range options {
		if o.Name != ConfigurationOption {
			kept = append(kept, o)
		}
	}
	return append(kept, Option{Name: ConfigurationOption, Value: configuration})
}

// Decimal writes cents with the given number of decimals, at least two.
func Decimal(cents int64, decimals int) string {
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	return fmt.Sprintf("%s%d.%02d%s", sign, cents/100, cents%100, strings.Repeat("0", max(decimals-2, 0)))
}
