package shopify

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// orderNode is an order as GraphQL has it. Its closures run under the shop's lock.
func (s *Shop) orderNode(o *Order) node {
	return node{"Order", func(name string, arguments map[string]any) any {
		switch name {
		case "customer":
			return customerNode(o.Customer)
		case "shippingAddress":
			return addressNode(o.ShippingAddress)
		case "billingAddress":
			return addressNode(o.BillingAddress)
		case "customAttributes":
			return attributeNodes(o.NoteAttributes)
		case "lineItems":
			return partOf("LineItem", arguments, o.LineItems, s.lineNode)
		case "shippingLines":
			return partOf("ShippingLine", arguments, o.ShippingLines, s.shippingNode)
		}
		if strings.HasSuffix(name, "Set") {
			return s.moneyNode(o.amount(name))
		}
		if value, ok := o.moment(name); ok {
			return value
		}
		return o.scalar(name)
	}}
}

// amount is the amount of one of the sums of the order.
func (o *Order) amount(name string) string {
	switch name {
	case "currentTotalPriceSet":
		return o.CurrentTotalPrice
	case "totalPriceSet":
		return o.TotalPrice
	case "currentSubtotalPriceSet", "subtotalPriceSet":
		return o.SubtotalPrice
	case "totalOutstandingSet":
		return o.TotalOutstanding
	case "currentTotalTaxSet", "totalTaxSet":
		return o.TotalTax
	case "currentTotalDiscountsSet", "totalDiscountsSet":
		return o.TotalDiscounts
	default: // totalShippingPriceSet: the shop ships for nothing
		return "0.00"
	}
}

// moment is a point in time, in UTC, or null.
func (o *Order) moment(name string) (value any, ok bool) {
	texts := map[string]*string{
		"createdAt": &o.CreatedAt, "updatedAt": &o.UpdatedAt, "processedAt": &o.ProcessedAt, "cancelledAt": o.CancelledAt, "closedAt": o.ClosedAt,
	}
	local, ok := texts[name]
	if !ok || local == nil {
		return nil, ok
	}
	at, err := time.Parse(time.RFC3339, *local)
	if err != nil { // the shop wrote it
		panic(err)
	}
	return at.UTC().Format(time.RFC3339), true
}

func (o *Order) scalar(name string) any {
	switch name {
	case "cancelReason":
		if o.CancelReason == nil {
			return nil
		}
		return strings.ToUpper(*o.CancelReason)
	case "tags":
		if o.Tags == "" {
			return []string{}
		}
		return strings.Split(o.Tags, ", ")
	case "displayFulfillmentStatus":
		if o.FulfillmentStatus == nil {
			return "UNFULFILLED"
		}
		return strings.ToUpper(*o.FulfillmentStatus)
	}
	return map[string]any{
		"id": o.AdminGraphQLID, "legacyResourceId": strconv.FormatInt(o.ID, 10), "name": o.Name, "number": o.OrderNumber,
		"confirmationNumber": o.ConfirmationNumber, "confirmed": o.Confirmed, "closed": o.ClosedAt != nil, "test": o.Test,
		"taxesIncluded": o.TaxesIncluded, "email": o.Email, "phone": o.Phone, "note": o.Note, "sourceName": o.SourceName,
		"paymentGatewayNames": o.PaymentGatewayNames, "currencyCode": o.Currency, "presentmentCurrencyCode": o.PresentmentCurrency,
		"displayFinancialStatus": strings.ToUpper(o.FinancialStatus),
	}[name]
}

func (s *Shop) moneyNode(amount string) node {
	money := node{"MoneyV2", func(name string, _ map[string]any) any {
		if name == "amount" {
			return strings.TrimSuffix(amount, "0") // GraphQL writes 19.90 as 19.9
		}
		return s.cfg.Currency
	}}
	return node{"MoneyBag", func(string, map[string]any) any { return money }}
}

func attributeNodes(properties []Property) []node {
	all := make([]node, 0, len(properties))
	for _, p := range properties {
		all = append(all, node{"Attribute", func(name string, _ map[string]any) any {
			return map[string]any{"key": p.Name, "value": p.Value}[name]
		}})
	}
	return all
}

func customerNode(c Customer) node {
	return node{"Customer", func(name string, _ map[string]any) any {
		switch name {
		case "id":
			return gid("Customer", c.ID)
		case "legacyResourceId":
			return strconv.FormatInt(c.ID, 10)
		case "displayName":
			return c.FirstName + " " + c.LastName
		case "firstName":
			return c.FirstName
		case "lastName":
			return c.LastName
		case "email":
			return c.Email
		case "defaultEmailAddress":
			return node{"CustomerEmailAddress", func(string, map[string]any) any { return c.Email }}
		default: // nobody has a phone
			return nil
		}
	}}
}

func addressNode(a Address) node {
	return node{"MailingAddress", func(name string, _ map[string]any) any {
		return map[string]any{
			"firstName": a.FirstName, "lastName": a.LastName, "name": a.FirstName + " " + a.LastName, "company": a.Company,
			"address1": a.Address1, "address2": a.Address2, "city": a.City, "province": a.Province, "provinceCode": a.ProvinceCode,
			"zip": a.Zip, "country": a.Country, "countryCodeV2": a.CountryCode, "phone": a.Phone,
		}[name]
	}}
}

func (s *Shop) lineNode(l LineItem) node {
	return node{"LineItem", func(name string, _ map[string]any) any {
		switch name {
		case "originalUnitPriceSet", "discountedUnitPriceSet":
			return s.moneyNode(l.Price)
		case "variant":
			return node{"ProductVariant", func(name string, _ map[string]any) any {
				return map[string]any{
					"id": gid("ProductVariant", l.VariantID), "legacyResourceId": strconv.FormatInt(l.VariantID, 10), "sku": l.SKU,
				}[name]
			}}
		case "product":
			return node{"Product", func(name string, _ map[string]any) any {
				return map[string]any{"id": gid("Product", l.ProductID), "legacyResourceId": strconv.FormatInt(l.ProductID, 10)}[name]
			}}
		case "customAttributes":
			return attributeNodes(l.Properties)
		}
		return map[string]any{
			"id": l.AdminGraphQLID, "sku": l.SKU, "name": l.Name, "title": l.Title, "variantTitle": l.VariantTitle, "vendor": l.Vendor,
			"quantity": l.Quantity, "currentQuantity": l.CurrentQuantity, "unfulfilledQuantity": l.FulfillableQuantity,
			"requiresShipping": l.RequiresShipping, "taxable": l.Taxable, "isGiftCard": l.GiftCard,
		}[name]
	}}
}

func (s *Shop) shippingNode(l ShippingLine) node {
	return node{"ShippingLine", func(name string, _ map[string]any) any {
		if strings.HasSuffix(name, "Set") {
			return s.moneyNode(l.Price)
		}
		return map[string]any{"id": gid("ShippingLine", 1), "code": l.Code, "title": l.Title}[name]
	}}
}

// partOf is a page of what belongs to an order; its cursors are positions.
func partOf[T any](kind string, arguments map[string]any, all []T, of func(T) node) any {
	first, given := integer(arguments["first"])
	if !given || first < 1 || first > pageMax {
		return &refusal{"INVALID_FIELD_ARGUMENTS", fmt.Sprintf("first must be given, from 1 to %d", pageMax)}
	}
	start := 0
	if after := text(arguments["after"]); after != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(after, "p"))
		if err != nil || n < 0 || n >= len(all) {
			return &refusal{"INVALID_FIELD_ARGUMENTS", fmt.Sprintf("cursor %q is not known", after)}
		}
		start = n + 1
	}
	rest := all[start:]
	page := make([]entry, 0, min(first, len(rest)))
	for i, one := range rest[:min(first, len(rest))] {
		page = append(page, entry{"p" + strconv.Itoa(start+i), of(one)})
	}
	return connection{kind, len(page) < len(rest), start > 0}.node(page)
}
